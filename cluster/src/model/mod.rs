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
pub mod subnet;
mod task;
mod update;

pub use crate::api::{
    Annotations, ClusterSpec, ContainerSpec, ContainerStatus, EndpointMode, IpamConfig, LogDriver, ManagerStatus, Meta,
    NodeAvailability, NodeDescription, NodeRole, NodeState, Placement, Platform, PortProtocol, PortStatus, PublishMode,
    Reachability, Resources, RestartCondition, RootCa, TaskState, UpdateFailureAction, UpdateOrder, UpdateState,
};
pub use assignment::{AssignmentKey, Assignments};
pub use attachment::Attachment;
pub use cluster::{Cluster, DATA_PATH_PORT_DEFAULT, HEARTBEAT_DEFAULT, HISTORY_DEFAULT};
pub use freshness::is_dirty;
pub use ids::{AttachmentId, ClusterId, NetworkId, NodeId, ServiceId, TaskId};
pub use network::{Network, NetworkSpec, PREDEFINED_NETWORKS};
pub use node::{Node, NodeAttachment, NodeSpec, NodeStatus, is_data_path};
pub use service::{Endpoint, EndpointSpec, Mode, PortConfig, Service, ServiceSpec, UpdateStatus, VirtualIp};
pub use task::{
    GRACE_DEFAULT_NS, NetworkAttachment, NetworkAttachmentSpec, Place, RESTART_DELAY_DEFAULT_NS, ResourceRequirements,
    RestartPolicy, Task, TaskSpec, TaskStatus,
};
pub use update::{MONITOR_DEFAULT_NS, Phase, UpdateConfig};
