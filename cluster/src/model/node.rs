//! A machine of the swarm.

use std::net::Ipv4Addr;

use super::{
    Annotations, ManagerStatus, Meta, NetworkId, NodeAvailability, NodeDescription, NodeId, NodeRole, NodeState,
    Platform, Resources,
};

/// What the user wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeSpec {
    /// Labels.
    pub annotations: Annotations,
    /// [`Node::role`] follows.
    pub desired_role: NodeRole,
    /// What it may be used for.
    pub availability: NodeAvailability,
}

/// Whether it is alive, as far as the leader knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeStatus {
    /// In a word.
    pub state: NodeState,
    /// Why.
    pub message: String,
    /// Address from which it reached the manager; empty if it never did.
    pub addr: String,
    /// When this state began, nanoseconds since the epoch (leader's clock).
    pub since_ns: i64,
}

/// The address of a node's load balancer on a network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeAttachment {
    /// Where.
    pub network_id: NetworkId,
    /// With prefix length.
    pub address: String,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// Which.
    pub id: NodeId,
    /// What the system keeps of every object.
    pub meta: Meta,
    /// What the user wants.
    pub spec: NodeSpec,
    /// What it tells of itself; `None` before it first registered.
    pub description: Option<NodeDescription>,
    /// Whether it is alive.
    pub status: NodeStatus,
    /// The role that its certificate grants now.
    pub role: NodeRole,
    /// Of a member of raft.
    pub manager_status: Option<ManagerStatus>,
    /// Its load balancer's addresses.
    pub attachments: Vec<NodeAttachment>,
    /// Address (no port) to which the other nodes send VXLAN.
    pub data_path_addr: String,
}

impl Node {
    /// As its machine calls it; empty before it first registered.
    pub fn hostname(&self) -> &str {
        self.description.as_ref().map_or("", |description| &description.hostname)
    }

    /// Whether new tasks may go there.
    pub(crate) fn may_take_tasks(&self) -> bool {
        self.status.state == NodeState::Ready && self.spec.availability == NodeAvailability::Active
    }

    /// Whether the tasks that are there may stay.
    pub fn may_keep_tasks(&self) -> bool {
        !self.is_down() && self.spec.availability != NodeAvailability::Drain
    }

    /// Whether it is known not to answer.
    pub(crate) fn is_down(&self) -> bool {
        self.status.state == NodeState::Down
    }

    /// What its machine has; `None` before it first registered.
    pub(crate) fn resources(&self) -> Option<&Resources> {
        self.description.as_ref()?.resources.as_ref()
    }

    /// What its machine is; `None` before it first registered.
    pub(crate) fn platform(&self) -> Option<&Platform> {
        self.description.as_ref()?.platform.as_ref()
    }

    /// The value of a label that the user gave it.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.spec.annotations.labels.get(name).map(String::as_str)
    }

    /// The value of a label that its machine names.
    pub(crate) fn engine_label(&self, name: &str) -> Option<&str> {
        self.description.as_ref()?.engine_labels.get(name).map(String::as_str)
    }

    /// Where the other nodes send VXLAN. `None` where there is no such address: one node's wrong address must not stop
    /// the others' data planes.
    pub(crate) fn data_path(&self) -> Option<&str> {
        let addr = if self.data_path_addr.is_empty() { &self.status.addr } else { &self.data_path_addr };
        is_data_path(addr).then_some(addr)
    }
}

/// Whether other nodes could send VXLAN there.
pub(crate) fn is_data_path(addr: &str) -> bool {
    let unusable = |addr: Ipv4Addr| addr.is_unspecified() || addr.is_multicast() || addr.is_broadcast();
    addr.parse().is_ok_and(|addr| !unusable(addr))
}
