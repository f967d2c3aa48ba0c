//! `exec`: another program in a container that runs.
//!
//! Called by whoever serves people or programs, from any thread. The program's parent is a process of its own, this
//! program executed again as `__exec` ([`helper`]): it joins the container, confines the program as the container is
//! confined, and passes its streams on over a socket for as long as it runs.

pub(crate) mod helper;

use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernel::{KernelError, seal};
use crate::records::allowed::Verb;
use crate::runtime::Runtime;
use crate::streams::control::{self, Begun, ExecOrder, NotBegun, kind};
use crate::streams::session::Session;

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOptions {
    /// Program and arguments.
    pub args: Vec<String>,
    /// More of the environment: `NAME=value`.
    pub env: Vec<String>,
    /// `user[:group]`; `None` for the container's.
    pub user: Option<String>,
    /// Working directory; `None` for the container's.
    pub working_dir: Option<String>,
    /// A pseudo-terminal.
    pub tty: bool,
    /// Rows and columns of the pseudo-terminal, as far as they are known.
    pub terminal_size: Option<(u16, u16)>,
    /// Standard input comes along.
    pub stdin: bool,
    /// Every capability and no filter.
    pub privileged: bool,
}

impl Runtime {
    /// Runs a program in a container. Returns once it was executed, with its streams.
    ///
    /// The session may be dropped at any time: the program runs on, its input at an end unless it is a terminal, its
    /// output lost.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Paused`]; [`Error::Exec`] with docker's words and exit code.
    pub fn exec(&self, name_or_id: &str, options: &ExecOptions) -> Result<Session> {
        let (id, socket, begun) = self.begin_exec(name_or_id, options.clone(), false)?;
        let session = Session::of_exec(id, begun.process, socket)?;
        Ok(session.with(options.tty, options.stdin, begun.warnings))
    }

    /// Runs a program in a container, and leaves it alone. It has no input, and its output goes nowhere.
    ///
    /// # Errors
    /// As [`Runtime::exec`].
    pub fn exec_detached(&self, name_or_id: &str, options: &ExecOptions) -> Result<()> {
        let options = ExecOptions { stdin: false, ..options.clone() };
        self.begin_exec(name_or_id, options, true).map(drop)
    }

    fn begin_exec(
        &self,
        name_or_id: &str,
        options: ExecOptions,
        detached: bool,
    ) -> Result<(String, UnixStream, Begun)> {
        let (record, state) = self.record(name_or_id)?;
        Verb::Exec.require(state.status, &record.id)?;
        let init = state.init.ok_or_else(|| Error::NotRunning(record.id.clone()))?;
        let mut socket = self.spawn_helper(&record.id)?;
        let order = ExecOrder { init, options, detached };
        let mut bytes = Vec::new();
        control::push_long(&mut bytes, kind::EXEC_ORDER, &order);
        let failed = Error::system("speak to the process behind exec");
        let answer = socket.write_all(&bytes).and_then(|()| control::read_frame(&mut socket)).map_err(failed)?;
        let failure = match answer {
            Some((kind::BEGUN, text)) => {
                let begun = serde_json::from_slice(&text).map_err(io::Error::from);
                return Ok((record.id, socket, begun.map_err(Error::system("read from the process behind exec"))?));
            }
            Some((kind::NOT_BEGUN, text)) => {
                serde_json::from_slice(&text).unwrap_or_else(|error| NotBegun::Other(error.to_string()))
            }
            Some(_) | None => return Err(Error::ExecLost(record.id)),
        };
        Err(Error::Exec(Box::new(match failure {
            NotBegun::Process(error) => KernelError::Process(error),
            NotBegun::NotRunning => KernelError::NotRunning(record.id),
            NotBegun::Paused => KernelError::Paused(record.id),
            NotBegun::Other(message) => KernelError::Reported(message),
        })))
    }

    /// Starts the process behind `exec`; the socket to it.
    fn spawn_helper(&self, id: &str) -> Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::system("socketpair"))?;
        let mut command = seal::sealed().map_err(|source| Error::Exec(Box::new(source)))?;
        command
            .arg0("skep-exec")
            .arg("__exec")
            .args([&self.roots().root, &self.roots().run_root])
            .args([&self.roots().cgroup_parent, id])
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let spawned = command.spawn().and_then(|mut between| {
            // Ours is the other end only: the helper's end shows by its end of the socket.
            drop(command);
            between.wait()
        });
        spawned.map_err(Error::system("execute the own program again"))?;
        Ok(ours)
    }
}
