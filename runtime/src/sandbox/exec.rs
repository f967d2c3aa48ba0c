//! Running another program in a container that runs.

use std::os::fd::OwnedFd;

use super::{Process, Result, SandboxConfig, SandboxError, Stdio};

/// What to run, and in which container.
#[derive(Debug)]
pub struct ExecConfig<'a> {
    /// The container.
    pub sandbox: &'a SandboxConfig,
    /// Its first process.
    pub init_pid: i32,
    /// Start time of the first process, so that a recycled pid is not mistaken for it.
    pub init_start_time: u64,
    /// What to run.
    pub process: Process,
    /// Give it every capability there is and no filter (`exec --privileged`).
    pub privileged: bool,
}

/// The program, running. It is a child of the caller, who has to reap it.
#[derive(Debug)]
pub struct ExecChild {
    /// As the caller sees it.
    pub pid: i32,
    /// Master of the pseudo-terminal, if one was asked for.
    pub pty_master: Option<OwnedFd>,
    /// What was asked for but cannot be had on this host, for the user to read.
    pub warnings: Vec<String>,
}

/// Runs a program inside a container, confined as the container is. Returns once it was executed.
///
/// The caller has to be single-threaded and to have called [`super::prepare_process`].
///
/// # Errors
/// [`SandboxError::NotRunning`]; [`SandboxError::Process`] with Docker's words when the program
/// cannot be executed.
pub fn spawn(config: &ExecConfig<'_>, stdio: Stdio) -> Result<ExecChild> {
    let _ = (config, stdio);
    Err(SandboxError::Config("not available".to_owned()))
}
