//! The border between the swarm and one machine: the agent drives these traits, and never the kernel.
//!
//! Implemented in `skep-engine` over the `runtime`, `net` and `image` crates, and by `sim::Machine` under test.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::model::{
    ContainerStatus, LogLine, LogOptions, NetworkId, NetworkTables, NodeDescription, NodeId, PortConfig, Task, TaskId,
};

/// Why an executor could not do what a task asked.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// Trying again may help (registry slow, network not there yet): the task stays in its state.
    #[error("{0}")]
    Temporary(String),
    /// It will not help: the task is REJECTED (before it was started) or FAILED.
    #[error("{0}")]
    Fatal(String),
}

impl ExecutorError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Temporary(_))
    }
}

/// All that this node has to carry of the swarm's networks. Always the whole of it: what is not in it goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeNetwork {
    /// This node.
    pub node_id: NodeId,
    /// Address to which the other nodes send VXLAN to us.
    pub data_path_addr: String,
    /// What it carries.
    pub tables: NetworkTables,
}

/// How far a node's networks are made as described.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configured {
    /// The networks that are not there, by id, and why: they are tried again. All others are there, or never will be,
    /// which a task is told when it wants to join.
    pub missing: BTreeMap<NetworkId, String>,
    /// Why something has to be tried again: a network that is missing, or one that could not be changed.
    pub trouble: Option<String>,
}

/// How a task's container stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The container exists.
    pub exists: bool,
    /// Its process runs.
    pub running: bool,
    /// It was started at least once (so that not running means that it has ended).
    pub started: bool,
    /// With a health check: its last verdict, `None` while there is none yet or there is no check.
    pub healthy: Option<bool>,
    /// The container defines a health check.
    pub has_health_check: bool,
    /// Id, pid and exit code.
    pub container: ContainerStatus,
    /// Host-mode ports as bound.
    pub ports: Vec<PortConfig>,
    /// What ended it, where more than the exit code is known ("out of memory").
    pub error: Option<String>,
}

/// One machine, as the agent uses it.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// What the node tells the managers about itself.
    async fn describe(&self) -> Result<NodeDescription, ExecutorError>;

    /// Makes the data plane as described. Called again with every change, never concurrently. Idempotent.
    ///
    /// A network that cannot be made stops no other: it is told in the result. An error concerns all of them.
    async fn configure_network(&self, network: &NodeNetwork) -> Result<Configured, ExecutorError>;

    /// The handle of a task's container, whether or not it exists yet.
    fn controller(&self, task: &Arc<Task>) -> Arc<dyn Controller>;

    /// Ids of the tasks whose containers are on this machine, in whatever state: an agent that starts adopts or removes them.
    async fn present_tasks(&self) -> Result<Vec<TaskId>, ExecutorError>;

    /// The node left the swarm: remove all task containers and the whole data plane.
    async fn leave(&self) -> Result<(), ExecutorError>;
}

/// One task's container. Every method is idempotent, and may be called by a new agent for a container that an earlier one made.
#[async_trait]
pub trait Controller: Send + Sync {
    /// Pulls the image, makes volumes and the container.
    async fn prepare(&self) -> Result<(), ExecutorError>;

    /// Starts the container; returns when its process runs (healthy or not).
    async fn start(&self) -> Result<(), ExecutorError>;

    /// How the container stands now.
    async fn observe(&self) -> Result<Observed, ExecutorError>;

    /// Returns at the next change of what [`Controller::observe`] tells (exit, health). May return early.
    async fn changed(&self);

    /// Stop signal, grace period, kill. Returns when the process has ended.
    async fn shutdown(&self) -> Result<(), ExecutorError>;

    /// Removes the container with its writable layer and anonymous volumes.
    async fn remove(&self) -> Result<(), ExecutorError>;

    /// The container's output, oldest first.
    fn logs(&self, options: &LogOptions) -> BoxStream<'static, Result<LogLine, ExecutorError>>;
}
