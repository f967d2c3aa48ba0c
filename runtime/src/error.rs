//! Why an operation on a container, a volume or their records failed, in docker's words where
//! docker has words.

use std::io;
use std::path::PathBuf;

use crate::kernel::KernelError;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container has this name or id.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// More than one id begins so.
    #[error("multiple IDs found with provided prefix: {0}")]
    AmbiguousId(String),
    /// The name is taken.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    )]
    NameConflict {
        /// The name asked for.
        name: String,
        /// Who has it.
        id: String,
    },
    /// The name has characters that are not allowed.
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    InvalidName(String),
    /// What was asked for contradicts itself or cannot be had.
    #[error("{0}")]
    InvalidConfig(String),
    /// Neither the user nor the image says what to run.
    #[error("no command specified")]
    NoCommand,
    /// The container has to be stopped first.
    #[error(
        "cannot remove container \"/{0}\": container is running: stop the container before removing or force remove"
    )]
    RemoveRunning(String),
    /// The container has to be unpaused first.
    #[error(
        "cannot remove container \"/{0}\": container is paused and must be unpaused first: unpause and stop the \
         container before removing or force remove"
    )]
    RemovePaused(String),
    /// The container does not run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The container is paused.
    #[error("Container {0} is paused, unpause the container before {1}")]
    Paused(String, &'static str),
    /// It is paused already.
    #[error("Container {0} is already paused")]
    AlreadyPaused(String),
    /// It is not paused.
    #[error("Container {0} is not paused")]
    NotPaused(String),
    /// `start` of a paused container.
    #[error("cannot start a paused container, try unpause instead")]
    StartPaused,
    /// A restarting container cannot do this.
    #[error("Container {0} is restarting, wait until the container is running")]
    Restarting(String),
    /// The container could not be started.
    #[error("failed to start container {name}: {message}")]
    Start {
        /// Its name.
        name: String,
        /// Why, in docker's words.
        message: String,
        /// Docker's exit code: 125, 126 or 127.
        exit_code: i32,
    },
    /// A command could not be executed in a container.
    #[error("OCI runtime exec failed: {source}", source = DisplayChain(.0))]
    Exec(#[source] Box<KernelError>),
    /// The host cannot run containers.
    #[error("{}", DisplayChain(.0))]
    Kernel(#[source] Box<KernelError>),
    /// The process behind `exec` ended without a word.
    #[error("the program in container {0} was lost: the process that minded it was killed")]
    ExecLost(String),
    /// The shim ended without a word.
    #[error("the shim of container {0} was killed: see `skep inspect {0}`, then start it again")]
    ShimLost(String),
    /// The shim lives, and has closed the connection.
    #[error("connection to container {0} cut: its output came faster than it was read")]
    HungUp(String),
    /// The shim does not answer.
    #[error("cannot reach the shim of container {id}")]
    Shim {
        /// The container.
        id: String,
        /// The socket's answer.
        #[source]
        source: io::Error,
    },
    /// The shim refused.
    #[error("{0}")]
    Refused(String),
    /// A shim could not be started.
    #[error("cannot start a shim from {path}")]
    SpawnShim {
        /// This program.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Not a signal.
    #[error("invalid signal: {0}")]
    InvalidSignal(String),
    /// The log driver keeps nothing that could be read.
    #[error("configured logging driver does not support reading")]
    LogNotReadable,
    /// No volume has this name.
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    /// Containers use the volume.
    #[error("remove {name}: volume is in use - [{users}]")]
    VolumeInUse {
        /// The volume.
        name: String,
        /// Ids of containers.
        users: String,
    },
    /// Not a volume's name.
    #[error(
        "create {0}: \"{0}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )]
    InvalidVolumeName(String),
    /// A host path that has to exist does not.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {0}")]
    BindSourceMissing(PathBuf),
    /// Another command works on the container.
    #[error("container {0} is busy: another command is changing it; try again")]
    Busy(String),
    /// It did not end in time, even after SIGKILL.
    #[error("container {0} did not end after SIGKILL: a process in it hangs in the kernel")]
    WillNotDie(String),
    /// An image operation failed.
    #[error(transparent)]
    Image(Box<skep_image::StoreError>),
    /// A network operation failed.
    #[error(transparent)]
    Network(Box<skep_net::Error>),
    /// A file could not be read or written.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file of ours does not hold what it should.
    #[error("damaged file {path}: remove the container with `skep rm -f`", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it is damaged.
        #[source]
        source: serde_json::Error,
    },
    /// A system call failed.
    #[error("{call} failed")]
    System {
        /// The call and what it was for.
        call: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Docker's exit code for `run`, `start -a` and `exec` that failed so.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Start { exit_code, .. } => *exit_code,
            Self::Exec(source) => match source.exit_code() {
                125 if matches!(**source, KernelError::Process(_)) => 126,
                code => code,
            },
            Self::NotRunning(_)
            | Self::NoSuchContainer(_)
            | Self::Paused(..)
            | Self::Restarting(_)
            | Self::HungUp(_) => 1,
            _ => 125,
        }
    }

    /// Whether trying again, without changing anything, can succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Kernel(source) => source.is_retryable(),
            Self::Network(source) => source.is_retryable(),
            Self::ShimLost(_)
            | Self::HungUp(_)
            | Self::Shim { .. }
            | Self::Busy(_)
            | Self::File { .. }
            | Self::SpawnShim { .. } => true,
            _ => false,
        }
    }

    /// Whether the thing named does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NoSuchContainer(_) | Self::NoSuchVolume(_) => true,
            Self::Image(source) => matches!(**source, skep_image::StoreError::NotFound { .. }),
            Self::Network(source) => matches!(**source, skep_net::Error::NetworkNotFound { .. }),
            _ => false,
        }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn system(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { call, source }
    }
}

impl From<skep_image::StoreError> for Error {
    fn from(source: skep_image::StoreError) -> Self {
        Self::Image(Box::new(source))
    }
}

impl From<skep_net::Error> for Error {
    fn from(source: skep_net::Error) -> Self {
        Self::Network(Box::new(source))
    }
}

impl From<KernelError> for Error {
    fn from(source: KernelError) -> Self {
        Self::Kernel(Box::new(source))
    }
}

/// An error with all its causes, joined by colons: what crosses a pipe or lands in state.json.
pub(crate) struct DisplayChain<'a, E>(pub(crate) &'a E);

impl<E: std::error::Error> std::fmt::Display for DisplayChain<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
