//! The way to this node's agent, and through it to the swarm.

pub mod start;

use anyhow::{Result, anyhow};
use skep_cluster::client::{self, Client};
use skep_cluster::node;
use tonic::Status;

use crate::context::Node;

/// Docker's words for a node that is in no swarm.
pub const NOT_A_MANAGER: &str = "This node is not a swarm manager. Use \"skep swarm init\" or \"skep swarm join\" to \
                                 connect this node to swarm and try again.";

/// Whether this node is in a swarm, with its agent running or not.
pub fn is_active(node: &Node) -> bool {
    node::is_joined(&node.roots().root)
}

/// A connection to this node's agent.
pub async fn client(node: &Node) -> Result<Client> {
    // Before the look into a directory that is root's alone.
    crate::context::require_root()?;
    if !is_active(node) {
        return Err(anyhow!(NOT_A_MANAGER));
    }
    match Client::connect(&node::socket_path(&node.roots().run_root)).await {
        Ok(client) => Ok(client),
        Err(client::ClientError::NotRunning) => Err(anyhow!(
            "the swarm agent of this node is not running: start it with \"skep agent\" (or \"systemctl start skep-agent\")"
        )),
        Err(error) => Err(error.into()),
    }
}

/// An answer's error, in the words that the manager chose.
pub fn said(status: Status) -> anyhow::Error {
    anyhow!(client::message(&status))
}

/// Whether an answer says that there is no such object.
pub fn is_not_found(status: &Status) -> bool {
    status.code() == tonic::Code::NotFound
}
