//! Why a use case failed: of what kind, in docker's words, with docker's exit code.

use skep_common::ErrorKind;

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

    /// The kind of failure: what to branch on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed { kind, .. } => *kind,
            Self::Runtime(error) if error.is_not_found() => ErrorKind::NotFound,
            Self::Runtime(error) if error.is_retryable() => ErrorKind::Unavailable,
            Self::Agent(_) => ErrorKind::Unavailable,
            Self::Runtime(_) | Self::Image(_) | Self::Pull(_) | Self::Network(_) => ErrorKind::Internal,
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
