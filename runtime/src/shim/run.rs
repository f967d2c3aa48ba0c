//! The shim's loop: one poll(2), one handler for each thing that can happen.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use skep_net::dns::{Config, Server, Upstream};

use super::client::Client;
use super::log::LogWriter;
use super::probe::Prober;
use super::restart::{self, Backoff};
use super::streams::Streams;
use super::{Given, block_signals, listen, load_launch, send_report};
use crate::error::{DisplayChain, Error, Result};
use crate::files;
use crate::kernel::cgroup::Paths as Cgroup;
use crate::kernel::process;
use crate::kernel::{self, CgroupPath, Namespace};
use crate::lifecycle::launch::{DnsSettings, Launch};
use crate::records::config;
use crate::records::config::{HealthCheck, RestartPolicy};
use crate::records::roots::{ContainerPaths, Roots};
use crate::records::state::{ContainerState, Health, ProcessId, Status};
use crate::streams::control::{Ended, Request, StartReport, json_frame, kind};
use crate::streams::logs::LogStream;

/// How long a client may take to read the last output before the shim goes without it.
const FAREWELL: Duration = Duration::from_secs(10);
/// Reads of one stream in a row.
const BURST: usize = 16;
/// Reads of one stream after the end: more than a pipe can hold.
const DRAIN: usize = 1024;

/// A running shim.
pub(super) struct Shim {
    roots: Roots,
    paths: ContainerPaths,
    id: String,
    /// The mount namespace in which `__cleanup` has to run.
    mounts: OwnedFd,
    state: ContainerState,
    policy: RestartPolicy,
    auto_remove: bool,
    stdin_once: bool,
    stop_signal: i32,
    stop_timeout: i64,
    health_check: Option<HealthCheck>,
    cgroup: CgroupPath,
    oom_kills: u64,
    signals: SignalFd,
    listener: UnixListener,
    log: LogWriter,
    clients: Vec<Client>,
    streams: Streams,
    prober: Option<Prober>,
    dns: Option<Server>,
    backoff: Backoff,
    started: Instant,
    /// When a stop becomes a kill.
    kill_at: Option<Instant>,
    /// The machine goes down: no next life now.
    going_down: bool,
    /// When the next life begins.
    restart_at: Option<Instant>,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Output(LogStream),
    Input,
    Probe,
    Dns,
    Client(usize),
}

/// What one poll(2) waits for.
#[derive(Default)]
struct Watched<'a> {
    sources: Vec<Source>,
    fds: Vec<PollFd<'a>>,
}

impl<'a> Watched<'a> {
    fn add(&mut self, source: Source, fd: Option<BorrowedFd<'a>>, flags: PollFlags) {
        if let Some(fd) = fd {
            self.sources.push(source);
            self.fds.push(PollFd::new(fd, flags));
        }
    }

    fn poll(mut self, timeout: PollTimeout) -> Vec<(Source, PollFlags)> {
        if poll(&mut self.fds, timeout).is_err() {
            return Vec::new();
        }
        let events = self.fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        self.sources.iter().copied().zip(events).filter(|(_, events)| !events.is_empty()).collect()
    }
}

/// A shim's whole life.
pub(super) fn run(given: Given) -> Result<()> {
    let Given { roots, paths, id, mut starter, order, first_client, dns, lock, mounts } = given;
    let signals = block_signals()?;
    let launch = load_launch(&paths)?;
    super::mounts::release_namespaces(match &launch.container.namespaces.network {
        Namespace::Path(path) => Some(path),
        Namespace::Private | Namespace::Host => None,
    });
    let mut state: ContainerState = files::load(&paths.state())?.unwrap_or_default();
    let restart_count = if order.restarted { state.restart_count } else { 0 };
    state = ContainerState {
        version: config::VERSION,
        status: state.status,
        shim: Some(process::own_id()),
        boot_id: process::boot_id(),
        restart_count,
        started_at: state.started_at,
        finished_at: state.finished_at,
        exit_code: state.exit_code,
        ..ContainerState::default()
    };
    files::store_for_now(&paths.state(), &state)?;
    drop(lock);
    let listener = listen(&paths)?;
    let dns = launch.dns.as_ref().zip(dns).and_then(|(settings, (udp, tcp))| name_server(settings, udp, tcp));
    let mut shim = Shim {
        roots,
        id,
        mounts,
        state,
        policy: launch.restart,
        auto_remove: launch.auto_remove,
        stdin_once: launch.stdin_once,
        stop_signal: launch.stop_signal,
        stop_timeout: launch.stop_timeout,
        health_check: launch.health.clone(),
        cgroup: launch.container.cgroup.clone(),
        oom_kills: 0,
        signals,
        listener,
        log: LogWriter::new(launch.log.clone()),
        clients: Vec::new(),
        streams: Streams::default(),
        prober: None,
        dns,
        backoff: Backoff::default(),
        started: Instant::now(),
        kill_at: None,
        going_down: false,
        restart_at: None,
        buffer: vec![0; 16 << 10],
        paths,
    };
    if let Some(stream) = first_client
        && let Ok(client) = Client::new(stream, true)
    {
        shim.clients.push(client);
        // What it came for is there already: no output is to be missed.
        shim.on_client(0);
    }
    match shim.begin(launch) {
        Ok(warnings) => send_report(&mut starter, &StartReport::Started { warnings }),
        Err(error) => {
            let (message, exit_code) = start_failure(&error);
            shim.state.error.clone_from(&message);
            shim.state.exit_code = exit_code;
            shim.tear_down();
            send_report(&mut starter, &StartReport::Failed { message, exit_code });
            return Ok(());
        }
    }
    drop(starter);
    shim.turn();
    Ok(())
}

/// Docker's words for a container that could not be started.
fn start_failure(error: &Error) -> (String, i32) {
    match error {
        Error::Kernel(source) => {
            let message = DisplayChain(&**source).to_string();
            let runtime = "failed to create task for container: failed to create shim task: OCI runtime create failed";
            (format!("{runtime}: {message}"), source.exit_code())
        }
        other => (DisplayChain(other).to_string(), other.exit_code()),
    }
}

/// The processes whose namespaces are joined have to be there: their numbers may be others' by now.
fn require_joined(launch: &Launch) -> Result<()> {
    match launch.joined.iter().all(|process| process.is_alive()) {
        true => Ok(()),
        false => Err(Error::InvalidConfig("cannot join a namespace of a non running container".to_owned())),
    }
}

fn name_server(settings: &DnsSettings, udp: OwnedFd, tcp: OwnedFd) -> Option<Server> {
    let upstream = if settings.host_servers {
        Upstream::ResolvConf("/etc/resolv.conf".into())
    } else if settings.servers.is_empty() {
        Upstream::None
    } else {
        Upstream::Servers(settings.servers.clone())
    };
    let config = Config { record_files: settings.record_files.clone(), upstream };
    Server::new(config, udp.into(), tcp.into())
        .inspect_err(|error| tracing::warn!(%error, "no name server for the container"))
        .ok()
}

impl Shim {
    /// Makes the container and runs its program.
    fn begin(&mut self, launch: Launch) -> Result<Vec<String>> {
        require_joined(&launch)?;
        let (mut streams, stdio) = Streams::new(&launch).map_err(Error::system("pipe2"))?;
        let mut created = kernel::create(&launch.container, &self.paths.bundle(), stdio)?;
        if let Some(master) = created.pty_master.take() {
            streams.set_terminal(master, launch.stdin_open).map_err(Error::system("open the terminal"))?;
        }
        // Once more: what it has joined by number by now is what was meant.
        let started = require_joined(&launch).and_then(|()| Ok(kernel::start(&mut created)?));
        if let Err(error) = started {
            kill(Pid::from_raw(created.init_pid), Signal::SIGKILL).ok();
            waitpid(Pid::from_raw(created.init_pid), None).ok();
            return Err(error);
        }
        self.streams = streams;
        self.started = Instant::now();
        self.oom_kills = Cgroup::find(&self.cgroup).map_or(0, |cgroup| cgroup.oom_kills());
        self.state.status = Status::Running;
        self.state.init = Some(ProcessId { pid: created.init_pid, start_time: created.init_start_time });
        self.state.started_at = Some(process::now());
        self.state.exit_code = 0;
        self.state.oom_killed = false;
        self.state.error = String::new();
        self.state.health = self.health_check.as_ref().map(|_| Health::starting());
        self.prober = self.health_check.clone().map(|check| {
            let first = Health::starting().next_probe(&check, Duration::ZERO);
            Prober::new(check, first)
        });
        files::store(&self.paths.state(), &self.state)?;
        drop(launch);
        super::raw::trim_heap();
        Ok(created.warnings)
    }

    /// Runs until the container has ended for good and is torn down.
    fn turn(&mut self) {
        loop {
            for (source, events) in self.wait() {
                self.handle(source, events);
            }
            self.clients.retain(|client| !client.is_gone());
            if self.on_time() {
                self.tear_down();
                self.say_farewell();
                return;
            }
        }
    }

    /// Waits for something to happen.
    fn wait(&self) -> Vec<(Source, PollFlags)> {
        let mut watched = Watched::default();
        watched.add(Source::Signals, Some(self.signals.as_fd()), PollFlags::POLLIN);
        watched.add(Source::Listener, Some(self.listener.as_fd()), PollFlags::POLLIN);
        if !self.clients.iter().any(Client::is_slow) {
            for stream in [LogStream::Stdout, LogStream::Stderr] {
                watched.add(Source::Output(stream), self.streams.output(stream), PollFlags::POLLIN);
            }
        }
        watched.add(Source::Input, self.streams.waiting_input(), PollFlags::POLLOUT);
        watched.add(Source::Probe, self.prober.as_ref().and_then(Prober::output), PollFlags::POLLIN);
        watched.add(Source::Dns, self.dns.as_ref().map(AsFd::as_fd), PollFlags::POLLIN);
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            if !(client.wants_stdin() && self.streams.input_is_full()) {
                flags |= PollFlags::POLLIN;
            }
            if client.has_output() {
                flags |= PollFlags::POLLOUT;
            }
            watched.add(Source::Client(index), Some(client.stream.as_fd()), flags);
        }
        let timeout = match self.deadline() {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        watched.poll(timeout)
    }

    fn deadline(&self) -> Option<Instant> {
        let probing = self.prober.as_ref().filter(|_| self.state.status == Status::Running);
        let deadlines = [
            self.kill_at,
            self.restart_at,
            probing.and_then(Prober::deadline),
            self.dns.as_ref().and_then(Server::deadline),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn handle(&mut self, source: Source, events: PollFlags) {
        match source {
            Source::Signals => self.on_signals(),
            Source::Listener => self.on_connection(),
            Source::Output(stream) => self.on_output(stream, BURST),
            Source::Input => self.streams.flush(),
            Source::Probe => _ = self.prober.as_mut().map(Prober::read),
            Source::Dns => _ = self.dns.as_mut().map(|dns| dns.run(Instant::now())),
            Source::Client(index) => {
                if events.contains(PollFlags::POLLOUT) {
                    self.clients[index].flush();
                }
                if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                    self.on_client(index);
                }
            }
        }
    }

    /// What is due; true when the container has ended for good.
    fn on_time(&mut self) -> bool {
        let now = Instant::now();
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_at = None;
            self.signal(libc::SIGKILL);
        }
        if let Some(dns) = self.dns.as_mut()
            && dns.deadline().is_some_and(|at| now >= at)
        {
            dns.run(now);
        }
        if self.state.status == Status::Running
            && let Some(prober) = &mut self.prober
        {
            prober.expire(now);
            if prober.is_due(now) {
                self.probe();
            }
        }
        match (self.state.init, self.restart_at) {
            (Some(_), _) => false,
            (None, Some(at)) if now < at && !self.is_ending() => false,
            (None, Some(_)) if !self.is_ending() => {
                self.restart_at = None;
                !self.restart()
            }
            _ => true,
        }
    }

    fn is_ending(&self) -> bool {
        self.state.stopped_by_user || self.going_down
    }

    fn probe(&mut self) {
        let Some(init) = self.state.init else { return };
        // Read anew each time: it is large, and rarely needed.
        let Ok(launch) = load_launch(&self.paths) else { return };
        let result = self.prober.as_mut().and_then(|prober| prober.begin(&launch.container, init));
        drop(launch);
        super::raw::trim_heap();
        if let Some(result) = result {
            self.on_probe(result);
        }
    }

    fn on_probe(&mut self, result: crate::records::state::HealthResult) {
        let uptime = self.started.elapsed();
        let (Some(prober), Some(health)) = (self.prober.as_mut(), self.state.health.as_mut()) else { return };
        health.record(&prober.check, result, uptime);
        prober.next = Instant::now() + health.next_probe(&prober.check, uptime);
        self.save();
    }

    fn on_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if [libc::SIGTERM, libc::SIGINT, libc::SIGHUP].contains(&(signal.ssi_signo as i32)) {
                // The machine goes down: the container as after `stop`, but to come back at boot.
                self.going_down = true;
                self.stop(None, None);
            }
        }
        while let Ok(Some((pid, exit_code))) = process::reap(None) {
            if self.state.init.is_some_and(|init| init.pid == pid) {
                self.on_exit(exit_code);
            } else if let Some(result) = self.prober.as_mut().and_then(|prober| prober.ended(pid, exit_code)) {
                self.on_probe(result);
            }
        }
    }

    /// The first process has ended.
    fn on_exit(&mut self, exit_code: i32) {
        let cgroup = Cgroup::find(&self.cgroup);
        // Where the pid namespace is another's, the rest does not end with the first, and might go
        // on writing for ever.
        if let Ok(cgroup) = &cgroup {
            cgroup.signal(Signal::SIGKILL).ok();
        }
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            self.on_output(stream, DRAIN);
        }
        self.log.flush();
        self.streams = Streams::default();
        self.prober = None;
        self.kill_at = None;
        let kills = cgroup.map_or(0, |cgroup| cgroup.oom_kills());
        self.state.init = None;
        self.state.exit_code = exit_code;
        self.state.oom_killed = kills > self.oom_kills;
        self.state.finished_at = Some(process::now());
        if !self.is_ending() && restart::wanted(self.policy, exit_code, self.state.restart_count) {
            self.state.status = Status::Restarting;
            self.restart_at = Some(Instant::now() + self.backoff.next(self.started.elapsed()));
            let ended = Ended { exit_code };
            for client in &mut self.clients {
                if matches!(client.request, Some(Request::Wait { next: true } | Request::Attach { .. })) {
                    client.finish(kind::ENDED, &serde_json::to_vec(&ended).unwrap_or_default());
                }
            }
        } else {
            self.state.status = Status::Exited;
        }
        self.save();
    }

    /// Starts the container again; false when that did not work.
    fn restart(&mut self) -> bool {
        let again = load_launch(&self.paths).and_then(|launch| {
            kernel::delete(&launch.container)?;
            self.state.restart_count += 1;
            self.begin(launch)
        });
        match again {
            Ok(_) => true,
            Err(error) => {
                let (message, exit_code) = start_failure(&error);
                self.state.error = message;
                self.state.exit_code = exit_code;
                self.state.status = Status::Exited;
                false
            }
        }
    }

    fn on_output(&mut self, stream: LogStream, reads: usize) {
        for _ in 0..reads {
            let Some(count) = self.streams.read(stream, &mut self.buffer) else { return };
            let bytes = &self.buffer[..count];
            self.log.write(stream, bytes);
            for client in &mut self.clients {
                let frame = match (&client.request, stream) {
                    (Some(Request::Attach { stdout: true, .. }), LogStream::Stdout) => kind::STDOUT,
                    (Some(Request::Attach { stderr: true, .. }), LogStream::Stderr) => kind::STDERR,
                    _ => continue,
                };
                client.send(frame, bytes);
            }
            if reads == BURST && self.clients.iter().any(Client::is_slow) {
                return;
            }
        }
    }

    fn on_connection(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.clients.extend(Client::new(stream, false)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn on_client(&mut self, index: usize) {
        let had_stdin = self.clients[index].wants_stdin();
        for (frame, payload) in self.clients[index].read() {
            match frame {
                kind::REQUEST => match serde_json::from_slice::<Request>(&payload) {
                    Ok(request) => self.on_request(index, request),
                    Err(_) => self.clients[index].finish(kind::REFUSED, b"this shim does not know the request"),
                },
                kind::STDIN if !had_stdin && !self.clients[index].wants_stdin() => {}
                kind::STDIN if payload.is_empty() && self.stdin_once => self.streams.end_input(),
                kind::STDIN => self.streams.write(&payload),
                kind::WINDOW => {
                    if let [a, b, c, d] = payload[..] {
                        self.streams.resize(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])).ok();
                    }
                }
                _ => {}
            }
        }
        if self.clients[index].is_gone() && self.clients[index].wants_stdin() && self.stdin_once {
            self.streams.end_input();
        }
    }

    fn on_request(&mut self, index: usize, request: Request) {
        let outcome = match &request {
            Request::Attach { .. } | Request::Wait { .. } => None,
            Request::Stop { signal, timeout } => {
                self.state.stopped_by_user = true;
                self.stop(*signal, *timeout);
                self.save();
                None
            }
            Request::Kill { signal } => {
                if [libc::SIGKILL, libc::SIGTERM, self.stop_signal].contains(signal) {
                    self.state.stopped_by_user = true;
                    self.save();
                }
                self.signal(*signal);
                Some(Ok(()))
            }
            Request::Pause => Some(self.freeze(true)),
            Request::Unpause => Some(self.freeze(false)),
            Request::Resize { rows, columns } => {
                Some(self.streams.resize(*rows, *columns).map_err(Error::system("resize the terminal")))
            }
            Request::Reload => Some(load_launch(&self.paths).map(|launch| self.policy = launch.restart)),
        };
        let client = &mut self.clients[index];
        client.request = Some(request);
        match outcome {
            None => {}
            Some(Ok(())) => client.finish(kind::DONE, b""),
            Some(Err(error)) => client.finish(kind::REFUSED, DisplayChain(&error).to_string().as_bytes()),
        }
    }

    fn stop(&mut self, signal: Option<i32>, timeout: Option<i64>) {
        let timeout = timeout.unwrap_or(self.stop_timeout);
        self.signal(signal.unwrap_or(self.stop_signal));
        let patience = u64::try_from(timeout).ok().map(Duration::from_secs);
        self.kill_at = patience.map(|patience| Instant::now() + patience);
        if self.state.status == Status::Paused {
            // A frozen process takes no signal.
            self.freeze(false).ok();
        }
    }

    fn signal(&mut self, signal: i32) {
        let Some(init) = self.state.init else { return };
        // The pid cannot be another's: only this process can reap it.
        super::raw::kill(init.pid, signal).ok();
        if signal == libc::SIGKILL && self.state.status == Status::Paused {
            self.freeze(false).ok();
        }
    }

    fn freeze(&mut self, frozen: bool) -> Result<()> {
        let cgroup = Cgroup::find(&self.cgroup)?;
        if frozen {
            cgroup.freeze()?;
            self.state.status = Status::Paused;
        } else {
            cgroup.thaw()?;
            self.state.status = Status::Running;
        }
        self.save();
        Ok(())
    }

    fn save(&self) {
        if let Err(error) = files::store(&self.paths.state(), &self.state) {
            tracing::error!(container.id = %self.id, %error, "state not written");
        }
    }

    /// Gives back what the container had of the kernel and the network, in a process of its own:
    /// this one stays small.
    fn tear_down(&mut self) {
        if self.state.status.is_active() {
            self.state.status = Status::Exited;
        }
        self.save();
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("__cleanup")
            .args([&self.roots.root, &self.roots.run_root])
            .args([&self.roots.cgroup_parent, &self.id])
            .arg(if self.auto_remove { "remove" } else { "keep" });
        let done = self.mounts.try_clone().and_then(|mounts| command.stdin(mounts).status());
        if let Err(error) = done {
            tracing::error!(container.id = %self.id, %error, "not cleaned up");
        }
        if self.paths.record().exists() {
            self.state.shim = None;
            self.save();
        }
    }

    /// Tells everyone how it ended, and waits a little for them to read it.
    fn say_farewell(&mut self) {
        self.on_connection();
        let ended = json_frame(kind::ENDED, &Ended { exit_code: self.state.exit_code });
        let payload = &ended[5..];
        for index in 0..self.clients.len() {
            self.on_client(index);
            self.clients[index].finish(kind::ENDED, payload);
        }
        let deadline = Instant::now() + FAREWELL;
        while self.clients.iter().any(|client| !client.is_gone()) && Instant::now() < deadline {
            let mut fds: Vec<PollFd<'_>> = self
                .clients
                .iter()
                .filter(|client| !client.is_gone())
                .map(|client| PollFd::new(client.stream.as_fd(), PollFlags::POLLOUT))
                .collect();
            poll(&mut fds, PollTimeout::from(100_u16)).ok();
            self.clients.iter_mut().for_each(Client::flush);
        }
    }
}
