//! The swarm itself: its settings, its authority, and who may not come back.

use std::collections::BTreeMap;
use std::time::Duration;

use skep_common::duration;

use super::{ClusterId, ClusterSpec, Meta, NodeId, RootCa};

/// UDP port of VXLAN (RFC 7348, section 5), where a swarm has chosen no other.
pub(crate) const DATA_PATH_PORT_DEFAULT: u32 = 4789;
/// Tasks kept of each slot, where the settings name none.
pub(crate) const HISTORY_DEFAULT: i64 = 5;
/// Time between two heartbeats of a node, where the settings name none.
pub(crate) const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(5);

/// The one object of its kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// Which.
    pub id: ClusterId,
    /// What the system keeps of every object.
    pub meta: Meta,
    /// The user's settings.
    pub spec: ClusterSpec,
    /// Whose certificates count, with its key; `None` only under test.
    pub root_ca: Option<RootCa>,
    /// Where the subnets of overlays come from (ADDRESS/LENGTH).
    pub default_address_pool: Vec<String>,
    /// Prefix length of a subnet from the pools.
    pub subnet_size: u32,
    /// UDP port of VXLAN.
    pub data_path_port: u32,
    /// Nodes whose certificates are refused, until when (seconds since the epoch) they would be valid.
    pub blacklisted_nodes: BTreeMap<NodeId, i64>,
    /// Raft ids of removed members; an id is never used again.
    pub removed_raft_ids: Vec<u64>,
}

impl Cluster {
    /// Tasks kept of each slot; negative keeps all.
    pub(crate) fn history_limit(&self) -> i64 {
        self.spec.task_history_limit.unwrap_or(HISTORY_DEFAULT)
    }

    /// Time between two heartbeats of a node.
    pub(crate) fn heartbeat(&self) -> Duration {
        duration::given(self.spec.dispatcher_heartbeat_ns).unwrap_or(HEARTBEAT_DEFAULT)
    }
}
