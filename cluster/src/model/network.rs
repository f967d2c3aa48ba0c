//! What is told of a network.

use crate::api::{IpamConfig, Network};

/// Networks that every machine has by itself. They are no objects of the swarm, which gives no addresses on them.
pub const PREDEFINED_NETWORKS: [&str; 3] = ["host", "bridge", "none"];

impl Network {
    /// As the user calls it; its id while it has no name.
    pub fn name(&self) -> &str {
        self.spec.as_ref().and_then(|spec| spec.annotations.as_ref()).map_or(&self.id, |found| &found.name)
    }

    /// Whether it is the network of the routing mesh.
    pub fn is_ingress(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.ingress)
    }

    /// Whether single containers may join it.
    pub fn is_attachable(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.attachable)
    }

    /// Whether the swarm gives out its addresses.
    pub fn is_overlay(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.driver.is_empty() || spec.driver == "overlay")
    }

    /// The subnets that the user asked for.
    pub fn asked_ipam(&self) -> &[IpamConfig] {
        self.spec.as_ref().map_or(&[], |spec| &spec.ipam)
    }

    /// When it was committed first, in nanoseconds since the epoch.
    pub fn created_at_ns(&self) -> i64 {
        self.meta.as_ref().map_or(0, |meta| meta.created_at_ns)
    }
}
