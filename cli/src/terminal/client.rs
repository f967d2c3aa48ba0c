//! The loop between the user and a session: one poll(2), one bounded read per turn and source.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use skep_runtime::{Input, Output, OutputDecoder, Peer, Session};

use super::keys::DetachKeys;
use super::raw::{self, RawTerminal};
use super::signals::{self, DefaultAction, Signals};
use super::sink::Sink;

/// Bytes of one read.
const READ_SIZE: usize = 16 << 10;
/// Bytes that wait for one side, from which on no more are read from the other.
const WAITING_MAX: usize = 64 << 10;
/// What an output that cannot be written is called.
const WRITE: &str = "write the container's output failed";

/// How a session is attended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Keys that leave the program running; `None` is Ctrl-P Ctrl-Q, empty is none.
    pub detach_keys: Option<Vec<u8>>,
    /// When the signals that this process gets are the program's.
    pub forward: Forward,
}

/// When the signals that this process gets are the program's. Others do to this process what they do by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forward {
    /// Always.
    Always,
    /// Unless its terminal is raw: a window that is closed ends the client, not a container that ran before.
    UnlessRaw,
    /// Never.
    Never,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The program ended with this exit code.
    Exited(i32),
    /// The user left it running.
    Left,
    /// This signal ended the client.
    Signalled(i32),
}

/// Copies between a session and descriptors 0, 1 and 2 of this process, until the program ends or the user leaves.
///
/// # Errors
/// The terminal, an output of this process, or the session failed.
pub(crate) fn attend(session: Session, signals: Signals, options: &Options) -> Result<End> {
    let with_keys = session.has_terminal() && session.takes_input();
    let raw = match with_keys {
        true => RawTerminal::enter(io::stdin().as_fd()).context("set the terminal up failed")?,
        false => None,
    };
    let (has_terminal, reads_input) = (session.has_terminal(), session.takes_input());
    let (socket, peer) = session.into_parts();
    let mut client = Client {
        forward: match options.forward {
            Forward::Always => true,
            Forward::UnlessRaw => raw.is_none(),
            Forward::Never => false,
        },
        detach: raw.is_some().then(|| DetachKeys::new(options.detach_keys.as_deref())),
        raw,
        signals,
        socket,
        peer,
        has_terminal,
        reads_input,
        decoder: OutputDecoder::default(),
        waiting: Vec::new(),
        sinks: [Sink::new(io::stdout().as_fd()).context(WRITE)?, Sink::new(io::stderr().as_fd()).context(WRITE)?],
        exit_code: None,
    };
    client.window();
    client.turn()
}

struct Client {
    /// First, so that it is restored first.
    raw: Option<RawTerminal>,
    signals: Signals,
    forward: bool,
    detach: Option<DetachKeys>,
    socket: UnixStream,
    peer: Peer,
    has_terminal: bool,
    reads_input: bool,
    decoder: OutputDecoder,
    /// For the session.
    waiting: Vec<u8>,
    sinks: [Sink; 2],
    /// Of the program, once it has ended: what it has printed is still to be written.
    exit_code: Option<i32>,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Keys,
    Socket,
    Sink(usize),
}

impl Client {
    fn turn(&mut self) -> Result<End> {
        let mut buffer = vec![0; READ_SIZE];
        loop {
            for (source, events) in self.wait()? {
                let end = match source {
                    Source::Signals => self.on_signals(),
                    Source::Keys => self.on_keys(&mut buffer),
                    Source::Socket => self.on_socket(events, &mut buffer)?,
                    Source::Sink(index) => {
                        let flushed = self.sinks[index].flush();
                        self.written(flushed)?;
                        None
                    }
                };
                if let Some(end) = end {
                    self.send();
                    return Ok(end);
                }
            }
            self.send();
            if let Some(exit_code) = self.exit_code
                && self.sinks.iter().all(|sink| sink.waiting() == 0)
            {
                return Ok(End::Exited(exit_code));
            }
        }
    }

    fn wait(&self) -> Result<Vec<(Source, PollFlags)>> {
        let stdin = io::stdin();
        let mut watched: Vec<(Source, BorrowedFd<'_>, PollFlags)> =
            vec![(Source::Signals, self.signals.as_fd(), PollFlags::POLLIN)];
        let mut flags = PollFlags::empty();
        if self.exit_code.is_none() {
            if self.reads_input && self.waiting.len() < WAITING_MAX {
                watched.push((Source::Keys, stdin.as_fd(), PollFlags::POLLIN));
            }
            flags.set(PollFlags::POLLIN, self.sinks.iter().all(|sink| sink.waiting() < WAITING_MAX));
            flags.set(PollFlags::POLLOUT, !self.waiting.is_empty());
        }
        if !flags.is_empty() {
            watched.push((Source::Socket, self.socket.as_fd(), flags));
        }
        for (index, sink) in self.sinks.iter().enumerate() {
            watched.extend(sink.blocked().map(|fd| (Source::Sink(index), fd, PollFlags::POLLOUT)));
        }
        let mut fds: Vec<PollFd<'_>> = watched.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("poll failed"),
        }
        let events = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(watched.iter().map(|(source, ..)| *source).zip(events).filter(|(_, events)| !events.is_empty()).collect())
    }

    /// Passes signals on, or does what they do.
    fn on_signals(&mut self) -> Option<End> {
        while let Some(signal) = self.signals.next() {
            if signal == Signal::SIGCONT as i32 {
                self.go_on();
            }
            if signal == Signal::SIGWINCH as i32 && self.has_terminal {
                self.window();
            } else if let Some(exit_code) = self.exit_code {
                // Only its output is still to be written.
                if signals::default_action(signal) == DefaultAction::End {
                    return Some(End::Exited(exit_code));
                }
            } else if self.forward {
                if let Err(error) = self.peer.signal(signal) {
                    tracing::debug!(%error, signal, "signal not passed on");
                }
            } else {
                match signals::default_action(signal) {
                    DefaultAction::Nothing => {}
                    DefaultAction::Stop => self.stop(),
                    DefaultAction::End => return Some(End::Signalled(signal)),
                }
            }
        }
        None
    }

    /// Stops this process; the terminal is the shell's meanwhile.
    fn stop(&self) {
        self.raw.iter().for_each(RawTerminal::restore);
        signals::stop();
    }

    /// This process was stopped, and goes on: the shell has used the terminal meanwhile.
    fn go_on(&mut self) {
        if let Some(raw) = &self.raw
            && let Err(error) = raw.make_raw()
        {
            tracing::debug!(%error, "the terminal is not raw any more");
        }
        self.window();
    }

    fn on_keys(&mut self, buffer: &mut [u8]) -> Option<End> {
        // Without the buffer that `Stdin` has.
        let count = match rustix::io::read(io::stdin(), &mut *buffer) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return None,
            // A terminal that has hung up.
            Err(_) => 0,
        };
        if count == 0 {
            self.reads_input = false;
            Input::EndOfStdin.encode(&mut self.waiting);
            return None;
        }
        let (bytes, leaves) = match &mut self.detach {
            Some(keys) => keys.take(&buffer[..count]),
            None => (buffer[..count].to_vec(), false),
        };
        Input::Stdin(&bytes).encode(&mut self.waiting);
        if leaves {
            Input::Leave.encode(&mut self.waiting);
            return Some(End::Left);
        }
        None
    }

    fn on_socket(&mut self, events: PollFlags, buffer: &mut [u8]) -> Result<Option<End>> {
        if !events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            return Ok(None);
        }
        let count = match self.socket.read(buffer) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(_) => 0,
        };
        if count == 0 {
            self.exit_code = Some(self.peer.after_hang_up()?);
            return Ok(None);
        }
        self.decoder.push(&buffer[..count]);
        while let Some(output) = self.decoder.decode()? {
            match output {
                Output::Stdout(bytes) => {
                    let written = self.sinks[0].write(&bytes);
                    self.written(written)?;
                }
                Output::Stderr(bytes) => {
                    let written = self.sinks[1].write(&bytes);
                    self.written(written)?;
                }
                Output::Ended(exit_code) => self.exit_code = Some(exit_code),
            }
        }
        Ok(None)
    }

    /// An output whose reader is gone ends the client; the program is told, so that it ends as it would without one.
    fn written(&mut self, outcome: io::Result<()>) -> Result<()> {
        if outcome.is_err() {
            Input::EndOfOutput.encode(&mut self.waiting);
            self.send();
        }
        outcome.context(WRITE)
    }

    fn window(&mut self) {
        if let Some((rows, columns)) = raw::size().filter(|_| self.has_terminal) {
            Input::Window { rows, columns }.encode(&mut self.waiting);
        }
    }

    /// Sends what waits, as far as the session takes it.
    fn send(&mut self) {
        let mut sent = 0;
        while sent < self.waiting.len() {
            match self.socket.write(&self.waiting[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The program has ended: what it still says is read next.
                Err(_) => {
                    sent = self.waiting.len();
                    self.reads_input = false;
                }
            }
        }
        self.waiting.drain(..sent);
    }
}
