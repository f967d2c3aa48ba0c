//! A container's standard streams on those of this process: `attach`, and `run` in the foreground.
//!
//! Called by `cli`. One poll(2) loop; nothing in it blocks but writing to the user.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Error, Result};
use crate::records::state::ProcessId;
use crate::runtime::Runtime;
use crate::streams::control::{self, Decoder, Ended, Request, kind};
use crate::streams::terminal::{self, RawTerminal};

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attach {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// How streams are copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyOptions {
    /// Keys that leave the container running; `None` is Ctrl-P Ctrl-Q, empty is none.
    pub detach_keys: Option<Vec<u8>>,
    /// Signals this process receives are the container's (never with a terminal that is raw: its keys are).
    pub sig_proxy: bool,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self { detach_keys: None, sig_proxy: true }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachEnd {
    /// The container's process ended with this code.
    Exited(i32),
    /// The user left it running.
    Detached,
}

/// A connection to a container's streams.
#[derive(Debug)]
pub struct AttachStream {
    pub(crate) runtime: Runtime,
    pub(crate) id: String,
    /// Who is at the other end.
    pub(crate) shim: Option<ProcessId>,
    pub(crate) stream: UnixStream,
    pub(crate) attach: Attach,
    pub(crate) terminal: bool,
    pub(crate) warnings: Vec<String>,
}

impl Runtime {
    /// Connects to the streams of a container that runs.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Paused`], [`Error::Restarting`].
    pub fn attach(&self, name_or_id: &str, attach: Attach) -> Result<AttachStream> {
        let (record, state) = self.record(name_or_id)?;
        self.require_running(&record.id, &state, "attach")?;
        let attach = Attach { stdin: attach.stdin && record.config.stdin_open, ..attach };
        let Attach { stdin, stdout, stderr } = attach;
        let stream = self.request(&record.id, &Request::Attach { stdin, stdout, stderr })?;
        let (runtime, terminal) = (self.clone(), record.config.tty);
        let warnings = Vec::new();
        Ok(AttachStream { runtime, id: record.id, shim: state.shim, stream, attach, terminal, warnings })
    }
}

impl AttachStream {
    /// What the user should know about the start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Copies between the container and descriptors 0, 1 and 2 of this process, until the
    /// container's process ends or the user leaves. A terminal is raw meanwhile.
    ///
    /// # Errors
    /// The terminal, a stream of this process, or the shim failed.
    pub fn run(self, options: &ProxyOptions) -> Result<AttachEnd> {
        let stdin = io::stdin();
        let with_terminal = self.terminal && self.attach.stdin;
        let raw = match with_terminal {
            true => RawTerminal::enter(stdin.as_fd()).map_err(Error::system("set the terminal up"))?,
            false => None,
        };
        let signals = signals(options.sig_proxy && raw.is_none())?;
        self.stream.set_nonblocking(true).map_err(Error::system("make the socket non-blocking"))?;
        let mut proxy = Proxy {
            detach: raw.is_some().then(|| DetachKeys::new(options.detach_keys.as_deref())),
            reads_input: self.attach.stdin,
            decoder: Decoder::default(),
            waiting: Vec::new(),
            signals,
            session: self,
        };
        proxy.window();
        proxy.turn()
    }
}

/// Signals that this thread takes from now on by reading.
fn signals(sig_proxy: bool) -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGWINCH);
    if sig_proxy {
        use Signal::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
        for signal in [SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
            mask.add(signal);
        }
    }
    mask.thread_block().map_err(|errno| Error::system("block signals")(errno.into()))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|errno| Error::system("signalfd")(errno.into()))
}

struct Proxy {
    session: AttachStream,
    signals: SignalFd,
    detach: Option<DetachKeys>,
    reads_input: bool,
    decoder: Decoder,
    /// Frames for the shim.
    waiting: Vec<u8>,
}

impl Proxy {
    fn turn(&mut self) -> Result<AttachEnd> {
        loop {
            let (input, socket, signals) = self.wait()?;
            if signals {
                self.on_signals();
            }
            if input && self.on_input()? {
                self.flush()?;
                return Ok(AttachEnd::Detached);
            }
            self.flush()?;
            if socket && let Some(end) = self.on_output()? {
                return Ok(end);
            }
        }
    }

    fn wait(&self) -> Result<(bool, bool, bool)> {
        let stdin = io::stdin();
        let mut socket_flags = PollFlags::POLLIN;
        if !self.waiting.is_empty() {
            socket_flags |= PollFlags::POLLOUT;
        }
        let mut fds = vec![
            PollFd::new(self.session.stream.as_fd(), socket_flags),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        if self.reads_input && self.waiting.is_empty() {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return Ok((false, false, false)),
            Err(errno) => return Err(Error::system("poll")(errno.into())),
        }
        let ready = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or(false);
        Ok((ready(2), ready(0), ready(1)))
    }

    /// True when the user leaves.
    fn on_input(&mut self) -> Result<bool> {
        let mut buffer = [0; 16 << 10];
        let count = match read_raw(io::stdin().as_fd(), &mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            // A terminal that hung up.
            Err(_) => 0,
        };
        if count == 0 {
            self.reads_input = false;
            control::push_frame(&mut self.waiting, kind::STDIN, b"");
            return Ok(false);
        }
        let (bytes, leave) = match &mut self.detach {
            Some(keys) => keys.take(&buffer[..count]),
            None => (buffer[..count].to_vec(), false),
        };
        if !bytes.is_empty() {
            control::push_frame(&mut self.waiting, kind::STDIN, &bytes);
        }
        Ok(leave)
    }

    fn on_output(&mut self) -> Result<Option<AttachEnd>> {
        let mut buffer = [0; 32 << 10];
        let count = match self.session.stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(_) => 0,
        };
        if count == 0 {
            let AttachStream { runtime, id, shim, .. } = &self.session;
            return runtime.after_hang_up(id, *shim).map(|code| Some(AttachEnd::Exited(code)));
        }
        self.decoder.push(&buffer[..count]);
        while let Some((frame, payload)) = self.decoder.next().map_err(Error::system("read from the shim"))? {
            match frame {
                kind::STDOUT => write_all(io::stdout().as_fd(), &payload)?,
                kind::STDERR => write_all(io::stderr().as_fd(), &payload)?,
                kind::ENDED => {
                    let ended: Ended = serde_json::from_slice(&payload).unwrap_or(Ended { exit_code: 125 });
                    return Ok(Some(AttachEnd::Exited(ended.exit_code)));
                }
                kind::REFUSED => return Err(Error::Refused(String::from_utf8_lossy(&payload).into_owned())),
                _ => {}
            }
        }
        Ok(None)
    }

    fn on_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = signal.ssi_signo as i32;
            if number == libc::SIGWINCH {
                self.window();
            } else if let Err(error) = self.session.runtime.kill(&self.session.id, &number.to_string()) {
                tracing::debug!(%error, "signal not passed on");
            }
        }
    }

    fn window(&mut self) {
        if let Some((rows, columns)) = terminal::size(io::stdin()).filter(|_| self.session.terminal) {
            let payload = [rows.to_be_bytes(), columns.to_be_bytes()].concat();
            control::push_frame(&mut self.waiting, kind::WINDOW, &payload);
        }
    }

    fn flush(&mut self) -> Result<()> {
        let mut sent = 0;
        while sent < self.waiting.len() {
            match self.session.stream.write(&self.waiting[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The container has ended: what it still says is read next.
                Err(_) => {
                    sent = self.waiting.len();
                    self.reads_input = false;
                }
            }
        }
        self.waiting.drain(..sent);
        Ok(())
    }
}

/// Reads without the buffer that `std::io::Stdin` has.
pub(crate) fn read_raw(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(fd, buffer)?)
}

/// Writes everything to a stream of this process, waiting if it is non-blocking.
pub(crate) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
                poll(&mut fds, PollTimeout::NONE).ok();
            }
            Err(errno) => return Err(Error::system("write the container's output")(errno.into())),
        }
    }
    Ok(())
}

/// Finds the keys that leave a container in what the user types.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// `None` is Ctrl-P Ctrl-Q.
    pub(crate) fn new(keys: Option<&[u8]>) -> Self {
        Self { keys: keys.unwrap_or(&[0x10, 0x11]).to_vec(), matched: 0 }
    }

    /// What the container is to get, and whether the user leaves. Keys that might be the beginning
    /// are held back until the next one.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(byte));
            if self.matched == 0 {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_across_reads_and_passed_on_otherwise() {
        let mut keys = DetachKeys::new(None);
        assert_eq!(keys.take(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.take(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.take(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.take(b"\x11rest"), (Vec::new(), true));
        assert_eq!(DetachKeys::new(Some(b"")).take(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
