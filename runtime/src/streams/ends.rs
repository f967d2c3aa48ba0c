//! Our ends of the standard streams of a program in a container: pipes, or the master of its terminal.
//!
//! Held by the shim for the container's program, and by the process behind `exec` for the one it runs. Nothing here
//! blocks; input that waits for the program is bounded by whoever asks [`StreamEnds::input_is_full`] before taking more.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use crate::kernel::Stdio;
use crate::streams::logs::LogStream;

/// Input that waits for the container, from which on no more is read from the client, bytes.
const STDIN_MAX: usize = 64 << 10;

/// Our ends.
#[derive(Debug, Default)]
pub(crate) struct StreamEnds {
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
    /// Both ends of what a program is to have.
    pub(crate) fn new(terminal: bool, stdin_open: bool) -> io::Result<(Self, Stdio)> {
        if terminal {
            return Ok((Self { terminal: true, ..Self::default() }, Stdio::Terminal));
        }
        let pipe = || pipe2(OFlag::O_CLOEXEC);
        let (stdout_ours, stdout) = pipe()?;
        let (stderr_ours, stderr) = pipe()?;
        let (stdin, stdin_ours) = match stdin_open {
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
    pub(crate) fn set_terminal(&mut self, master: OwnedFd, stdin_open: bool) -> io::Result<()> {
        if stdin_open {
            self.stdin = Some(non_blocking(master.try_clone()?)?);
        }
        self.outputs[0] = Some(non_blocking(master)?);
        Ok(())
    }

    pub(crate) fn output(&self, stream: LogStream) -> Option<BorrowedFd<'_>> {
        self.outputs[stream as usize].as_ref().map(AsFd::as_fd)
    }

    /// Standard input, if something waits for it.
    pub(crate) fn waiting_input(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().filter(|_| !self.stdin_waiting.is_empty()).map(AsFd::as_fd)
    }

    pub(crate) fn input_is_full(&self) -> bool {
        self.stdin.is_some() && self.stdin_waiting.len() > STDIN_MAX
    }

    /// Reads some output; `None` when there is none now, or none any more.
    pub(crate) fn read(&mut self, stream: LogStream, buffer: &mut [u8]) -> Option<usize> {
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

    /// Nobody reads the output any more. A terminal stays: it has more than output.
    pub(crate) fn close_outputs(&mut self) {
        if !self.terminal {
            self.outputs = [None, None];
        }
    }

    /// Input for the program.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.stdin.is_some() && !self.stdin_ends {
            self.stdin_waiting.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// No more input comes. A terminal has no such end: there, the end is a character.
    pub(crate) fn end_input(&mut self) {
        if !self.terminal {
            self.stdin_ends = true;
            self.flush();
        }
    }

    pub(crate) fn flush(&mut self) {
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
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        match (&self.outputs[0], self.terminal) {
            (Some(master), true) => crate::streams::terminal::set_size(master.as_fd(), rows, columns),
            _ => Ok(()),
        }
    }
}
