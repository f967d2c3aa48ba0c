//! The user's terminal: raw while a program in a container has it, and its size.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal in raw mode; as it was before, once dropped.
#[derive(Debug)]
pub(super) struct RawTerminal {
    fd: OwnedFd,
    before: Termios,
}

impl RawTerminal {
    /// Puts a terminal into raw mode; `None` when it is no terminal.
    pub(super) fn enter(fd: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        if !isatty(fd) {
            return Ok(None);
        }
        let terminal = Self { fd: fd.try_clone_to_owned()?, before: tcgetattr(fd)? };
        terminal.make_raw()?;
        Ok(Some(terminal))
    }

    /// Raw (again).
    pub(super) fn make_raw(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        Ok(tcsetattr(&self.fd, OptionalActions::Now, &raw)?)
    }

    /// As it was before. One that has hung up has no mode any more.
    pub(super) fn restore(&self) {
        tcsetattr(&self.fd, OptionalActions::Now, &self.before).ok();
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Rows and columns of the terminal on standard output, or else on standard input; `None` when neither is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    of(io::stdout()).or_else(|| of(io::stdin()))
}

fn of(fd: impl AsFd) -> Option<(u16, u16)> {
    tcgetwinsize(fd).ok().map(|size| (size.ws_row, size.ws_col)).filter(|(rows, columns)| *rows > 0 && *columns > 0)
}
