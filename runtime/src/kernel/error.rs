//! Why a container could not be made, entered or removed.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skep_common::ErrorKind;

/// Result of everything in [`crate::kernel`].
pub type Result<T, E = KernelError> = std::result::Result<T, E>;

/// A failed operation on one container, or on the host it is to run on.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The caller lacks the rights to make containers.
    #[error("making containers needs root: run the command with sudo")]
    NotRoot,
    /// No cgroup file system was found.
    #[error(
        "no cgroup hierarchy is mounted below /sys/fs/cgroup: mount cgroup2 there \
         (mount -t cgroup2 none /sys/fs/cgroup) or boot with systemd"
    )]
    NoCgroup,
    /// The kernel cannot put layers on top of each other.
    #[error("the kernel has no overlayfs: load its module (modprobe overlay)")]
    NoOverlay,
    /// A limit was asked for that this host cannot keep.
    #[error(
        "the kernel has no cgroup controller {controller:?}, which {wanted} needs: \
         leave the limit out or enable the controller"
    )]
    NoController {
        /// Name of the controller.
        controller: String,
        /// The limit.
        wanted: &'static str,
    },
    /// A file or directory of a cgroup hierarchy could not be used.
    #[error("cannot {action} cgroup {path}")]
    Cgroup {
        /// What was tried.
        action: &'static str,
        /// File or directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The root file system could not be mounted.
    #[error("cannot mount the root file system on {path} (does the kernel have overlayfs?)")]
    Overlay {
        /// Mount point.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A mount inside the container failed.
    #[error("cannot mount {what} on {target}")]
    Mount {
        /// Source or kind of file system.
        what: String,
        /// Path inside the container.
        target: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The source of a bind mount is missing or cannot be used.
    #[error("invalid mount source {path}")]
    MountSource {
        /// Path on the host.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A path inside the container is not what it has to be.
    #[error("{path} inside the container {problem}")]
    UnsafePath {
        /// Path inside the container.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The configuration is contradictory or not supported.
    #[error("invalid container configuration: {0}")]
    Config(String),
    /// The seccomp profile cannot be used.
    #[error("invalid seccomp profile: {0}")]
    SeccompProfile(String),
    /// The process could not be started. See [`ProcessError`].
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// libcontainer refused.
    #[error("cannot create the container")]
    Create(#[source] Box<libcontainer::error::LibcontainerError>),
    /// The container is not running (any more).
    #[error("container {0} is not running")]
    NotRunning(String),
    /// Nothing can be executed in a container that stands still.
    #[error("container {0} is paused, unpause the container before exec")]
    Paused(String),
    /// It failed in a process that this one has started; what that one said, causes included.
    #[error("{0}")]
    Reported(String),
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
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

/// Why a process could not be started inside a container, in Docker's words. It crosses a pipe
/// from the process that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ProcessError {
    /// Decides the exit code.
    pub kind: ProcessErrorKind,
    /// What to tell the user.
    pub message: String,
}

/// What kind of failure kept a process from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessErrorKind {
    /// The program does not exist.
    NotFound,
    /// The program is a directory, is not executable, or has no known format.
    NotExecutable,
    /// The user or group is not in the container's files.
    UnknownUser,
    /// The working directory cannot be entered.
    WorkingDirectory,
    /// Anything else on the way to execve(2).
    Setup,
}

impl KernelError {
    /// Docker's exit code for `run` and `exec`: 127 not found, 126 not executable, else 125
    /// (`exec` shows 126 for everything that the process met inside the container).
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Process(error) => match error.kind {
                ProcessErrorKind::NotFound => 127,
                ProcessErrorKind::NotExecutable => 126,
                _ => 125,
            },
            _ => 125,
        }
    }

    /// What kind of failure this is.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::NotRoot => ErrorKind::Forbidden,
            Self::NoCgroup | Self::NoOverlay | Self::NoController { .. } => ErrorKind::NotSupported,
            Self::MountSource { .. } | Self::UnsafePath { .. } | Self::Config(_) | Self::SeccompProfile(_) => {
                ErrorKind::BadArgument
            }
            Self::NotRunning(_) | Self::Paused(_) => ErrorKind::Conflict,
            Self::Process(error) => match error.kind {
                ProcessErrorKind::Setup => ErrorKind::Internal,
                ProcessErrorKind::NotFound
                | ProcessErrorKind::NotExecutable
                | ProcessErrorKind::UnknownUser
                | ProcessErrorKind::WorkingDirectory => ErrorKind::BadArgument,
            },
            Self::Cgroup { .. }
            | Self::Overlay { .. }
            | Self::Mount { .. }
            | Self::Create(_)
            | Self::Reported(_)
            | Self::File { .. }
            | Self::System { .. } => ErrorKind::Internal,
        }
    }

    /// The same again may work: nothing in the configuration is at fault.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Cgroup { .. } | Self::File { .. } | Self::System { .. } | Self::Overlay { .. })
    }
}
