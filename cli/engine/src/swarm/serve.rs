//! This node's part in the swarm, as its agent plays it: this machine for the executor, and the janitor of what the
//! swarm lends to containers beside it.
//!
//! Called by the program that is the agent, once in its life. Containers do not depend on it: it may end at any time,
//! and the next one adopts them.

use std::sync::Arc;

use skep_cluster::node::{self, NodeConfig};
use skep_cluster::surroundings::Surroundings;
use skep_cluster::timing::Timing;

use crate::blocking::aside;
use crate::containers::leases::janitor;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::executor::NodeExecutor;
pub use crate::executor::Registries;

/// How the agent works.
pub struct Serving {
    /// Says anew for each pull how registries are to be asked.
    pub registries: Registries,
    /// By how much the swarm's time limits are longer than usual; `None` or what is not a positive number: not at all.
    pub time_scale: Option<f64>,
    /// End if no swarm is made or joined within 15 seconds.
    pub exit_when_idle: bool,
}

impl Engine {
    /// Is this node's agent until SIGTERM, SIGINT, or until the node has left its swarm. Starts first, after a reboot,
    /// the containers that are to run always.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Forbidden`] for callers who are not root, [`crate::ErrorKind::Conflict`] where another agent
    /// runs; this machine's containers cannot be read or watched, or the node's files not be used.
    pub async fn serve_swarm(&self, serving: Serving) -> Result<()> {
        let engine = self.clone();
        let (runtime, executor) = aside(move || {
            let runtime = engine.runtime()?;
            for (container, error) in runtime.recover()? {
                tracing::warn!(container, %error, "not started again after the reboot");
            }
            let executor = NodeExecutor::new(runtime.clone(), serving.registries).map_err(Error::Watch)?;
            Ok((runtime, executor))
        })
        .await?;
        let config = NodeConfig {
            root: self.roots().root.clone(),
            run_root: self.roots().run_root.clone(),
            executor: Arc::new(executor),
            idle_exit: serving.exit_when_idle,
            timing: serving.time_scale.map_or_else(Timing::default, Timing::scaled),
            surroundings: Surroundings::system(),
        };
        let mut beside = tokio::task::JoinSet::new();
        beside.spawn(janitor(self.clone(), runtime));
        let ran = node::run(config).await;
        beside.shutdown().await;
        Ok(ran?)
    }
}
