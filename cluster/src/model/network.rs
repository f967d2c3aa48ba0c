//! A network of the swarm.

use std::collections::BTreeMap;

use super::{Annotations, IpamConfig, Meta, NetworkId};

/// Networks that every machine has by itself. They are no objects of the swarm, which gives no addresses on them.
pub const PREDEFINED_NETWORKS: [&str; 3] = ["host", "bridge", "none"];

/// What the user wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// "overlay", or "" for the same.
    pub driver: String,
    /// For the driver.
    pub driver_options: BTreeMap<String, String>,
    /// Without a way to the outside.
    pub internal: bool,
    /// Single containers may join it.
    pub attachable: bool,
    /// It is the network of the routing mesh.
    pub ingress: bool,
    /// The subnets asked for.
    pub ipam: Vec<IpamConfig>,
}

/// A network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Network {
    /// Which.
    pub id: NetworkId,
    /// What the system keeps of every object.
    pub meta: Meta,
    /// What the user wants.
    pub spec: NetworkSpec,
    /// The subnets that the allocator gave.
    pub ipam: Vec<IpamConfig>,
    /// VXLAN id that the allocator gave; 0 before.
    pub vni: u32,
    /// `network rm` was asked: it goes with its last user.
    pub pending_delete: bool,
    /// Why the allocator could not give it what it needs ("" when it could).
    pub allocation_error: String,
}

impl Network {
    /// As the user calls it; its id if it has no name.
    pub(crate) fn name(&self) -> &str {
        if self.spec.annotations.name.is_empty() { &self.id } else { &self.spec.annotations.name }
    }

    /// Whether the swarm gives out its addresses.
    pub(crate) fn is_overlay(&self) -> bool {
        self.spec.driver.is_empty() || self.spec.driver == "overlay"
    }
}
