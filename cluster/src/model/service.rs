//! What the user wants to run, and what the allocator gave it.

use super::{
    Annotations, EndpointMode, Meta, NetworkId, PortProtocol, PublishMode, ServiceId, TaskSpec, UpdateConfig,
    UpdateState,
};

/// How many tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// So many, anywhere.
    Replicated(u64),
    /// One on every node.
    Global,
}

impl Default for Mode {
    fn default() -> Self {
        Self::Replicated(1)
    }
}

/// A published port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortConfig {
    /// As the user calls it.
    pub name: String,
    /// Of the traffic.
    pub protocol: PortProtocol,
    /// In the container.
    pub target_port: u32,
    /// Outside; 0: chosen by the system.
    pub published_port: u32,
    /// Through the routing mesh, or on the task's node alone.
    pub publish_mode: PublishMode,
}

impl PortConfig {
    /// Whether it goes through the routing mesh.
    pub fn is_ingress(&self) -> bool {
        self.publish_mode == PublishMode::Ingress
    }
}

/// How a service is to be reached.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointSpec {
    /// How its name is answered for.
    pub mode: EndpointMode,
    /// Ports of both kinds.
    pub ports: Vec<PortConfig>,
}

/// A service's own address on a network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VirtualIp {
    /// Where.
    pub network_id: NetworkId,
    /// With prefix length.
    pub address: String,
}

/// What the allocator gave a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Endpoint {
    /// How its name is answered for.
    pub mode: EndpointMode,
    /// As asked for, with the published ports filled in.
    pub ports: Vec<PortConfig>,
    /// One on each network that needs it.
    pub virtual_ips: Vec<VirtualIp>,
}

impl Endpoint {
    /// The virtual address on a network, with prefix length.
    pub(crate) fn virtual_ip_on(&self, network_id: &str) -> Option<&str> {
        self.virtual_ips.iter().find(|vip| vip.network_id == *network_id).map(|vip| vip.address.as_str())
    }
}

/// What the user wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// What each task is.
    pub task: TaskSpec,
    /// How many of them.
    pub mode: Mode,
    /// How it is changed; `None` where the user said nothing.
    pub update: Option<UpdateConfig>,
    /// How a change is taken back; `None` where the user said nothing.
    pub rollback: Option<UpdateConfig>,
    /// How it is to be reached.
    pub endpoint: EndpointSpec,
}

/// How the last update went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpdateStatus {
    /// In a word.
    pub state: UpdateState,
    /// Nanoseconds since the epoch (leader's clock).
    pub started_at_ns: i64,
    /// Nanoseconds since the epoch (leader's clock); 0 while it goes on.
    pub completed_at_ns: i64,
    /// Why.
    pub message: String,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service {
    /// Which.
    pub id: ServiceId,
    /// What the system keeps of every object.
    pub meta: Meta,
    /// What the user wants.
    pub spec: ServiceSpec,
    /// Raft index at which the specification was last changed.
    pub spec_version: u64,
    /// What the user wanted before.
    pub previous_spec: Option<ServiceSpec>,
    /// Raft index of that.
    pub previous_spec_version: u64,
    /// What the allocator gave it; `None` before.
    pub endpoint: Option<Endpoint>,
    /// How the last update went; `None` if there was none.
    pub update_status: Option<UpdateStatus>,
    /// `service rm` was asked: its tasks stop, then it goes.
    pub pending_delete: bool,
    /// Why the allocator could not give it what it needs ("" when it could).
    pub allocation_error: String,
}

impl Service {
    /// As the user calls it.
    pub(crate) fn name(&self) -> &str {
        &self.spec.annotations.name
    }

    /// Whether its tasks join the network.
    pub(crate) fn is_on(&self, network_id: &str) -> bool {
        self.spec.task.networks.iter().any(|network| network.target == *network_id)
    }

    /// Ports that it asks for on the routing mesh.
    pub(crate) fn ingress_ports(&self) -> impl Iterator<Item = &PortConfig> {
        self.spec.endpoint.ports.iter().filter(|port| port.is_ingress())
    }

    /// Ports that it was given; none before.
    pub(crate) fn allocated_ports(&self) -> &[PortConfig] {
        self.endpoint.as_ref().map_or(&[], |endpoint| &endpoint.ports)
    }

    /// Virtual addresses that it was given; none before.
    pub(crate) fn virtual_ips(&self) -> &[VirtualIp] {
        self.endpoint.as_ref().map_or(&[], |endpoint| &endpoint.virtual_ips)
    }

    /// How its last update stands.
    pub(crate) fn update_state(&self) -> UpdateState {
        self.update_status.as_ref().map_or(UpdateState::Unknown, |status| status.state)
    }

    /// When its last update began, in nanoseconds since the epoch; 0 if there was none.
    pub(crate) fn update_started_at_ns(&self) -> i64 {
        self.update_status.as_ref().map_or(0, |status| status.started_at_ns)
    }
}
