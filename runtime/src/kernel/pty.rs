//! Pseudo-terminals of a container, made inside it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};

use super::walk::{descriptor_path, kind_of};
use crate::kernel::sys::terminal;

/// Opens a new pair (master, slave) in this process' `/dev/pts`.
///
/// In a container that runs already, its root may have replaced what is there: so the device and
/// its file system are checked, and the slave comes from the master, not from a path
/// (CVE-2025-52565).
pub(crate) fn open_pair(size: Option<(u16, u16)>) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // Opening a device that is not a terminal may have effects: look at it first.
    let look = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let seen = open("/dev/pts/ptmx", look, Mode::empty())?;
    let status = fstat(&seen)?;
    let is_device = kind_of(&status) == SFlag::S_IFCHR;
    let file_system = fstatfs(&seen)?.filesystem_type();
    if !is_device || status.st_rdev != makedev(5, 2) || file_system != DEVPTS_SUPER_MAGIC {
        return Err(io::Error::other("/dev/pts/ptmx is not a terminal multiplexer"));
    }
    let master = open("/dev/pts/ptmx", flags, Mode::empty())?;
    let opened = fstat(&master)?;
    if opened.st_rdev != status.st_rdev || opened.st_dev != status.st_dev {
        return Err(io::Error::other("/dev/pts/ptmx was replaced"));
    }
    terminal::unlock(master.as_fd())?;
    let slave = terminal::open_slave(master.as_fd())?;
    if let Some((rows, columns)) = size {
        terminal::set_size(master.as_fd(), rows, columns)?;
    }
    Ok((master, slave))
}

/// Shows the terminal as `/dev/console`, in a `/dev` nobody else can reach yet.
pub(crate) fn bind_console(slave: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    drop(open("/dev/console", flags, Mode::from_bits_truncate(0o600))?);
    mount(Some(descriptor_path(slave).as_str()), "/dev/console", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}
