//! Pseudo-terminals of a container, made inside it.

use std::io;
use std::os::fd::OwnedFd;

use nix::mount::{MsFlags, mount};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::walk::descriptor_path;

/// Magic number of devpts (linux/magic.h).
const DEVPTS: i64 = 0x1cd1;

/// Opens a new pair (master, slave) in this process' `/dev/pts`.
///
/// In a container that runs already, its root may have replaced what is there: so the device and
/// its file system are checked, and the slave comes from the master, not from a path
/// (CVE-2025-52565).
pub(crate) fn open(size: Option<(u16, u16)>) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Opening a device that is not a terminal may have effects: look at it first.
    let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let seen = rustix::fs::open("/dev/pts/ptmx", look, Mode::empty())?;
    let status = rustix::fs::fstat(&seen)?;
    let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
    let file_system = rustix::fs::fstatfs(&seen)?.f_type;
    if !is_device || status.st_rdev != rustix::fs::makedev(5, 2) || file_system != DEVPTS {
        return Err(io::Error::other("/dev/pts/ptmx is not a terminal multiplexer"));
    }
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())?;
    let opened = rustix::fs::fstat(&master)?;
    if opened.st_rdev != status.st_rdev || opened.st_dev != status.st_dev {
        return Err(io::Error::other("/dev/pts/ptmx was replaced"));
    }
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    if let Some((rows, columns)) = size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size)?;
    }
    Ok((master, slave))
}

/// Shows the terminal as `/dev/console`, in a `/dev` nobody else can reach yet.
pub(crate) fn bind_console(slave: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    drop(rustix::fs::open("/dev/console", flags, Mode::from_raw_mode(0o600))?);
    mount(Some(descriptor_path(slave).as_str()), "/dev/console", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}
