//! What is told of a service.

use crate::api::{
    Endpoint, EndpointMode, NetworkAttachmentSpec, PortConfig, PublishMode, Service, ServiceSpec, TaskSpec,
    UpdateConfig, UpdateState, service_spec::Mode,
};

impl ServiceSpec {
    /// As the user calls it.
    pub fn name(&self) -> &str {
        self.annotations.as_ref().map_or("", |annotations| &annotations.name)
    }

    /// Whether it has one task on every node.
    pub fn is_global(&self) -> bool {
        matches!(self.mode, Some(Mode::Global(_)))
    }

    /// How many tasks it asks for; `None` where that follows from the nodes.
    pub fn replicas(&self) -> Option<u64> {
        match &self.mode {
            Some(Mode::Global(_)) => None,
            Some(Mode::Replicated(mode)) => Some(mode.replicas),
            None => Some(1),
        }
    }

    /// Networks that its tasks join.
    pub fn networks(&self) -> &[NetworkAttachmentSpec] {
        self.task.as_ref().map_or(&[], TaskSpec::networks)
    }

    /// Ports that it asks for, of both kinds.
    pub fn ports(&self) -> &[PortConfig] {
        self.endpoint.as_ref().map_or(&[], |endpoint| &endpoint.ports)
    }
}

impl TaskSpec {
    /// Networks that its tasks join.
    pub fn networks(&self) -> &[NetworkAttachmentSpec] {
        &self.networks
    }

    /// What a node has to meet.
    pub fn constraints(&self) -> &[String] {
        self.placement.as_ref().map_or(&[], |placement| &placement.constraints)
    }
}

impl Service {
    /// As the user calls it.
    pub fn name(&self) -> &str {
        self.spec.as_ref().map_or("", ServiceSpec::name)
    }

    /// Whether it has one task on every node.
    pub fn is_global(&self) -> bool {
        self.spec.as_ref().is_some_and(ServiceSpec::is_global)
    }

    /// Networks that its tasks join.
    pub fn networks(&self) -> &[NetworkAttachmentSpec] {
        self.spec.as_ref().map_or(&[], ServiceSpec::networks)
    }

    /// Whether its tasks join the network.
    pub fn is_on(&self, network_id: &str) -> bool {
        self.networks().iter().any(|network| network.target == network_id)
    }

    /// What a node has to meet.
    pub fn constraints(&self) -> &[String] {
        self.spec.as_ref().and_then(|spec| spec.task.as_ref()).map_or(&[], TaskSpec::constraints)
    }

    /// Ports that it asks for, of both kinds.
    pub fn asked_ports(&self) -> &[PortConfig] {
        self.spec.as_ref().map_or(&[], ServiceSpec::ports)
    }

    /// Ports that it asks for on the routing mesh.
    pub fn ingress_ports(&self) -> impl Iterator<Item = &PortConfig> {
        self.asked_ports().iter().filter(|port| port.is_ingress())
    }

    /// How its name is answered for.
    pub fn endpoint_mode(&self) -> EndpointMode {
        let endpoint = self.spec.as_ref().and_then(|spec| spec.endpoint.as_ref());
        endpoint.map_or(EndpointMode::Vip, |endpoint| endpoint.mode())
    }

    /// When it was committed first, in nanoseconds since the epoch.
    pub fn created_at_ns(&self) -> i64 {
        self.meta.as_ref().map_or(0, |meta| meta.created_at_ns)
    }

    /// How its last update stands.
    pub fn update_state(&self) -> UpdateState {
        self.update_status.as_ref().map_or(UpdateState::Unknown, |status| status.state())
    }

    /// When its last update began, in nanoseconds since the epoch; 0 if there was none.
    pub fn update_started_at_ns(&self) -> i64 {
        self.update_status.as_ref().map_or(0, |status| status.started_at_ns)
    }

    /// How it is updated, or taken back; `None` where the user said nothing.
    pub fn update_config(&self, rollback: bool) -> Option<UpdateConfig> {
        let spec = self.spec.as_ref()?;
        if rollback { spec.rollback } else { spec.update }
    }
}

impl PortConfig {
    /// Whether it goes through the routing mesh.
    pub fn is_ingress(&self) -> bool {
        self.publish_mode() == PublishMode::Ingress
    }
}

impl Endpoint {
    /// The virtual address on a network, with prefix length.
    pub fn virtual_ip_on(&self, network_id: &str) -> Option<&str> {
        self.virtual_ips.iter().find(|vip| vip.network_id == network_id).map(|vip| vip.address.as_str())
    }
}
