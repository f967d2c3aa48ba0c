//! The leader's side of the workers: sessions, heartbeats, assignments down, task states up.
//!
//! Every manager serves it; one that does not lead refuses with the leader's address in the metadata
//! [`LEADER_METADATA`], and the agent goes there.

use crate::api;
use crate::store::Store;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Metadata key of a refusal by a manager which does not lead: HOST:PORT of the one that does, if known.
pub const LEADER_METADATA: &str = "skep-leader";

/// Who calls, as its certificate says; the wire puts it into each request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate's common name.
    pub node_id: String,
    /// The certificate's organisational unit.
    pub role: api::NodeRole,
}

/// Where the leadership is, as this manager knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderInfo {
    /// This manager leads.
    pub leading: bool,
    /// HOST:PORT of the leader, if there is one.
    pub addr: Option<String>,
}

/// The service; cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    store: Arc<dyn Store>,
    leader: watch::Receiver<LeaderInfo>,
}

impl Dispatcher {
    /// A dispatcher over `store`, which serves while `leader` says that this manager leads.
    pub fn new(store: Arc<dyn Store>, leader: watch::Receiver<LeaderInfo>) -> Self {
        Self { store, leader }
    }

    /// Watches heartbeats and writes collected task states, until `cancel`. To be run once on each manager.
    pub async fn run(&self, cancel: CancellationToken) {
        let _ = (&self.store, &self.leader);
        cancel.cancelled().await;
    }
}

type MessageStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl api::dispatcher_server::Dispatcher for Dispatcher {
    type SessionStream = MessageStream<api::SessionMessage>;
    type AssignmentsStream = MessageStream<api::AssignmentsMessage>;

    async fn session(&self, _: Request<api::SessionRequest>) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unavailable("not leading"))
    }

    async fn heartbeat(&self, _: Request<api::HeartbeatRequest>) -> Result<Response<api::HeartbeatResponse>, Status> {
        Err(Status::unavailable("not leading"))
    }

    async fn assignments(
        &self,
        _: Request<api::AssignmentsRequest>,
    ) -> Result<Response<Self::AssignmentsStream>, Status> {
        Err(Status::unavailable("not leading"))
    }

    async fn update_task_status(
        &self,
        _: Request<api::UpdateTaskStatusRequest>,
    ) -> Result<Response<api::UpdateTaskStatusResponse>, Status> {
        Err(Status::unavailable("not leading"))
    }
}
