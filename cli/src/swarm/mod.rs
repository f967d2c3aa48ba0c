//! The way to this node's agent, and through it to the swarm.

pub mod start;

use anyhow::Result;
use skep_cluster::client::Client;
use tonic::Status;

use crate::context::Node;

/// Whether this node is in a swarm, with its agent running or not.
pub fn is_active(node: &Node) -> bool {
    node.engine().is_in_swarm()
}

/// A connection to this node's agent.
pub async fn client(node: &Node) -> Result<Client> {
    Ok(node.engine().agent().await?)
}

/// An answer's error, in the words that the manager chose.
pub fn said(status: Status) -> anyhow::Error {
    skep_engine::agent::said(status).into()
}

/// Whether an answer says that there is no such object.
pub fn is_not_found(status: &Status) -> bool {
    status.code() == tonic::Code::NotFound
}
