//! Everything about many machines: the replicated state of a swarm, the brains that decide over it,
//! the certificates, and the agent that carries out what was decided.
//!
//! This crate never touches the kernel: a node's containers and networks are behind [`executor::Executor`],
//! so that a whole cluster runs in one process under test.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods))]

mod agent;
mod allocator;
pub mod api;
mod brain;
pub mod ca;
pub mod client;
mod control;
mod dispatcher;
mod error;
pub mod executor;
mod id;
#[cfg(test)]
mod layers;
mod leader;
mod logs;
pub mod model;
pub mod node;
mod orchestrator;
mod raft;
mod scheduler;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod store;
mod streams;
pub mod surroundings;
pub mod timing;
pub mod wire;

pub use error::Error;

/// The port of a manager.
pub(crate) const DEFAULT_PORT: u16 = 2377;
