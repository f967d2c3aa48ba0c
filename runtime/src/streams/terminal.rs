//! The size of a program's terminal, by its master.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::termios::{Winsize, tcsetwinsize};

/// Sets rows and columns.
pub(crate) fn set_size(master: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    tcsetwinsize(master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok(())
}
