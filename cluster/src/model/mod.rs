//! The swarm's nouns and what is true of them, wherever it is asked: the states of tasks and nodes, the place that a
//! task fills, whether it is as its service wants it, how an update stands, constraints, subnets, assignments.
//!
//! Everybody who decides over the swarm or carries it out imports this, and none of them another: a rule that two of
//! them need belongs here. Pure: no store, no clock, no wire.

mod assignment;
mod cluster;
pub mod constraints;
mod freshness;
mod network;
mod node;
mod service;
pub mod subnet;
mod task;
mod update;

pub use assignment::{AssignmentKey, Assignments};
pub use cluster::{DATA_PATH_PORT_DEFAULT, HEARTBEAT_DEFAULT, HISTORY_DEFAULT};
pub use freshness::is_dirty;
pub use network::PREDEFINED_NETWORKS;
pub use node::is_data_path;
pub use task::{GRACE_DEFAULT_NS, Place, RESTART_DELAY_DEFAULT_NS};
pub use update::{MONITOR_DEFAULT_NS, Phase};
