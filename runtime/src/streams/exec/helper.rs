//! The process behind `exec`: parent of one program in a container, and keeper of its streams.
//!
//! Started as `skep __exec ROOT RUN_ROOT CGROUP_PARENT ID`, with the socket to its client as standard input. Sequence:
//! order from the client → program executed in the container → answer → streams until the program's end. It outlives a
//! client that leaves: somebody has to read what the program prints, and when the last descriptor of a terminal's master
//! is closed, the programs on it are hung up on.
//!
//! Invariants: one thread; nothing in the loop blocks; one bounded read per turn and stream, so that no stream keeps the
//! others, the client's messages or the program's end waiting; what waits for either side is bounded.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::ExecOptions;
use crate::error::{DisplayChain, Error, Result};
use crate::kernel::exec::{ExecConfig, spawn};
use crate::kernel::{self, KernelError, Process, Stdio, User, process, sys};
use crate::lifecycle::launch::Launch;
use crate::records::roots::Roots;
use crate::records::state::ProcessId;
use crate::streams::control::{self, Begun, Ended, ExecOrder, NotBegun, kind};
use crate::streams::ends::StreamEnds;
use crate::streams::framed::FramedSocket;
use crate::streams::logs::LogStream;

/// Bytes of one read.
const READ_SIZE: usize = 16 << 10;
/// Output that waits for the client, from which on no more is read from the program, bytes.
const SLOW: usize = 128 << 10;
/// Bytes that are still read of one stream once the program has ended: more than a pipe or a terminal holds. What
/// another process goes on writing into it is not waited for.
const DRAIN_MAX: usize = 1 << 20;

/// Runs the process behind `exec`; the result is its exit code.
pub(crate) fn main(roots: &Roots, id: &str) -> i32 {
    let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned() else { return 125 };
    let mut socket = UnixStream::from(socket);
    match begin(roots, id, &mut socket) {
        Ok(None) => 0,
        Ok(Some(mut helper)) => {
            // The helper's own is the last one: a client that leaves sees the connection close.
            drop(socket);
            helper.turn()
        }
        Err(failure) => {
            control::send(&mut socket, kind::NOT_BEGUN, &failure).ok();
            1
        }
    }
}

fn other(error: &Error) -> NotBegun {
    NotBegun::Other(DisplayChain(error).to_string())
}

/// Executes the program and answers the client. `None` when nothing of it has to be kept.
fn begin(roots: &Roots, id: &str, socket: &mut UnixStream) -> Result<Option<Helper>, NotBegun> {
    let failed = |error: KernelError| match error {
        KernelError::Process(error) => NotBegun::Process(error),
        KernelError::NotRunning(_) => NotBegun::NotRunning,
        KernelError::Paused(_) => NotBegun::Paused,
        error => NotBegun::Other(DisplayChain(&error).to_string()),
    };
    kernel::prepare_process().map_err(failed)?;
    let_go(socket).map_err(|error| other(&error))?;
    let order: ExecOrder = control::read_long(socket, kind::EXEC_ORDER)
        .map_err(|source| other(&Error::system("receive the order")(source)))?;
    let launch = Launch::load(&roots.container(id)).map_err(|error| other(&error))?;
    let config = ExecConfig {
        container: &launch.container,
        init_pid: order.init.pid,
        init_start_time: order.init.start_time,
        process: process_of(&launch.container.process, &order.options),
        privileged: order.options.privileged || launch.container.privileged,
    };
    // Blocked before the program exists, so that its end cannot be missed.
    let signals = signals().map_err(|error| other(&error))?;
    let streams = |source| other(&Error::system("pipe2")(source));
    let (mut ends, stdio) = match order.detached && !order.options.tty {
        true => (StreamEnds::default(), Stdio::Fds { stdin: None, stdout: None, stderr: None }),
        false => StreamEnds::new(order.options.tty, order.options.stdin).map_err(streams)?,
    };
    let mut child = spawn(&config, stdio).map_err(failed)?;
    if let Some(master) = child.pty_master.take() {
        let opened = ends.set_terminal(master, order.options.stdin);
        opened.map_err(|source| other(&Error::system("open the terminal")(source)))?;
    }
    let start_time = kernel::start_time(child.pid).unwrap_or(0);
    let begun = Begun { process: ProcessId { pid: child.pid, start_time }, warnings: child.warnings };
    // A client that is gone by now has left a program that runs.
    control::send(socket, kind::BEGUN, &begun).ok();
    if order.detached && !order.options.tty {
        return Ok(None);
    }
    let client = match order.detached {
        true => None,
        false => socket.try_clone().and_then(FramedSocket::new).ok(),
    };
    Ok(Some(Helper { program: child.pid, signals, client, ends, exit_code: None, left: [DRAIN_MAX; 2] }))
}

/// Lets go of everything that is the caller's: directory, streams, whatever it had open without meaning to hand it on.
fn let_go(socket: &mut UnixStream) -> Result<()> {
    nix::sys::prctl::set_name(c"skep-exec").ok();
    nix::unistd::chdir("/").map_err(|errno| Error::system("chdir")(errno.into()))?;
    let null = File::options().read(true).write(true).open("/dev/null").map_err(Error::file("open", "/dev/null"))?;
    for standard in 0..3 {
        sys::dup_onto(null.as_fd(), standard).map_err(Error::system("dup2"))?;
    }
    drop(null);
    sys::close_all_but(&[socket.as_fd()]).map_err(Error::system("close_range"))
}

fn process_of(base: &Process, options: &ExecOptions) -> Process {
    let name = |variable: &String| variable.split('=').next().map(str::to_owned);
    let mut env = base.env.clone();
    if options.tty && !env.iter().any(|variable| variable.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    env.retain(|variable| !options.env.iter().any(|other| name(other) == name(variable)));
    env.extend(options.env.iter().filter(|variable| variable.contains('=')).cloned());
    let user = match &options.user {
        Some(spec) => User { spec: spec.clone(), ..base.user.clone() },
        None => base.user.clone(),
    };
    Process {
        args: options.args.clone(),
        env,
        cwd: options.working_dir.clone().unwrap_or_else(|| base.cwd.clone()),
        user,
        terminal: options.tty,
        terminal_size: options.terminal_size.filter(|_| options.tty),
        ..base.clone()
    }
}

fn signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.add(Signal::SIGPIPE);
    mask.thread_block().map_err(|errno| Error::system("block signals")(errno.into()))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|errno| Error::system("signalfd")(errno.into()))
}

/// At work.
struct Helper {
    program: i32,
    signals: SignalFd,
    /// `None` once it is gone.
    client: Option<FramedSocket>,
    ends: StreamEnds,
    /// Of the program, once it has ended.
    exit_code: Option<i32>,
    /// Bytes still to be read of each stream after the end.
    left: [usize; 2],
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Client,
    Input,
    Output(LogStream),
}

const OUTPUTS: [LogStream; 2] = [LogStream::Stdout, LogStream::Stderr];

impl Helper {
    /// Until the program has ended and the client knows.
    fn turn(&mut self) -> i32 {
        let mut buffer = vec![0; READ_SIZE];
        loop {
            let Ok(happened) = self.wait() else { return 1 };
            for (source, events) in happened {
                match source {
                    Source::Signals => self.on_signals(),
                    Source::Client => self.on_client(events),
                    Source::Input => self.ends.flush(),
                    Source::Output(stream) => _ = self.pass(stream, &mut buffer),
                }
            }
            if self.client.as_ref().is_some_and(FramedSocket::is_gone) {
                self.client = None;
                self.ends.end_input();
            }
            if let Some(exit_code) = self.exit_code
                && OUTPUTS.into_iter().all(|stream| self.is_dry(stream, &mut buffer))
            {
                self.say_farewell(exit_code);
                return 0;
            }
        }
    }

    fn wait(&self) -> nix::Result<Vec<(Source, PollFlags)>> {
        let mut watched: Vec<(Source, BorrowedFd<'_>, PollFlags)> =
            vec![(Source::Signals, self.signals.as_fd(), PollFlags::POLLIN)];
        if let Some(client) = &self.client {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, !self.ends.input_is_full());
            flags.set(PollFlags::POLLOUT, client.waiting() > 0);
            watched.push((Source::Client, client.as_fd(), flags));
        }
        watched.extend(self.ends.waiting_input().map(|fd| (Source::Input, fd, PollFlags::POLLOUT)));
        if !self.client_is_slow() {
            let output = |stream| Some((Source::Output(stream), self.ends.output(stream)?, PollFlags::POLLIN));
            watched.extend(OUTPUTS.into_iter().filter_map(output));
        }
        let mut fds: Vec<PollFd<'_>> = watched.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        // After the program's end it is only looked whether anything is left to be read now.
        let timeout = match self.exit_code.is_some() && !self.client_is_slow() {
            true => PollTimeout::ZERO,
            false => PollTimeout::NONE,
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let events = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(watched.iter().map(|(source, ..)| *source).zip(events).filter(|(_, events)| !events.is_empty()).collect())
    }

    fn client_is_slow(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.waiting() > SLOW)
    }

    fn on_signals(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        match process::reap(Some(self.program)) {
            Ok(None) => {}
            Ok(Some((_, exit_code))) => self.exit_code = Some(exit_code),
            Err(error) => {
                tracing::error!(%error, "the program's end is not known");
                self.exit_code = Some(125);
            }
        }
    }

    fn on_client(&mut self, events: PollFlags) {
        let Some(client) = &mut self.client else { return };
        if events.contains(PollFlags::POLLOUT) {
            client.flush();
        }
        if !events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            return;
        }
        let mut leaves = false;
        for (frame, payload) in client.read() {
            match frame {
                kind::STDIN if payload.is_empty() => self.ends.end_input(),
                kind::STDIN => self.ends.write(&payload),
                kind::WINDOW => {
                    if let [a, b, c, d] = payload[..] {
                        self.ends.resize(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])).ok();
                    }
                }
                kind::END_OF_OUTPUT => self.ends.close_outputs(),
                kind::LEAVE => leaves = true,
                _ => {}
            }
        }
        if leaves {
            self.client = None;
        }
    }

    /// One read of one stream; the bytes that it gave, `None` when there is nothing now.
    fn pass(&mut self, stream: LogStream, buffer: &mut [u8]) -> Option<usize> {
        let count = self.ends.read(stream, buffer)?;
        let frame = match stream {
            LogStream::Stdout => kind::STDOUT,
            LogStream::Stderr => kind::STDERR,
        };
        if let Some(client) = &mut self.client {
            client.send(frame, &buffer[..count]);
        }
        Some(count)
    }

    /// After the program's end: whether nothing is left of a stream. Reads on in it, if the client keeps up.
    fn is_dry(&mut self, stream: LogStream, buffer: &mut [u8]) -> bool {
        if self.left[stream as usize] == 0 {
            return true;
        }
        if self.client_is_slow() {
            return false;
        }
        let read = self.pass(stream, buffer);
        let left = &mut self.left[stream as usize];
        *left = read.map_or(0, |count| left.saturating_sub(count));
        *left == 0
    }

    /// Tells the client how it ended, and waits until it has read everything or is gone.
    fn say_farewell(&mut self, exit_code: i32) {
        let Some(client) = &mut self.client else { return };
        client.finish(kind::ENDED, &serde_json::to_vec(&Ended { exit_code }).unwrap_or_default());
        while !client.is_gone() {
            let mut fds = [PollFd::new(client.as_fd(), PollFlags::POLLOUT)];
            poll(&mut fds, PollTimeout::NONE).ok();
            client.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::records::config::{ContainerConfig, ResolvedConfig};
    use crate::records::resolve;

    #[test]
    fn another_user_keeps_the_groups_added_to_the_container() {
        let config = ContainerConfig { group_add: vec!["audio".to_owned(), "77".to_owned()], ..Default::default() };
        let resolved = ResolvedConfig { user: "web".to_owned(), ..Default::default() };
        let first = resolve::process(&config, &resolved, "h").unwrap();
        let user = |spec: Option<&str>| {
            process_of(&first, &ExecOptions { user: spec.map(str::to_owned), ..Default::default() }).user
        };
        for (asked, spec) in [(None, "web"), (Some("4711"), "4711"), (Some("root:wheel"), "root:wheel")] {
            assert_eq!(user(asked), User { spec: spec.to_owned(), additional_groups: config.group_add.clone() });
        }
    }
}
