//! `attach`: the streams of a container's own program.
//!
//! Called by whoever serves people or programs, from any thread; `start` makes the same session before the program runs.

use crate::error::Result;
use crate::records::allowed::Verb;
use crate::runtime::Runtime;
use crate::streams::control::Request;
use crate::streams::session::Session;

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attach {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Attach {
    pub(crate) fn request(self) -> Request {
        let Self { stdin, stdout, stderr } = self;
        Request::Attach { stdin, stdout, stderr }
    }
}

impl Runtime {
    /// Connects to the streams of a container that runs.
    ///
    /// # Errors
    /// [`Error::NotRunning`](crate::Error::NotRunning), [`Error::Paused`](crate::Error::Paused),
    /// [`Error::Restarting`](crate::Error::Restarting).
    pub fn attach(&self, name_or_id: &str, attach: Attach) -> Result<Session> {
        let (record, state) = self.record(name_or_id)?;
        Verb::Attach.require(state.status, &record.id)?;
        let attach = Attach { stdin: attach.stdin && record.config.stdin_open, ..attach };
        let socket = self.request(&record.id, &attach.request())?;
        let session = Session::of_container(self.clone(), record.id, state.shim, socket)?;
        Ok(session.with(record.config.tty, attach.stdin, Vec::new()))
    }
}
