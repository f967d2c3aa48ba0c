//! Why a use case failed: of what kind, in docker's words, with docker's exit code.

use std::path::{Path, PathBuf};

use skep_common::ErrorKind;
use skep_common::limits::LimitError;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A use case that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A container or volume operation failed.
    #[error(transparent)]
    Runtime(#[from] skep_runtime::Error),
    /// An image operation failed.
    #[error(transparent)]
    Image(#[from] skep_image::StoreError),
    /// A pull failed.
    #[error(transparent)]
    Pull(#[from] skep_image::PullError),
    /// A network operation failed.
    #[error(transparent)]
    Network(#[from] skep_net::Error),
    /// The swarm's agent cannot be asked.
    #[error(transparent)]
    Agent(#[from] skep_cluster::client::ClientError),
    /// The swarm refused.
    #[error(transparent)]
    Swarm(#[from] skep_cluster::Error),
    /// This node's agent ended.
    #[error(transparent)]
    Node(#[from] skep_cluster::node::NodeError),
    /// The kernel does not tell what becomes of containers.
    #[error("cannot watch containers")]
    Watch(#[source] std::io::Error),
    /// A registry did not take the credentials.
    #[error(transparent)]
    Login(#[from] skep_image::AuthError),
    /// A limit cannot be.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A file of the engine's own could not be used.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Something failed on the way to what was asked for.
    #[error("{message}")]
    Because {
        /// What failed.
        message: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// Something that the engine itself found out.
    #[error("{message}")]
    Failed {
        /// What kind of failure it is.
        kind: ErrorKind,
        /// In docker's words.
        message: String,
    },
}

impl Error {
    /// A failure of that kind, in these words.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Failed { kind, message: message.into() }
    }

    /// The request says something that cannot be.
    pub fn bad_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadArgument, message)
    }

    /// The object named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// It clashes with what is there.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// The caller may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, message)
    }

    /// The same failure, on the way to something else.
    #[must_use]
    pub fn because(self, message: impl Into<String>) -> Self {
        Self::Because { message: message.into(), source: Box::new(self) }
    }

    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// The kind of failure: what to branch on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed { kind, .. } => *kind,
            Self::Runtime(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Pull(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::Login(skep_image::AuthError::Refused { .. }) => ErrorKind::Unauthenticated,
            Self::Agent(error) => error.kind(),
            Self::Swarm(error) => error.kind(),
            Self::Node(error) => error.kind(),
            Self::Limit(_) => ErrorKind::BadArgument,
            Self::Because { source, .. } => source.kind(),
            Self::Login(_) | Self::Watch(_) | Self::File { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the same again may succeed later. More errors are than their kinds say: a file that could not be
    /// written is this machine's own fault, and may be written a moment later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Runtime(error) => error.is_retryable(),
            Self::Network(error) => error.is_retryable(),
            Self::Image(error) => error.is_retryable(),
            Self::Pull(error) => error.is_retryable(),
            Self::Because { source, .. } => source.is_retryable(),
            _ => self.kind().is_retryable(),
        }
    }

    /// The status with which an HTTP API answers.
    pub fn http_status(&self) -> u16 {
        self.kind().http_status()
    }

    /// The exit code of a command that failed so, `run`, `create`, `start -a` and `exec`: 125, 126, 127 or 1.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Runtime(error) => error.exit_code(),
            Self::Because { source, .. } => source.exit_code(),
            _ => 125,
        }
    }
}

/// An error and its causes in one line; a cause that is part of what was said already is left out.
pub fn chain_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
