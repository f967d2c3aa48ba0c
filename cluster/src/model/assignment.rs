//! What a node is told to carry out, entry by entry: the dispatcher sends differences, the agent applies them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{NetworkId, NodeId, PortConfig, ServiceId, Task, TaskId};

/// A network that a node has to carry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AssignedNetwork {
    /// Which.
    pub id: NetworkId,
    /// As the user calls it.
    pub name: String,
    /// With prefix length.
    pub subnet: String,
    /// The containers' way out; without prefix length.
    pub gateway: String,
    /// VXLAN id.
    pub vni: u32,
    /// It is the network of the routing mesh.
    pub ingress: bool,
    /// Without a way to the outside.
    pub internal: bool,
    /// For the driver.
    pub driver_options: BTreeMap<String, String>,
    /// Of the node's own load balancer, without prefix length.
    pub lb_address: String,
}

/// Who has an address on a network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkEndpoint {
    /// Where.
    pub network_id: NetworkId,
    /// Without prefix length.
    pub address: String,
    /// Whose machine it is on.
    pub node_id: NodeId,
    /// Where that machine takes VXLAN.
    pub node_addr: String,
    /// Empty for load balancers and for single containers.
    pub service_id: ServiceId,
    /// Empty for load balancers and for single containers.
    pub task_id: TaskId,
    /// It takes part in load balancing and in the service's names.
    pub serving: bool,
    /// It answers, but new connections go elsewhere.
    pub draining: bool,
    /// Names of this endpoint alone: the container's, and the aliases of a single container.
    pub names: Vec<String>,
}

/// How a service stands on a network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkService {
    /// Where.
    pub network_id: NetworkId,
    /// Which.
    pub service_id: ServiceId,
    /// As the user calls it.
    pub name: String,
    /// Its virtual address; "" where its name is answered for by its tasks' own.
    pub vip: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// Those of the routing mesh, on the network of the routing mesh.
    pub ports: Vec<PortConfig>,
}

/// All that a node has to carry of the swarm's networks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkTables {
    /// UDP port of VXLAN.
    pub data_path_port: u32,
    /// Networks that have a task, a container or (ingress) a published port here.
    pub networks: Vec<AssignedNetwork>,
    /// Everybody's addresses on those networks.
    pub endpoints: Vec<NetworkEndpoint>,
    /// The services on those networks.
    pub services: Vec<NetworkService>,
}

/// One entry. Shared: the leader sends most of them to many nodes, and remembers for each what it sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Assignment {
    /// To run.
    Task(Arc<Task>),
    /// To carry.
    Network(Arc<AssignedNetwork>),
    /// To know.
    Endpoint(Arc<NetworkEndpoint>),
    /// To know.
    Service(Arc<NetworkService>),
}

/// Identifies an assignment within a node's set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AssignmentKey {
    /// By id.
    Network(NetworkId),
    /// By network and service.
    Service(NetworkId, ServiceId),
    /// By network and address.
    Endpoint(NetworkId, String),
    /// By id.
    Task(TaskId),
}

impl Assignment {
    /// What identifies it.
    pub(crate) fn key(&self) -> AssignmentKey {
        match self {
            Self::Task(task) => AssignmentKey::Task(task.id.clone()),
            Self::Network(network) => AssignmentKey::Network(network.id.clone()),
            Self::Endpoint(endpoint) => AssignmentKey::Endpoint(endpoint.network_id.clone(), endpoint.address.clone()),
            Self::Service(service) => AssignmentKey::Service(service.network_id.clone(), service.service_id.clone()),
        }
    }

    /// Whether it tells the node the same. What the node itself reports of a task, and how often its object was
    /// written, is no news to it.
    pub(crate) fn tells_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Task(one), Self::Task(other)) => {
                let told = |task: &Task| Task { status: Default::default(), meta: Default::default(), ..task.clone() };
                Arc::ptr_eq(one, other) || told(one) == told(other)
            }
            (Self::Network(one), Self::Network(other)) => Arc::ptr_eq(one, other) || one == other,
            (Self::Endpoint(one), Self::Endpoint(other)) => Arc::ptr_eq(one, other) || one == other,
            (Self::Service(one), Self::Service(other)) => Arc::ptr_eq(one, other) || one == other,
            _ => false,
        }
    }
}

/// A node's assignments.
pub(crate) type Assignments = BTreeMap<AssignmentKey, Assignment>;

/// From one set of a node to the next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// It is new, or differs.
    Put(Assignment),
    /// It is gone.
    Remove(AssignmentKey),
}

/// What is sent to a node at once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    /// It is the whole set; what is not in it goes.
    pub complete: bool,
    /// The set on which it fits, if it is not complete.
    pub applies_to: String,
    /// The set that results.
    pub results_in: String,
    /// What differs.
    pub changes: Vec<Change>,
}
