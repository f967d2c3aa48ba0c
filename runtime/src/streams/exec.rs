//! `exec`: another program in a running container, with the streams of this process.
//!
//! Called by `cli`, in a process that has one thread: the program is a child of this process,
//! confined as the container is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::pipe2;

use crate::error::{Error, Result};
use crate::kernel::exec::{ExecConfig, spawn};
use crate::kernel::process;
use crate::kernel::{self, Process, Stdio, User};
use crate::lifecycle::launch::Launch;
use crate::runtime::Runtime;
use crate::streams::attach::{DetachKeys, read_raw, write_all};
use crate::streams::hold;
use crate::streams::terminal::{self, RawTerminal};

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Program and arguments.
    pub args: Vec<String>,
    /// More of the environment: `NAME=value`.
    pub env: Vec<String>,
    /// `user[:group]`; `None` for the container's.
    pub user: Option<String>,
    /// Working directory; `None` for the container's.
    pub working_dir: Option<String>,
    /// A pseudo-terminal.
    pub tty: bool,
    /// Standard input comes along.
    pub stdin: bool,
    /// Do not wait for it.
    pub detach: bool,
    /// Every capability and no filter.
    pub privileged: bool,
    /// Keys that leave it running; `None` is Ctrl-P Ctrl-Q, empty is none.
    pub detach_keys: Option<Vec<u8>>,
}

impl Runtime {
    /// Runs a program in a container and waits for it, copying between its streams and
    /// descriptors 0, 1 and 2 of this process. The result is its exit code (0 when detached).
    ///
    /// The process must have one thread only. It executes itself again, once, with the same
    /// arguments: what runs before this call runs twice.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Paused`], [`Error::Exec`].
    pub fn exec(&self, name_or_id: &str, options: &ExecOptions) -> Result<i32> {
        let (record, state) = self.record(name_or_id)?;
        self.require_running(&record.id, &state, "exec")?;
        let init = state.init.ok_or_else(|| Error::NotRunning(record.id.clone()))?;
        kernel::prepare_process()?;
        let launch: Launch = crate::files::load(&self.paths(&record.id).launch())?
            .ok_or_else(|| Error::NotRunning(record.id.clone()))?;
        let process = process_of(&launch.container.process, options);
        let config = ExecConfig {
            container: &launch.container,
            init_pid: init.pid,
            init_start_time: init.start_time,
            process,
            privileged: options.privileged || launch.container.privileged,
        };
        let failed = |source| Error::Exec(Box::new(source));
        if options.detach {
            let stdio = Stdio::Fds { stdin: None, stdout: None, stderr: None };
            let stdio = if options.tty { Stdio::Terminal } else { stdio };
            let child = spawn(&config, stdio).map_err(failed)?;
            if let Some(master) = child.pty_master {
                hold::leave(master.into())?;
            }
            return Ok(0);
        }
        // Blocked before the child exists, so that its end cannot be missed.
        let signals = signals()?;
        let (mut streams, stdio) = ExecStreams::new(options).map_err(Error::system("pipe2"))?;
        let mut child = spawn(&config, stdio).map_err(failed)?;
        if let Some(master) = child.pty_master.take() {
            streams.set_terminal(master, options.stdin).map_err(Error::system("open the terminal"))?;
        }
        let raw = match options.tty && options.stdin {
            true => RawTerminal::enter(io::stdin().as_fd()).map_err(Error::system("set the terminal up"))?,
            false => None,
        };
        let detach = raw.is_some().then(|| DetachKeys::new(options.detach_keys.as_deref()));
        streams.turn(child.pid, &signals, detach)
    }
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
        Some(spec) => User { spec: spec.clone(), additional_groups: Vec::new() },
        None => base.user.clone(),
    };
    Process {
        args: options.args.clone(),
        env,
        cwd: options.working_dir.clone().unwrap_or_else(|| base.cwd.clone()),
        user,
        terminal: options.tty,
        terminal_size: if options.tty { terminal::size(io::stdin()) } else { None },
        ..base.clone()
    }
}

fn signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.add(Signal::SIGWINCH);
    mask.thread_block().map_err(|errno| Error::system("block signals")(errno.into()))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|errno| Error::system("signalfd")(errno.into()))
}

#[derive(Debug, Default)]
struct ExecStreams {
    reads_input: bool,
    input: Option<File>,
    waiting: Vec<u8>,
    outputs: [Option<File>; 2],
    terminal: bool,
}

fn non_blocking(fd: OwnedFd) -> io::Result<File> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(File::from(fd))
}

impl ExecStreams {
    fn new(options: &ExecOptions) -> io::Result<(Self, Stdio)> {
        if options.tty {
            return Ok((Self { terminal: true, ..Self::default() }, Stdio::Terminal));
        }
        // Pipes always: a descriptor of the user's terminal or file has no place in a container.
        let (stdout_ours, stdout) = pipe2(OFlag::O_CLOEXEC)?;
        let (stderr_ours, stderr) = pipe2(OFlag::O_CLOEXEC)?;
        let (stdin, input) = match options.stdin {
            true => pipe2(OFlag::O_CLOEXEC).map(|(theirs, ours)| (Some(theirs), Some(ours)))?,
            false => (None, None),
        };
        let streams = Self {
            reads_input: options.stdin,
            input: input.map(non_blocking).transpose()?,
            outputs: [Some(non_blocking(stdout_ours)?), Some(non_blocking(stderr_ours)?)],
            ..Self::default()
        };
        Ok((streams, Stdio::Fds { stdin, stdout: Some(stdout), stderr: Some(stderr) }))
    }

    fn set_terminal(&mut self, master: OwnedFd, stdin: bool) -> io::Result<()> {
        if stdin {
            self.reads_input = true;
            self.input = Some(non_blocking(master.try_clone()?)?);
        }
        self.outputs[0] = Some(non_blocking(master)?);
        Ok(())
    }

    fn turn(&mut self, pid: i32, signals: &SignalFd, mut detach: Option<DetachKeys>) -> Result<i32> {
        loop {
            self.wait(signals)?;
            while let Ok(Some(signal)) = signals.read_signal() {
                if signal.ssi_signo as i32 == libc::SIGWINCH {
                    self.window();
                }
            }
            self.read_outputs()?;
            if let Some(code) = ended(pid)? {
                self.read_outputs()?;
                return Ok(code);
            }
            self.flush();
            if self.reads_input && self.waiting.is_empty() && self.on_input(&mut detach)? {
                // Only a terminal can be left.
                self.outputs[0].take().map_or(Ok(()), hold::leave)?;
                return Ok(0);
            }
        }
    }

    fn wait(&self, signals: &SignalFd) -> Result<()> {
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.outputs.iter().flatten().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN)));
        match &self.input {
            Some(input) if !self.waiting.is_empty() => fds.push(PollFd::new(input.as_fd(), PollFlags::POLLOUT)),
            _ if self.reads_input => fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN)),
            _ => {}
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(Error::system("poll")(errno.into())),
        }
    }

    /// True when the user leaves.
    fn on_input(&mut self, detach: &mut Option<DetachKeys>) -> Result<bool> {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO).unwrap_or(0) == 0 {
            return Ok(false);
        }
        let mut buffer = [0; 16 << 10];
        let count = read_raw(stdin.as_fd(), &mut buffer).unwrap_or(0);
        if count == 0 {
            self.reads_input = false;
            if !self.terminal {
                self.input = None;
            }
            return Ok(false);
        }
        let (bytes, leave) = match detach {
            Some(keys) => keys.take(&buffer[..count]),
            None => (buffer[..count].to_vec(), false),
        };
        self.waiting.extend_from_slice(&bytes);
        self.flush();
        Ok(leave)
    }

    fn flush(&mut self) {
        let Some(input) = self.input.as_mut() else {
            self.waiting.clear();
            return;
        };
        while !self.waiting.is_empty() {
            match input.write(&self.waiting) {
                Ok(count) => _ = self.waiting.drain(..count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.waiting.clear();
                    self.input = None;
                    self.reads_input = false;
                    return;
                }
            }
        }
    }

    fn read_outputs(&mut self) -> Result<()> {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let targets: [BorrowedFd<'_>; 2] = [stdout.as_fd(), stderr.as_fd()];
        let mut buffer = [0; 32 << 10];
        for (output, target) in self.outputs.iter_mut().zip(targets) {
            while let Some(file) = output {
                match file.read(&mut buffer) {
                    Ok(count) if count > 0 => write_all(target, &buffer[..count])?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A terminal whose last user is gone says EIO.
                    _ => *output = None,
                }
            }
        }
        Ok(())
    }

    fn window(&self) {
        if let (true, Some(master), Some((rows, columns))) =
            (self.terminal, &self.outputs[0], terminal::size(io::stdin()))
        {
            terminal::set_size(master.as_fd(), rows, columns).ok();
        }
    }
}

/// The exit code of a child that has ended.
fn ended(pid: i32) -> Result<Option<i32>> {
    let ended = process::reap(Some(pid)).map_err(Error::system("waitpid"))?;
    Ok(ended.map(|(_, code)| code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_process_is_the_base() {
        let base = Process {
            args: vec!["nginx".to_owned()],
            env: vec!["PATH=/bin".to_owned(), "A=1".to_owned()],
            cwd: "/srv".to_owned(),
            user: User { spec: "www".to_owned(), additional_groups: Vec::new() },
            capabilities: kernel::default_capabilities(),
            no_new_privileges: true,
            terminal: true,
            terminal_size: None,
            rlimits: Vec::new(),
            oom_score_adj: None,
            umask: None,
        };
        let options = ExecOptions {
            args: vec!["ls".to_owned()],
            env: vec!["A=2".to_owned(), "B=3".to_owned()],
            user: Some("0".to_owned()),
            ..ExecOptions::default()
        };
        let made = process_of(&base, &options);
        assert_eq!(made.env, ["PATH=/bin", "A=2", "B=3"]);
        assert_eq!((made.args.concat(), made.cwd.as_str(), made.user.spec.as_str()), ("ls".to_owned(), "/srv", "0"));
        assert!(!made.terminal && made.no_new_privileges);
        assert_eq!(made.capabilities, base.capabilities);
    }
}
