//! The beginning of each of a container's lives: made by the kernel's side, program started, on record.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use skep_net::dns::{Config, Server, Upstream};

use super::Shim;
use super::life::{Life, Phase};
use super::prober::Prober;
use super::raw;
use crate::error::{DisplayChain, Error, Result};
use crate::files;
use crate::kernel::cgroup::Paths as Cgroup;
use crate::kernel::{self, process};
use crate::lifecycle::launch::{DnsSettings, Launch};
use crate::records::state::{Health, ProcessId, Status};
use crate::streams::ends::StreamEnds;

/// The container's name server, which answers from this process; without it, the container still runs.
pub(super) fn name_server(settings: &DnsSettings, (udp, tcp): (OwnedFd, OwnedFd)) -> Option<Server> {
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

/// The processes whose namespaces are joined have to be there: their numbers may be others' by now.
fn require_joined(launch: &Launch) -> Result<()> {
    match launch.joined.iter().all(|process| process.is_alive()) {
        true => Ok(()),
        false => Err(Error::InvalidConfig("cannot join a namespace of a non running container".to_owned())),
    }
}

impl Shim {
    /// Makes the container and runs its program. Returns what the user should know.
    ///
    /// # Errors
    /// The container cannot be made, or its program not be run. Nothing of this life is left then, but what
    /// `tear_down` removes.
    pub(super) fn begin(&mut self, launch: Launch) -> Result<Vec<String>> {
        require_joined(&launch)?;
        let (mut ends, stdio) =
            StreamEnds::new(launch.container.process.terminal, launch.stdin_open).map_err(Error::system("pipe2"))?;
        let mut created = kernel::create(&launch.container, &self.place.paths.bundle(), stdio)?;
        if let Some(master) = created.pty_master.take() {
            ends.set_terminal(master, launch.stdin_open).map_err(Error::system("open the terminal"))?;
        }
        // Once more: what it has joined by number by now is what was meant.
        let started = require_joined(&launch).and_then(|()| Ok(kernel::start(&mut created)?));
        if let Err(error) = started {
            kill(Pid::from_raw(created.init_pid), Signal::SIGKILL).ok();
            waitpid(Pid::from_raw(created.init_pid), None).ok();
            return Err(error);
        }
        let init = ProcessId { pid: created.init_pid, start_time: created.init_start_time };
        self.phase = Phase::Running(Box::new(Life {
            init,
            began: Instant::now(),
            ends,
            prober: self.rules.health_check.clone().map(|check| {
                let first = Health::starting().next_probe(&check, Duration::ZERO);
                Prober::new(check, first)
            }),
            oom_kills: Cgroup::find(&self.rules.cgroup).map_or(0, |cgroup| cgroup.oom_kills()),
            kill_at: None,
        }));
        self.state.status = Status::Running;
        self.state.init = Some(init);
        self.state.started_at = Some(process::now());
        self.state.exit_code = 0;
        self.state.oom_killed = false;
        self.state.error = String::new();
        self.state.health = self.rules.health_check.as_ref().map(|_| Health::starting());
        files::store(&self.place.paths.state(), &self.state)?;
        drop(launch);
        raw::trim_memory();
        Ok(created.warnings)
    }

    /// Begins the next life; false when that did not work.
    pub(super) fn begin_again(&mut self) -> bool {
        let again = Launch::load(&self.place.paths).and_then(|launch| {
            kernel::delete(&launch.container)?;
            self.state.restart_count += 1;
            self.begin(launch)
        });
        match again {
            Ok(_) => true,
            Err(error) => {
                self.not_begun(&error);
                self.state.status = Status::Exited;
                self.save();
                false
            }
        }
    }

    /// Puts on record, in docker's words, why a life did not begin.
    pub(super) fn not_begun(&mut self, error: &Error) -> (String, i32) {
        let (message, exit_code) = match error {
            Error::Kernel(source) => {
                let message = DisplayChain(error).to_string();
                let runtime =
                    "failed to create task for container: failed to create shim task: OCI runtime create failed";
                (format!("{runtime}: {message}"), source.exit_code())
            }
            other => (DisplayChain(other).to_string(), other.exit_code()),
        };
        self.state.error.clone_from(&message);
        self.state.exit_code = exit_code;
        (message, exit_code)
    }
}
