//! Where in its lives a container is: each is one run of its program, from a start to its end.

use std::time::Instant;

use super::prober::Prober;
use crate::kernel::CgroupPath;
use crate::lifecycle::launch::Launch;
use crate::records::config::{HealthCheck, RestartPolicy};
use crate::records::state::ProcessId;
use crate::streams::ends::StreamEnds;

/// What there is of the container now.
pub(super) enum Phase {
    /// Its first life begins.
    Beginning,
    /// Its program runs, or stands still.
    Running(Box<Life>),
    /// One life is over, the next begins at this time.
    Between(Instant),
    /// The last life is over.
    Over,
}

/// What goes when the program ends.
pub(super) struct Life {
    /// The program: the container's first process.
    pub(super) init: ProcessId,
    pub(super) began: Instant,
    /// Its standard streams.
    pub(super) ends: StreamEnds,
    /// `None` without health checks.
    pub(super) prober: Option<Prober>,
    /// Kills for want of memory that the cgroup had counted when it began.
    pub(super) oom_kills: u64,
    /// When a stop becomes a kill.
    pub(super) kill_at: Option<Instant>,
}

impl Phase {
    /// The life there is.
    pub(super) fn life(&self) -> Option<&Life> {
        match self {
            Self::Running(life) => Some(life),
            Self::Beginning | Self::Between(_) | Self::Over => None,
        }
    }

    /// The life there is, to change something in it.
    pub(super) fn life_mut(&mut self) -> Option<&mut Life> {
        match self {
            Self::Running(life) => Some(life),
            Self::Beginning | Self::Between(_) | Self::Over => None,
        }
    }
}

/// What launch.json says about how to mind the container. The rest of it is large, and read anew when needed.
pub(super) struct Rules {
    /// The only one that may change: `update` asks to read it again.
    pub(super) policy: RestartPolicy,
    pub(super) auto_remove: bool,
    /// Standard input ends when the first client that wrote to it has left.
    pub(super) stdin_once: bool,
    pub(super) stop_signal: i32,
    /// Seconds; -1 is never.
    pub(super) stop_timeout: i64,
    pub(super) health_check: Option<HealthCheck>,
    pub(super) cgroup: CgroupPath,
}

impl Rules {
    pub(super) fn of(launch: &Launch) -> Self {
        Self {
            policy: launch.restart,
            auto_remove: launch.auto_remove,
            stdin_once: launch.stdin_once,
            stop_signal: launch.stop_signal,
            stop_timeout: launch.stop_timeout,
            health_check: launch.health.clone(),
            cgroup: launch.container.cgroup.clone(),
        }
    }
}
