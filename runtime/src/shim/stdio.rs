//! The shim's ends of a container's standard streams.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use crate::kernel::Stdio;
use crate::lifecycle::launch::Launch;
use crate::streams::logs::LogStream;

/// Input that waits for the container, from which on no more is read from the client, bytes.
const STDIN_MAX: usize = 64 << 10;

/// Our ends.
#[derive(Debug, Default)]
pub(super) struct StreamEnds {
    stdin: Option<File>,
    stdin_waiting: Vec<u8>,
    stdin_ends: bool,
    outputs: [Option<File>; 2],
    terminal: bool,
}

fn non_blocking(fd: OwnedFd) -> io::Result<File> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(File::from(fd))
}

impl StreamEnds {
    /// Both ends of what a container is to have.
    pub(super) fn new(launch: &Launch) -> io::Result<(Self, Stdio)> {
        if launch.container.process.terminal {
            return Ok((Self { terminal: true, ..Self::default() }, Stdio::Terminal));
        }
        let pipe = || pipe2(OFlag::O_CLOEXEC);
        let (stdout_ours, stdout) = pipe()?;
        let (stderr_ours, stderr) = pipe()?;
        let (stdin, stdin_ours) = match launch.stdin_open {
            true => pipe().map(|(theirs, ours)| (Some(theirs), Some(ours)))?,
            false => (None, None),
        };
        let streams = Self {
            stdin: stdin_ours.map(non_blocking).transpose()?,
            outputs: [Some(non_blocking(stdout_ours)?), Some(non_blocking(stderr_ours)?)],
            ..Self::default()
        };
        Ok((streams, Stdio::Fds { stdin, stdout: Some(stdout), stderr: Some(stderr) }))
    }

    /// The terminal is there.
    pub(super) fn set_terminal(&mut self, master: OwnedFd, stdin_open: bool) -> io::Result<()> {
        if stdin_open {
            self.stdin = Some(non_blocking(master.try_clone()?)?);
        }
        self.outputs[0] = Some(non_blocking(master)?);
        Ok(())
    }

    pub(super) fn output(&self, stream: LogStream) -> Option<BorrowedFd<'_>> {
        self.outputs[stream as usize].as_ref().map(AsFd::as_fd)
    }

    /// Standard input, if something waits for it.
    pub(super) fn waiting_input(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().filter(|_| !self.stdin_waiting.is_empty()).map(AsFd::as_fd)
    }

    pub(super) fn input_is_full(&self) -> bool {
        self.stdin.is_some() && self.stdin_waiting.len() > STDIN_MAX
    }

    /// Reads some output; `None` when there is none now, or none any more.
    pub(super) fn read(&mut self, stream: LogStream, buffer: &mut [u8]) -> Option<usize> {
        let file = self.outputs[stream as usize].as_mut()?;
        loop {
            match file.read(buffer) {
                Ok(0) => break,
                Ok(count) => return Some(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // A terminal whose last user is gone says EIO.
                Err(_) => break,
            }
        }
        self.outputs[stream as usize] = None;
        None
    }

    /// Input for the container.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if self.stdin.is_some() && !self.stdin_ends {
            self.stdin_waiting.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// No more input comes. A terminal has no such end: there, the end is a character.
    pub(super) fn end_input(&mut self) {
        if !self.terminal {
            self.stdin_ends = true;
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        let Some(file) = self.stdin.as_mut() else { return };
        let mut written = 0;
        while written < self.stdin_waiting.len() {
            match file.write(&self.stdin_waiting[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.stdin_ends = true;
                    written = self.stdin_waiting.len();
                }
            }
        }
        self.stdin_waiting.drain(..written);
        if self.stdin_waiting.is_empty() {
            self.stdin_waiting = Vec::new();
            if self.stdin_ends {
                self.stdin = None;
            }
        }
    }

    /// Sets the terminal's size.
    pub(super) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        match (&self.outputs[0], self.terminal) {
            (Some(master), true) => crate::streams::terminal::set_size(master.as_fd(), rows, columns),
            _ => Ok(()),
        }
    }
}
