//! The swarm's nouns and what is true of them, wherever it is asked: the states of tasks and nodes, the place that a
//! task fills, whether it is as its service wants it, how an update stands, constraints, subnets, assignments.
//!
//! Everybody who decides over the swarm or carries it out imports this, and none of them another: a rule that two of
//! them need belongs here. Pure: no store, no clock, no wire. The generated types of [`crate::api`] are converted once,
//! where they come in (`convert`); those of them that are values without optional parts, and what is told of a machine
//! or a container and is only passed on, are the model's own.

mod assignment;
mod attachment;
mod cluster;
pub mod constraints;
mod convert;
mod freshness;
mod ids;
mod network;
mod node;
mod service;
pub(crate) mod subnet;
mod task;
mod update;

pub(crate) use crate::api::{
    Annotations, ClusterSpec, ContainerSpec, ContainerStatus, EndpointMode, IpamConfig, LogDriver, ManagerStatus, Meta,
    NodeDescription, NodeRole, NodeState, Placement, Platform, PortProtocol, PortStatus, PublishMode, Reachability,
    Resources, RestartCondition, RootCa, UpdateFailureAction, UpdateOrder,
};
pub use crate::api::{NodeAvailability, TaskState, UpdateState};
pub(crate) use assignment::{AssignmentKey, Assignments};
pub(crate) use attachment::Attachment;
pub(crate) use cluster::{Cluster, DATA_PATH_PORT_DEFAULT, HEARTBEAT_DEFAULT, HISTORY_DEFAULT};
pub use freshness::is_dirty;
pub(crate) use ids::{AttachmentId, ClusterId, NetworkId, NodeId, ServiceId, TaskId};
pub use network::PREDEFINED_NETWORKS;
pub(crate) use network::{Network, NetworkSpec};
pub use node::Node;
pub(crate) use node::{NodeAttachment, NodeSpec, NodeStatus, is_data_path};
pub(crate) use service::{Endpoint, EndpointSpec, PortConfig, ServiceSpec, UpdateStatus, VirtualIp};
pub use service::{Mode, Service};
pub use task::{GRACE_DEFAULT_NS, Place, Task};
pub(crate) use task::{
    NetworkAttachment, NetworkAttachmentSpec, RESTART_DELAY_DEFAULT_NS, ResourceRequirements, RestartPolicy, TaskSpec,
    TaskStatus,
};
pub(crate) use update::Phase;
pub use update::{MONITOR_DEFAULT_NS, UpdateConfig};
