//! How a container stands: state.json.
//!
//! Written by the shim while it lives, else by a command under the container's lock; read by
//! everyone without a lock, since it is replaced by rename. Invariant: a state that says
//! `Running` is only believed while its shim lives.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where in its life a container is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// It ended, and will be started again soon.
    Restarting,
    /// It is being removed.
    Removing,
    /// It ended.
    Exited,
    /// It could not be removed.
    Dead,
}

impl Status {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether a shim has to be there.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A process, told apart from a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    pub start_time: u64,
}

impl ProcessId {
    /// Whether the process is there and has not ended (a zombie has).
    pub fn is_alive(self) -> bool {
        skep_common::procfs::start_ticks(self.pid) == Some(self.start_time)
    }
}

/// state.json.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Version of this format.
    pub version: u32,
    /// Where in its life it is.
    pub status: Status,
    /// Its first process, while there is one.
    pub init: Option<ProcessId>,
    /// Its shim, while there is one.
    pub shim: Option<ProcessId>,
    /// Boot during which it was started last.
    pub boot_id: String,
    /// How it ended last.
    pub exit_code: i32,
    /// Memory ran out.
    pub oom_killed: bool,
    /// Why it could not be started.
    pub error: String,
    /// When it was started last.
    pub started_at: Option<Timestamp>,
    /// When it ended last.
    pub finished_at: Option<Timestamp>,
    /// How often the restart policy started it.
    pub restart_count: u32,
    /// The user stopped it: the restart policy does not apply.
    pub stopped_by_user: bool,
    /// What the health checks say; `None` without any.
    pub health: Option<Health>,
}

/// What health checks say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The conclusion.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last probes, oldest first, at most 5.
    #[serde(default)]
    pub log: Vec<HealthResult>,
}

/// The conclusion from health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nothing is known yet.
    Starting,
    /// The last probe was good.
    Healthy,
    /// Too many probes in a row failed.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 is healthy; -1 is a probe that ran out of time.
    pub exit_code: i32,
    /// What it printed, at most 4096 bytes.
    pub output: String,
}
