//! The swarm's own settings, where they name nothing themselves.

use std::time::Duration;

use crate::api::Cluster;

/// UDP port of VXLAN (RFC 7348, section 5), where a swarm has chosen no other.
pub const DATA_PATH_PORT_DEFAULT: u32 = 4789;
/// Tasks kept of each slot.
pub const HISTORY_DEFAULT: i64 = 5;
/// Time between two heartbeats of a node.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(5);

impl Cluster {
    /// Tasks kept of each slot; negative keeps all.
    pub fn history_limit(&self) -> i64 {
        self.spec.as_ref().and_then(|spec| spec.task_history_limit).unwrap_or(HISTORY_DEFAULT)
    }

    /// Time between two heartbeats of a node.
    pub fn heartbeat(&self) -> Duration {
        match self.spec.as_ref().map_or(0, |spec| spec.dispatcher_heartbeat_ns) {
            period if period > 0 => Duration::from_nanos(period.unsigned_abs()),
            _ => HEARTBEAT_DEFAULT,
        }
    }
}
