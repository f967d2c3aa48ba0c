//! Waiting for files of a container to change, by inotify(7).
//!
//! Used by readers of logs and of state. What is seen is a hint: the reader looks for itself.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// A directory being watched.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Inotify,
}

impl Watch {
    /// Watches the files in a directory.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(|errno| Error::system("inotify_init1")(errno.into()))?;
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(directory, flags).map_err(|errno| Error::file("watch", directory)(errno.into()))?;
        Ok(Self { inotify })
    }

    /// Waits for a change, no longer than `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<()> {
        let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Error::system("poll")(errno.into())),
        }
        self.clear();
        Ok(())
    }

    /// Forgets the changes until now: the descriptor is readable after the next one.
    pub(crate) fn clear(&mut self) {
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Runtime {
    /// Returns when the container's state or log changes, it is removed, or `patience` is over.
    /// May return early.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], or the container cannot be watched.
    pub fn changed(&self, name_or_id: &str, patience: Duration) -> Result<()> {
        let id = self.resolve(name_or_id)?;
        Watch::new(&self.paths(&id).directory)?.wait(patience)
    }
}
