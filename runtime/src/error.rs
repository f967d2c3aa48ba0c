//! Why an operation on a container, a volume or their records failed, in docker's words where
//! docker has words.

use std::io;
use std::path::PathBuf;

use skep_common::ErrorKind;
use skep_common::names::VolumeNameError;
use skep_common::signal::SignalError;

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
    #[error("OCI runtime exec failed")]
    Exec(#[source] Box<KernelError>),
    /// The host cannot run containers.
    #[error(transparent)]
    Kernel(Box<KernelError>),
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
    #[error("create {name}: {reason}", name = .0.0, reason = .0)]
    InvalidVolumeName(VolumeNameError),
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

impl From<SignalError> for Error {
    fn from(SignalError(text): SignalError) -> Self {
        Self::InvalidSignal(text)
    }
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
            Self::Network(source) => source.is_retryable() || source.kind().is_retryable(),
            Self::Image(source) => source.is_retryable(),
            Self::ShimLost(_)
            | Self::HungUp(_)
            | Self::Shim { .. }
            | Self::Busy(_)
            | Self::File { .. }
            | Self::SpawnShim { .. } => true,
            _ => false,
        }
    }

    /// What kind of failure this is: what to branch on.
    ///
    /// A kind that is retryable is one of an error that [is](Self::is_retryable). An error may be retryable though its
    /// kind is not: a file that could not be written is this machine's own fault, and may be written a moment later.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchContainer(_) | Self::NoSuchVolume(_) => ErrorKind::NotFound,
            Self::AmbiguousId(_)
            | Self::InvalidName(_)
            | Self::InvalidConfig(_)
            | Self::NoCommand
            | Self::InvalidSignal(_)
            | Self::InvalidVolumeName(_)
            | Self::BindSourceMissing(_) => ErrorKind::BadArgument,
            Self::NameConflict { .. }
            | Self::RemoveRunning(_)
            | Self::RemovePaused(_)
            | Self::NotRunning(_)
            | Self::Paused(..)
            | Self::AlreadyPaused(_)
            | Self::NotPaused(_)
            | Self::StartPaused
            | Self::Restarting(_) => ErrorKind::Conflict,
            Self::VolumeInUse { .. } => ErrorKind::InUse,
            Self::LogNotReadable => ErrorKind::NotSupported,
            // The program does not exist, or is none.
            Self::Start { exit_code: 126 | 127, .. } => ErrorKind::BadArgument,
            Self::Exec(source) | Self::Kernel(source) => source.kind(),
            Self::Image(source) if source.is_not_found() => ErrorKind::NotFound,
            Self::Image(source) if source.is_retryable() && source.kind() != ErrorKind::Internal => {
                ErrorKind::Unavailable
            }
            Self::Network(source) => source.kind(),
            Self::ShimLost(_) | Self::HungUp(_) | Self::Shim { .. } | Self::Busy(_) => ErrorKind::Unavailable,
            Self::Start { .. }
            | Self::ExecLost(_)
            | Self::Refused(_)
            | Self::SpawnShim { .. }
            | Self::WillNotDie(_)
            | Self::Image(_)
            | Self::File { .. }
            | Self::Damaged { .. }
            | Self::System { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the thing named does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{ProcessError, ProcessErrorKind};

    fn process(kind: ProcessErrorKind) -> Box<KernelError> {
        Box::new(KernelError::Process(ProcessError { kind, message: "no such program".to_owned() }))
    }

    fn file() -> Error {
        Error::file("write", "/x")(io::ErrorKind::StorageFull.into())
    }

    /// An error of each sort, with its kind, its exit code, and whether it is worth another attempt.
    fn table() -> Vec<(Error, ErrorKind, i32, bool)> {
        let c = || "c".to_owned();
        let source = || io::Error::from(io::ErrorKind::BrokenPipe);
        let start = |exit_code| Error::Start { name: c(), message: c(), exit_code };
        let no_network = skep_net::Error::NetworkNotFound { name: c() };
        let not_here = skep_net::Error::OverlayNotHere { network: c() };
        vec![
            (Error::NoSuchContainer(c()), ErrorKind::NotFound, 1, false),
            (Error::NoSuchVolume(c()), ErrorKind::NotFound, 125, false),
            (Error::AmbiguousId(c()), ErrorKind::BadArgument, 125, false),
            (Error::NameConflict { name: c(), id: c() }, ErrorKind::Conflict, 125, false),
            (Error::InvalidName(c()), ErrorKind::BadArgument, 125, false),
            (Error::InvalidConfig(c()), ErrorKind::BadArgument, 125, false),
            (Error::NoCommand, ErrorKind::BadArgument, 125, false),
            (Error::RemoveRunning(c()), ErrorKind::Conflict, 125, false),
            (Error::NotRunning(c()), ErrorKind::Conflict, 1, false),
            (Error::Paused(c(), "exec"), ErrorKind::Conflict, 1, false),
            (Error::StartPaused, ErrorKind::Conflict, 125, false),
            (Error::Restarting(c()), ErrorKind::Conflict, 1, false),
            (start(127), ErrorKind::BadArgument, 127, false),
            (start(125), ErrorKind::Internal, 125, false),
            (Error::Exec(process(ProcessErrorKind::NotFound)), ErrorKind::BadArgument, 127, false),
            (Error::Exec(process(ProcessErrorKind::Setup)), ErrorKind::Internal, 126, false),
            (Error::Kernel(Box::new(KernelError::NotRoot)), ErrorKind::Forbidden, 125, false),
            (Error::Kernel(Box::new(KernelError::NoOverlay)), ErrorKind::NotSupported, 125, false),
            (Error::ExecLost(c()), ErrorKind::Internal, 125, false),
            (Error::ShimLost(c()), ErrorKind::Unavailable, 125, true),
            (Error::HungUp(c()), ErrorKind::Unavailable, 1, true),
            (Error::Shim { id: c(), source: source() }, ErrorKind::Unavailable, 125, true),
            (Error::SpawnShim { path: c().into(), source: source() }, ErrorKind::Internal, 125, true),
            (Error::Busy(c()), ErrorKind::Unavailable, 125, true),
            (Error::InvalidSignal(c()), ErrorKind::BadArgument, 125, false),
            (Error::LogNotReadable, ErrorKind::NotSupported, 125, false),
            (Error::VolumeInUse { name: c(), users: c() }, ErrorKind::InUse, 125, false),
            (Error::WillNotDie(c()), ErrorKind::Internal, 125, false),
            (no_network.into(), ErrorKind::NotFound, 125, false),
            (not_here.into(), ErrorKind::Unavailable, 125, true),
            (file(), ErrorKind::Internal, 125, true),
            (Error::system("fork")(source()), ErrorKind::Internal, 125, false),
        ]
    }

    #[test]
    fn kind_exit_code_and_another_attempt_belong_together() {
        for (error, kind, exit_code, is_retryable) in table() {
            assert_eq!(
                (error.kind(), error.exit_code(), error.is_retryable()),
                (kind, exit_code, is_retryable),
                "{error}"
            );
            assert!(is_retryable || !kind.is_retryable(), "{error}");
            assert_eq!(error.is_not_found(), kind == ErrorKind::NotFound, "{error}");
        }
    }

    #[test]
    fn an_error_does_not_say_what_its_cause_says() {
        for (error, ..) in table() {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            assert!(cause.is_none_or(|cause| !error.to_string().contains(&cause)), "{error}");
        }
        let failed = Error::Exec(process(ProcessErrorKind::NotFound));
        assert_eq!(DisplayChain(&failed).to_string(), "OCI runtime exec failed: no such program");
        let source = io::Error::from(io::ErrorKind::StorageFull);
        let failed = Error::from(KernelError::System { call: "fork", source });
        assert_eq!(DisplayChain(&failed).to_string(), format!("fork failed: {}", io::ErrorKind::StorageFull));
    }
}
