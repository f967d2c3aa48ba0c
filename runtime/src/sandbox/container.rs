//! The life cycle of a container: create, start, kill, delete.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::{Result, SandboxConfig, SandboxError};

/// What a container's process gets as its standard streams.
#[derive(Debug)]
pub enum Stdio {
    /// These descriptors; a missing one is /dev/null.
    Fds {
        /// Standard input.
        stdin: Option<OwnedFd>,
        /// Standard output.
        stdout: Option<OwnedFd>,
        /// Standard error.
        stderr: Option<OwnedFd>,
    },
    /// A new pseudo-terminal of the container; its master is handed back.
    Terminal,
}

/// A container whose first process waits for [`start`]. That process is a child of the caller,
/// who has to reap it.
#[derive(Debug)]
pub struct Created {
    /// The first process, as the caller sees it.
    pub init_pid: i32,
    /// Start time of the first process (field 22 of /proc/PID/stat, clock ticks since boot).
    pub init_start_time: u64,
    /// Master of the pseudo-terminal, if one was asked for.
    pub pty_master: Option<OwnedFd>,
    /// What was asked for but cannot be had on this host, for the user to read.
    pub warnings: Vec<String>,
}

/// Makes the container up to the point where only its program has to be executed.
///
/// The caller has to be single-threaded and to have called [`super::prepare_process`]. Whatever
/// a killed predecessor of the same name left behind is removed first. On failure everything
/// made is removed again. `bundle` is a directory of the container's own for libcontainer's
/// config.json.
///
/// # Errors
/// [`SandboxError::Process`] for what the user can mend (user, working directory, program), with
/// Docker's words.
pub fn create(config: &SandboxConfig, bundle: &Path, stdio: Stdio) -> Result<Created> {
    let _ = (config, bundle, stdio);
    Err(SandboxError::Config("not available".to_owned()))
}

/// Lets the container's program run. Returns once it was executed.
///
/// # Errors
/// [`SandboxError::Process`] if the program could not be executed; the first process has ended
/// then and has to be reaped.
pub fn start(created: &mut Created) -> Result<()> {
    let _ = created;
    Err(SandboxError::Config("not available".to_owned()))
}

/// Removes what the kernel holds for the container: processes left in its cgroups, the cgroups,
/// its mounts, libcontainer's state. The writable layer stays.
///
/// Idempotent, and needs nothing but the configuration: it works after the shim was killed.
///
/// # Errors
/// The first failure; the rest is still removed.
pub fn delete(config: &SandboxConfig) -> Result<()> {
    let _ = config;
    Err(SandboxError::Config("not available".to_owned()))
}

/// Sends `signal` to every process in the container's cgroup. No cgroup is no error.
///
/// # Errors
/// The cgroup cannot be read.
pub fn kill_all(config: &SandboxConfig, signal: i32) -> Result<()> {
    let _ = (config, signal);
    Err(SandboxError::Config("not available".to_owned()))
}
