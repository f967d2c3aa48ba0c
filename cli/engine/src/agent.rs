//! The way to this node's agent, and through it to the swarm.
//!
//! Used by every use case that asks the swarm. What fails there comes back as [`Error`] in the manager's words, with a
//! kind to branch on.

use skep_cluster::client::{Client, ClientError};
use skep_cluster::node;

use crate::ErrorKind;
use crate::engine::Engine;
use crate::error::{Error, Result};

/// Docker's words for a node that is in no swarm.
pub(crate) const NOT_A_MANAGER: &str = "This node is not a swarm manager. Use \"skep swarm init\" or \"skep swarm join\" to \
                                 connect this node to swarm and try again.";

impl Engine {
    /// Whether this node is in a swarm, with its agent running or not.
    pub fn is_in_swarm(&self) -> bool {
        node::is_joined(&self.roots().root)
    }

    /// A connection to this node's agent.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] for callers who are not root, [`ErrorKind::NotInSwarm`], and
    /// [`ErrorKind::Unavailable`] where the agent does not run.
    pub(crate) async fn agent(&self) -> Result<Client> {
        // Before the look into a directory that is root's alone.
        self.require_root()?;
        if !self.is_in_swarm() {
            return Err(Error::new(ErrorKind::NotInSwarm, NOT_A_MANAGER));
        }
        match Client::connect(&node::socket_path(&self.roots().run_root)).await {
            Ok(client) => Ok(client),
            Err(ClientError::NotRunning) => Err(Error::new(
                ErrorKind::Unavailable,
                "the swarm agent of this node is not running: start it with \"skep agent\" (or \"systemctl start \
                 skep-agent\")",
            )),
            Err(error) => Err(error.into()),
        }
    }
}
