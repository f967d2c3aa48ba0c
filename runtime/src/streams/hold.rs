//! Who keeps the terminal of a program that was left running.
//!
//! Called by `exec`, in a process that has one thread. When the last descriptor of a terminal's master
//! is closed, its programs are hung up on; and when nobody reads, they come to a halt.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Error, Result};
use crate::kernel::sys::{self, Fork};

/// Leaves a terminal to a process of its own, which reads it until its last program has ended.
///
/// # Errors
/// No process can be made.
pub(crate) fn leave(master: File) -> Result<()> {
    if let Fork::Parent(_) = sys::fork().map_err(Error::system("fork"))? {
        return Ok(());
    }
    detach(&master).ok();
    drain(master);
    sys::exit_now(0);
}

/// Lets go of everything that is the user's: session, directory, streams.
fn detach(master: &File) -> io::Result<()> {
    nix::unistd::setsid()?;
    nix::unistd::chdir("/")?;
    nix::sys::prctl::set_name(c"skep-terminal")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for standard in 0..3 {
        sys::dup_onto(null.as_fd(), standard)?;
    }
    let others: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && *fd != master.as_raw_fd() && *fd != null.as_raw_fd())
        .collect();
    others.into_iter().for_each(|fd| _ = nix::unistd::close(fd));
    Ok(())
}

fn drain(mut master: File) {
    let mut buffer = [0; 4 << 10];
    loop {
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).ok();
        match master.read(&mut buffer) {
            Ok(count) if count > 0 => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            // A terminal whose last user is gone says EIO.
            _ => return,
        }
    }
}
