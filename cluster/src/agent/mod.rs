//! The worker in every node: takes assignments from the leader's dispatcher, carries them out through an
//! [`Executor`], and reports.
//!
//! **Containers need neither the agent nor a manager:** what is assigned is on disk, a new agent adopts what runs,
//! and a worker without managers goes on as it was told last.

pub(crate) mod assigned;
mod disk;
mod network;
mod publisher;
mod reporter;
mod session;
pub(crate) mod step;
mod task;
mod worker;

pub(crate) use worker::LocalTasks;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::Instrument;

use crate::api::SessionMessage;
use crate::executor::Executor;
use crate::model::NodeId;
use crate::surroundings::Surroundings;
use crate::timing::Timing;
use crate::wire::{Managers, WireError};
use session::SessionError;
use worker::Worker;

/// Pause between the end of load balancing to a task and its stop signal.
pub(crate) const DRAIN_DEFAULT: Duration = Duration::from_millis(500);
/// A session that is lost for so many milliseconds (before they are scaled) is told to the user.
const TROUBLE_MS: u64 = 15_000;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// Why there is no channel to a manager.
#[derive(Debug, thiserror::Error)]
#[error("no connection to a manager: {0}")]
pub(crate) struct ConnectError(pub String);

/// The agent's way to the managers.
#[async_trait]
pub(crate) trait ManagerLink: Send + Sync + 'static {
    /// A channel to some manager, which passes on to the leader.
    async fn channel(&self) -> Result<Channel, ConnectError>;

    /// The channel given last did not work: give another next time.
    fn failed(&self);
}

#[async_trait]
impl ManagerLink for Managers {
    async fn channel(&self) -> Result<Channel, ConnectError> {
        Self::channel(self).await.map_err(|error: WireError| {
            let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            ConnectError(format!("{error}{cause}"))
        })
    }

    fn failed(&self) {
        Self::failed(self);
    }
}

/// What an agent has to know.
#[derive(Clone)]
pub(crate) struct AgentConfig {
    /// This node.
    pub node_id: NodeId,
    /// A directory of its own (ROOT/swarm/worker), made if missing.
    pub state_dir: PathBuf,
    /// The machine.
    pub executor: Arc<dyn Executor>,
    /// The way to the managers.
    pub managers: Arc<dyn ManagerLink>,
    /// Address to which the other nodes send VXLAN to us.
    pub data_path_addr: String,
    /// Gets every message of a session: this node's object (its role may have changed), the managers, the root
    /// certificate.
    pub session: watch::Sender<Option<SessionMessage>>,
    /// Pause between the end of load balancing to a task and its stop signal ([`DRAIN_DEFAULT`]).
    pub drain: Duration,
    /// Says why the node has been without a session for some time, while it is.
    pub trouble: watch::Sender<Option<String>>,
    /// Time limits of calls to the managers.
    pub timing: Timing,
    /// Time and chance.
    pub surroundings: Surroundings,
}

/// The worker.
pub(crate) struct Agent {
    config: AgentConfig,
}

impl Agent {
    /// An agent that does nothing until [`Agent::run`].
    pub(crate) fn new(config: AgentConfig) -> Self {
        Self { config }
    }

    /// Works until `stop`. Containers go on; the next agent takes them over. Fails if its directory is unusable.
    ///
    /// # Errors
    /// If the worker's directory cannot be used.
    pub(crate) async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let span = tracing::info_span!("agent", node.id = %self.config.node_id);
        self.work(stop).instrument(span).await
    }

    async fn work(self, stop: CancellationToken) -> io::Result<()> {
        let mut worker = Worker::start(self.config.clone(), stop.clone())?;
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_session(&mut worker) => {}
        }
        worker.stop().await;
        Ok(())
    }

    /// One session after the other; never returns.
    async fn keep_session(&self, worker: &mut Worker) {
        let clock = self.config.surroundings.clock.clone();
        let mut backoff = BACKOFF_MIN;
        let mut lost_at = None;
        loop {
            let mut registered = false;
            let taken_in = || {
                registered = true;
                self.config.trouble.send_replace(None);
            };
            let error = session::run(&self.config, worker, taken_in).await;
            if registered {
                backoff = BACKOFF_MIN;
                lost_at = None;
            }
            // An election is over before that.
            let lost = clock.instant().saturating_duration_since(*lost_at.get_or_insert_with(|| clock.instant()));
            if lost >= self.config.timing.scale(TROUBLE_MS) {
                self.config.trouble.send_replace(Some(format!("no session with a manager: {error}")));
            }
            match &error {
                SessionError::Described => tracing::info!(%error, "registering again"),
                _ => {
                    tracing::warn!(%error, "session with the leader lost");
                    self.config.managers.failed();
                }
            }
            // Not all at the same time, after a manager that all of them used was lost.
            let pause = backoff.mul_f64(self.config.surroundings.chance.within(0.5..1.0));
            backoff = (backoff * 2).min(BACKOFF_MAX);
            clock.sleep(pause).await;
        }
    }
}
