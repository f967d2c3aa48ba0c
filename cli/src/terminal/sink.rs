//! Where a program's output goes: a descriptor of this process, written to without waiting for whoever reads there.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::termios::isatty;

/// One output, and what waits to be written to it.
#[derive(Debug)]
pub(super) struct Sink {
    way: Way,
    terminal: bool,
    waiting: Vec<u8>,
    /// Its terminal has hung up: what comes is lost.
    lost: bool,
}

/// How to write without waiting. The descriptor itself stays as it is: others share it, the shell first of all.
#[derive(Debug)]
enum Way {
    /// By a descriptor of our own.
    Reopened(File),
    /// By a flag of each call.
    Socket(OwnedFd),
    /// A file never keeps one waiting.
    Plain(File),
}

impl Sink {
    pub(super) fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let terminal = isatty(fd);
        let kind = FileType::from_raw_mode(fstat(fd)?.st_mode);
        let way = match kind {
            FileType::Socket => Way::Socket(fd.try_clone_to_owned()?),
            _ if terminal || kind == FileType::Fifo => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                match open(format!("/proc/self/fd/{}", fd.as_raw_fd()), flags, Mode::empty()) {
                    Ok(own) => Way::Reopened(own.into()),
                    // Nobody reads there any more, which the first write will tell.
                    Err(_) => Way::Plain(fd.try_clone_to_owned()?.into()),
                }
            }
            _ => Way::Plain(fd.try_clone_to_owned()?.into()),
        };
        Ok(Self { way, terminal, waiting: Vec::new(), lost: false })
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The descriptor to wait for, if anything waits.
    pub(super) fn blocked(&self) -> Option<BorrowedFd<'_>> {
        (!self.waiting.is_empty()).then_some(match &self.way {
            Way::Reopened(file) | Way::Plain(file) => file.as_fd(),
            Way::Socket(socket) => socket.as_fd(),
        })
    }

    /// Writes bytes, now or with the next [`Sink::flush`].
    ///
    /// # Errors
    /// As [`Sink::flush`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.lost {
            return Ok(());
        }
        self.waiting.extend_from_slice(bytes);
        self.flush()
    }

    /// Writes what waits, as far as it goes.
    ///
    /// # Errors
    /// Nobody reads there any more, or the disk is full. A terminal that has hung up is none: the program may have more
    /// to do than to print.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        let mut outcome = Ok(());
        while written < self.waiting.len() {
            let rest = &self.waiting[written..];
            let wrote = match &mut self.way {
                Way::Reopened(file) | Way::Plain(file) => file.write(rest),
                Way::Socket(socket) => {
                    send(socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map_err(io::Error::from)
                }
            };
            match wrote {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    written = self.waiting.len();
                    self.lost = true;
                    let hung_up = self.terminal && Errno::from_io_error(&error) == Some(Errno::IO);
                    outcome = if hung_up { Ok(()) } else { Err(error) };
                }
            }
        }
        self.waiting.drain(..written);
        outcome
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    /// Fills what nobody reads, then reads it all: nothing was waited for, nothing is lost.
    fn never_waits(far: &mut impl Read, near: BorrowedFd<'_>) {
        let mut sink = Sink::new(near).unwrap();
        let sent: Vec<u8> = (0..1_u32 << 20).map(|number| number as u8).collect();
        for part in sent.chunks(10_000) {
            sink.write(part).unwrap();
        }
        assert!(sink.waiting() > 0 && sink.blocked().is_some());
        let mut read = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while read.len() < sent.len() {
            sink.flush().unwrap();
            let count = far.read(&mut buffer).unwrap();
            read.extend_from_slice(&buffer[..count]);
        }
        assert!(read == sent && sink.blocked().is_none());
    }

    #[test]
    fn a_pipe_that_nobody_reads_keeps_nobody_waiting() {
        let (mut far, near) = io::pipe().unwrap();
        never_waits(&mut far, near.as_fd());
        // Its own description is as it was.
        let flags = rustix::fs::fcntl_getfl(&near).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK));
        drop(far);
        let error = Sink::new(near.as_fd()).unwrap().write(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_socket_that_nobody_reads_keeps_nobody_waiting() {
        let (mut far, near) = UnixStream::pair().unwrap();
        never_waits(&mut far, near.as_fd());
    }

    #[test]
    fn a_file_is_appended_to_where_it_was() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before ").unwrap();
        Sink::new(file.as_fd()).unwrap().write(b"after").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "before after");
    }
}
