//! What is asked of a container's shim: stop, kill, pause, wait, resize.

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use skep_common::signal;

use crate::error::{Error, Result};
use crate::files;
use crate::kernel::cgroup::Paths as Cgroup;
use crate::lifecycle::launch::Launch;
use crate::records::allowed::Verb;
use crate::records::config::{Limits, RestartPolicy};
use crate::records::resolve;
use crate::records::state::ProcessId;
use crate::runtime::Runtime;
use crate::streams::control::{self, Ended, Request, kind};

/// How to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// Which signal; `None` for the container's.
    pub signal: Option<String>,
    /// Seconds until SIGKILL; `None` for the container's, -1 is never.
    pub timeout: Option<i64>,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run, or has ended for good.
    NotRunning,
    /// Its process ends the next time.
    NextExit,
    /// It is removed.
    Removed,
}

/// What to change of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Limits; what is `None` stays.
    pub limits: Limits,
    /// Restart policy.
    pub restart: Option<RestartPolicy>,
}

impl Runtime {
    /// Stops a container: its signal, patience, SIGKILL. Returns once it has ended and is torn
    /// down. One that does not run is fine.
    ///
    /// # Errors
    /// [`Error::InvalidSignal`], [`Error::NoSuchContainer`], [`Error::Shim`].
    pub fn stop(&self, name_or_id: &str, options: &StopOptions) -> Result<()> {
        let signal = options.signal.as_deref().map(signal::parse).transpose()?;
        let (record, state) = self.record(name_or_id)?;
        if !state.status.can_stop() {
            return Ok(());
        }
        let request = Request::Stop { signal, timeout: options.timeout };
        match self.request(&record.id, &request) {
            Ok(stream) => self.await_end(&record.id, state.shim, stream).map(drop),
            // It ended meanwhile.
            Err(Error::NotRunning(_)) => self.after_hang_up(&record.id, state.shim).map(drop),
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to the container's first process.
    ///
    /// # Errors
    /// [`Error::InvalidSignal`], [`Error::NotRunning`].
    pub fn kill(&self, name_or_id: &str, signal: &str) -> Result<()> {
        let signal = signal::parse(signal)?;
        let (record, state) = self.record(name_or_id)?;
        Verb::Kill.require(state.status, &record.id)?;
        self.ask(&record.id, &Request::Kill { signal })
    }

    /// Stops a container that runs, and starts it. Returns what the user should know.
    ///
    /// # Errors
    /// As [`Runtime::stop`] and [`Runtime::start`].
    pub fn restart(&self, name_or_id: &str, options: &StopOptions) -> Result<Vec<String>> {
        let id = self.resolve(name_or_id)?;
        self.stop(&id, options)?;
        self.start(&id)
    }

    /// Freezes all processes of a container.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::AlreadyPaused`], or the host cannot freeze.
    pub fn pause(&self, name_or_id: &str) -> Result<()> {
        let (record, state) = self.record(name_or_id)?;
        Verb::Pause.require(state.status, &record.id)?;
        self.ask(&record.id, &Request::Pause)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`Error::NotPaused`].
    pub fn unpause(&self, name_or_id: &str) -> Result<()> {
        let (record, state) = self.record(name_or_id)?;
        Verb::Unpause.require(state.status, &record.id)?;
        self.ask(&record.id, &Request::Unpause)
    }

    /// Sets the size of a container's terminal.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn resize(&self, name_or_id: &str, rows: u16, columns: u16) -> Result<()> {
        let (record, state) = self.record(name_or_id)?;
        Verb::Resize.require(state.status, &record.id)?;
        self.ask(&record.id, &Request::Resize { rows, columns })
    }

    /// Waits, and returns the exit code.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Shim`].
    pub fn wait(&self, name_or_id: &str, condition: WaitCondition) -> Result<i64> {
        let (record, state) = self.record(name_or_id)?;
        let id = record.id;
        let mut exit_code = i64::from(state.exit_code);
        if state.status.is_active() {
            let next = condition == WaitCondition::NextExit;
            match self.request(&id, &Request::Wait { next }) {
                Ok(stream) => exit_code = i64::from(self.await_end(&id, state.shim, stream)?),
                Err(Error::NotRunning(_)) => exit_code = i64::from(self.after_hang_up(&id, state.shim)?),
                Err(error) => return Err(error),
            }
        } else if condition == WaitCondition::NextExit {
            while !self.is_active(&id) && self.paths(&id).record().exists() {
                self.changed(&id, Duration::from_secs(1))?;
            }
            return if self.is_active(&id) { self.wait(&id, condition) } else { Ok(exit_code) };
        }
        while condition == WaitCondition::Removed && self.paths(&id).record().exists() {
            match self.changed(&id, Duration::from_secs(1)) {
                Err(Error::NoSuchContainer(_) | Error::File { .. }) => break,
                other => other?,
            }
        }
        Ok(exit_code)
    }

    /// Changes limits and restart policy, at once if the container runs.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`], or the kernel refuses a limit.
    pub fn update(&self, name_or_id: &str, update: &Update) -> Result<()> {
        let id = self.resolve(name_or_id)?;
        self.change_healed(&id, || self.update_locked(&id, update))
    }

    fn update_locked(&self, id: &str, update: &Update) -> Result<()> {
        let (mut record, state) = self.load(id)?.ok_or_else(|| Error::NoSuchContainer(id.to_owned()))?;
        Verb::Update.require(state.status, id)?;
        let limits = &mut record.config.limits;
        overlay_limits(limits, &update.limits);
        let resources =
            resolve::resources(limits, &record.config.device_rules, skep_common::procfs::processor_count())?;
        if let Some(policy) = update.restart {
            if record.config.auto_remove && policy != RestartPolicy::No {
                let message = "Restart policy cannot be updated because AutoRemove is enabled for the container";
                return Err(Error::InvalidConfig(message.to_owned()));
            }
            record.config.restart = policy;
        }
        if state.status.is_active() {
            Cgroup::find(&self.cgroup(&record))?.update(&resources.limits)?;
        }
        files::store(&self.paths(id).record(), &record)?;
        let launch_path = self.paths(id).launch();
        if let Some(mut launch) = files::load::<Launch>(&launch_path)? {
            launch.restart = record.config.restart;
            launch.container.resources = resources;
            files::store_for_now(&launch_path, &launch)?;
            if state.status.is_active() {
                self.ask(id, &Request::Reload)?;
            }
        }
        Ok(())
    }

    /// Connects to a container's shim and sends a request.
    pub(crate) fn request(&self, id: &str, request: &Request) -> Result<UnixStream> {
        let mut stream = self.connect(id)?;
        let failed = |source| Error::Shim { id: id.to_owned(), source };
        control::send_request(&mut stream, request).map_err(failed)?;
        Ok(stream)
    }

    /// Connects to a container's shim.
    pub(crate) fn connect(&self, id: &str) -> Result<UnixStream> {
        let paths = self.paths(id);
        let connected = std::fs::File::open(&paths.run).and_then(|directory| {
            // A socket's address may be too short for the whole path.
            UnixStream::connect(format!("/proc/self/fd/{}/shim.sock", directory.as_raw_fd()))
        });
        connected.map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::NotRunning(id.to_owned()),
            _ => Error::Shim { id: id.to_owned(), source },
        })
    }

    /// A request that is answered at once.
    fn ask(&self, id: &str, request: &Request) -> Result<()> {
        let mut stream = self.request(id, request)?;
        let failed = |source| Error::Shim { id: id.to_owned(), source };
        loop {
            match control::read_frame(&mut stream).map_err(failed)? {
                Some((kind::DONE, _)) => return Ok(()),
                Some((kind::REFUSED, reason)) => {
                    return Err(Error::Refused(String::from_utf8_lossy(&reason).into_owned()));
                }
                // It ends right now: a signal has nothing to do any more.
                Some((kind::ENDED, _)) | None => return Ok(()),
                Some(_) => {}
            }
        }
    }

    /// Waits for a container's end, of which the shim tells, or which healing finds.
    pub(crate) fn await_end(&self, id: &str, shim: Option<ProcessId>, mut stream: UnixStream) -> Result<i32> {
        let failed = |source| Error::Shim { id: id.to_owned(), source };
        loop {
            match control::read_frame(&mut stream).map_err(failed)? {
                Some((kind::ENDED, payload)) => {
                    let ended = serde_json::from_slice(&payload).unwrap_or(Ended { exit_code: 125 });
                    return Ok(ended.exit_code);
                }
                Some((kind::REFUSED, reason)) => {
                    return Err(Error::Refused(String::from_utf8_lossy(&reason).into_owned()));
                }
                Some(_) => {}
                None => return self.after_hang_up(id, shim),
            }
        }
    }

    /// Whether the container's state says that it runs, and its shim lives.
    pub(crate) fn is_active(&self, id: &str) -> bool {
        let state = self.state(id).ok().flatten().unwrap_or_default();
        state.status.is_active() && state.shim.is_some_and(|shim| shim.is_alive())
    }
}

fn overlay_limits(limits: &mut Limits, update: &Limits) {
    let (old, new) = (&mut limits.cgroup, update.cgroup.clone());
    old.memory_swap = new.memory_swap.or(if new.memory.is_some() { None } else { old.memory_swap });
    old.memory = new.memory.or(old.memory);
    old.memory_reservation = new.memory_reservation.or(old.memory_reservation);
    if update.nano_cpus.is_some() {
        (old.cpu_quota, old.cpu_period) = (None, None);
    } else if new.cpu_quota.is_some() || new.cpu_period.is_some() {
        limits.nano_cpus = None;
    }
    limits.nano_cpus = update.nano_cpus.or(limits.nano_cpus);
    old.cpu_quota = new.cpu_quota.or(old.cpu_quota);
    old.cpu_period = new.cpu_period.or(old.cpu_period);
    old.cpu_shares = new.cpu_shares.or(old.cpu_shares);
    old.cpuset_cpus = new.cpuset_cpus.or(old.cpuset_cpus.take());
    old.cpuset_mems = new.cpuset_mems.or(old.cpuset_mems.take());
    old.pids = new.pids.or(old.pids);
    old.blkio_weight = new.blkio_weight.or(old.blkio_weight);
}
