//! One poll(2) over everything that can happen to a shim.

use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::streams::logs::LogStream;

/// Where something happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// A signal came.
    Signals,
    /// A client connects.
    Listener,
    /// The container has written something.
    Output(LogStream),
    /// The container takes input again.
    Input,
    /// A health check has written something.
    Probe,
    /// A question to the name server.
    Dns,
    /// A client says something, reads again, or is gone.
    Client(usize),
}

/// What one poll(2) waits for.
#[derive(Default)]
pub(super) struct Watched<'a> {
    sources: Vec<Source>,
    fds: Vec<PollFd<'a>>,
}

impl<'a> Watched<'a> {
    /// Waits for this, too, if it is there.
    pub(super) fn add(&mut self, source: Source, fd: Option<BorrowedFd<'a>>, flags: PollFlags) {
        if let Some(fd) = fd {
            self.sources.push(source);
            self.fds.push(PollFd::new(fd, flags));
        }
    }

    /// Waits; returns what happened.
    pub(super) fn poll(mut self, timeout: PollTimeout) -> Vec<(Source, PollFlags)> {
        if poll(&mut self.fds, timeout).is_err() {
            return Vec::new();
        }
        let events = self.fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        self.sources.iter().copied().zip(events).filter(|(_, events)| !events.is_empty()).collect()
    }
}
