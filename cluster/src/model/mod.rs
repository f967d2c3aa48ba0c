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
mod log;
mod network;
mod node;
mod service;
pub(crate) mod subnet;
mod task;
mod update;

pub use crate::api::{
    Annotations, ContainerSpec, ContainerStatus, HealthCheck, Mount, NodeAvailability, NodeDescription, Platform,
    PortProtocol, PublishMode, Resources, TaskState, Ulimit, UpdateState,
};
pub(crate) use crate::api::{
    ClusterSpec, EndpointMode, IpamConfig, LogDriver, ManagerStatus, Meta, NodeRole, NodeState, Placement,
    Reachability, RestartCondition, RootCa, UpdateFailureAction, UpdateOrder,
};
pub use assignment::{AssignedNetwork, NetworkEndpoint, NetworkService, NetworkTables};
pub(crate) use assignment::{Assignment, AssignmentKey, Assignments, Batch, Change};
pub(crate) use attachment::Attachment;
pub(crate) use cluster::{Cluster, DATA_PATH_PORT_DEFAULT, HEARTBEAT_DEFAULT, HISTORY_DEFAULT};
pub use freshness::is_dirty;
pub(crate) use ids::{AttachmentId, ClusterId, ServiceId};
pub use ids::{NetworkId, NodeId, TaskId};
pub(crate) use log::{LogAnswer, LogOrder, TaskLine};
pub use log::{LogLine, LogOptions, LogStream};
pub use network::PREDEFINED_NETWORKS;
pub(crate) use network::{Network, NetworkSpec};
pub use node::Node;
pub(crate) use node::{NodeAttachment, NodeSpec, NodeStatus, is_data_path};
pub use service::{Endpoint, Mode, PortConfig, Service};
pub(crate) use service::{EndpointSpec, ServiceSpec, UpdateStatus, VirtualIp};
pub use task::{GRACE_DEFAULT_NS, NetworkAttachment, NetworkAttachmentSpec, Place, Task, TaskSpec};
pub(crate) use task::{PortStatus, RESTART_DELAY_DEFAULT_NS, ResourceRequirements, RestartPolicy, TaskStatus};
pub(crate) use update::Phase;
pub use update::{MONITOR_DEFAULT_NS, UpdateConfig};
