//! The size of a program's terminal, by its master.

use std::io;
use std::os::fd::BorrowedFd;

use crate::kernel::sys::terminal;

/// Sets rows and columns.
pub(crate) fn set_size(master: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    terminal::set_size(master, rows, columns)
}
