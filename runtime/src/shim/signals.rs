//! Signals to a shim: the ends of its children, and the end of the machine.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Shim;
use super::life::Phase;
use crate::error::{Error, Result};
use crate::kernel::process;

/// From here on, signals are read from the descriptor.
///
/// # Errors
/// The kernel has no more descriptors.
pub(super) fn block() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE] {
        mask.add(signal);
    }
    mask.thread_block().map_err(|errno| Error::system("block signals")(errno.into()))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|errno| Error::system("signalfd")(errno.into()))
}

impl Shim {
    /// Takes every signal that waits, and every child that has ended.
    pub(super) fn on_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if [libc::SIGTERM, libc::SIGINT, libc::SIGHUP].contains(&(signal.ssi_signo as i32)) {
                // The machine goes down: the container as after `stop`, but to come back at boot.
                self.going_down = true;
                self.stop(None, None);
            }
        }
        while let Ok(Some((pid, exit_code))) = process::reap(None) {
            let Phase::Running(life) = &mut self.phase else { continue };
            if life.init.pid == pid {
                self.on_exit(exit_code);
            } else if let Some(result) = life.prober.as_mut().and_then(|prober| prober.ended(pid, exit_code)) {
                self.on_probe(result);
            }
        }
    }
}
