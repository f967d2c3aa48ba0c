//! What is told of a node.

use std::net::Ipv4Addr;

use crate::api::{Node, NodeAvailability, NodeRole, NodeState, Platform, Resources};

impl Node {
    /// As its user or its machine calls it; empty before it first registered.
    pub fn hostname(&self) -> &str {
        self.description.as_ref().map_or("", |description| &description.hostname)
    }

    /// Whether it is alive, as far as the leader knows.
    pub fn state(&self) -> NodeState {
        self.status.as_ref().map_or(NodeState::Unknown, |status| status.state())
    }

    /// What the user lets it do.
    pub fn availability(&self) -> NodeAvailability {
        self.spec.as_ref().map_or(NodeAvailability::Active, |spec| spec.availability())
    }

    /// The role that the user wants; [`Node::role`] follows.
    pub fn desired_role(&self) -> NodeRole {
        self.spec.as_ref().map_or(NodeRole::Worker, |spec| spec.desired_role())
    }

    /// Whether new tasks may go there.
    pub fn may_take_tasks(&self) -> bool {
        self.state() == NodeState::Ready && self.availability() == NodeAvailability::Active
    }

    /// Whether the tasks that are there may stay.
    pub fn may_keep_tasks(&self) -> bool {
        self.state() != NodeState::Down && self.availability() != NodeAvailability::Drain
    }

    /// What its machine has; `None` before it first registered.
    pub fn resources(&self) -> Option<&Resources> {
        self.description.as_ref()?.resources.as_ref()
    }

    /// What its machine is; `None` before it first registered.
    pub fn platform(&self) -> Option<&Platform> {
        self.description.as_ref()?.platform.as_ref()
    }

    /// Address from which it reached the leader; empty if it never did.
    pub fn reached_from(&self) -> &str {
        self.status.as_ref().map_or("", |status| &status.addr)
    }

    /// The value of a label that the user gave it.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.spec.as_ref()?.annotations.as_ref()?.labels.get(name).map(String::as_str)
    }

    /// The value of a label that its machine names.
    pub fn engine_label(&self, name: &str) -> Option<&str> {
        self.description.as_ref()?.engine_labels.get(name).map(String::as_str)
    }

    /// Where the other nodes send VXLAN. `None` where there is no such address: one node's wrong address must not stop
    /// the others' data planes.
    pub fn data_path(&self) -> Option<&str> {
        let addr = if self.data_path_addr.is_empty() { self.reached_from() } else { &self.data_path_addr };
        is_data_path(addr).then_some(addr)
    }
}

/// Whether other nodes could send VXLAN there.
pub fn is_data_path(addr: &str) -> bool {
    let unusable = |addr: Ipv4Addr| addr.is_unspecified() || addr.is_multicast() || addr.is_broadcast();
    addr.parse().is_ok_and(|addr| !unusable(addr))
}
