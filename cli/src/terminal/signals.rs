//! The signals that an attached client gets.
//!
//! All that can be caught are held back and read, so that none ends the client before the terminal is restored: but
//! SIGCHLD, SIGPIPE and SIGURG, which are about this process (docker's client keeps the same ones to itself), and SIGTTIN
//! and SIGTTOU, by which the shell's job control stops whoever uses its terminal from the background.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that wait to be read, from [`Signals::hold`] until this is dropped.
#[derive(Debug)]
pub(crate) struct Signals {
    waiting: SignalFd,
    before: SigSet,
}

/// What a signal does to a process that does not care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DefaultAction {
    Nothing,
    Stop,
    End,
}

impl Signals {
    /// From here on signals wait. To be called before the program starts, in a process with one thread: what comes while
    /// it starts is the program's already.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub(crate) fn hold() -> io::Result<Self> {
        use Signal::{SIGCHLD, SIGPIPE, SIGTTIN, SIGTTOU, SIGURG};
        // The real-time signals have no names to be added by.
        let mut mask = SigSet::all();
        for left_out in [SIGCHLD, SIGPIPE, SIGURG, SIGTTIN, SIGTTOU] {
            mask.remove(left_out);
        }
        let waiting = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let before = mask.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        Ok(Self { waiting, before })
    }

    /// The number of the next one that has come.
    pub(super) fn next(&self) -> Option<i32> {
        self.waiting.read_signal().ok().flatten().map(|signal| signal.ssi_signo as i32)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // They were for the program, which has ended or was left.
        while self.next().is_some() {}
        self.before.thread_set_mask().ok();
    }
}

/// Of those that are read here.
pub(super) fn default_action(signal: i32) -> DefaultAction {
    match Signal::try_from(signal) {
        Ok(Signal::SIGWINCH | Signal::SIGCONT) => DefaultAction::Nothing,
        Ok(Signal::SIGTSTP) => DefaultAction::Stop,
        _ => DefaultAction::End,
    }
}

/// Stops this process, until somebody lets it go on.
pub(super) fn stop() {
    raise(Signal::SIGSTOP).ok();
}
