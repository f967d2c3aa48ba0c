//! The control API: what users ask of the swarm. Runs on the leader; every call sees all that was committed before it.
//!
//! Writers go one after the other, so that what was checked (a name, a port) is still so when it is stored.

mod attachments;
mod networks;
mod nodes;
mod refs;
mod services;
mod spec;
mod swarm;
mod watch;

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use skep_common::ErrorKind;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::api::control_server::Control;
use crate::api::{
    CreateAttachmentRequest, CreateAttachmentResponse, CreateNetworkRequest, CreateNetworkResponse,
    CreateServiceRequest, CreateServiceResponse, GetClusterRequest, GetClusterResponse, GetNetworkRequest,
    GetNetworkResponse, GetNodeRequest, GetNodeResponse, GetServiceRequest, GetServiceResponse, GetTaskRequest,
    GetTaskResponse, ListNetworksRequest, ListNetworksResponse, ListNodesRequest, ListNodesResponse,
    ListServicesRequest, ListServicesResponse, ListTasksRequest, ListTasksResponse, RemoveAttachmentRequest,
    RemoveAttachmentResponse, RemoveNetworkRequest, RemoveNetworkResponse, RemoveNodeRequest, RemoveNodeResponse,
    RemoveServiceRequest, RemoveServiceResponse, ServiceLogsRequest, ServiceLogsResponse, StoreAction,
    UpdateClusterRequest, UpdateClusterResponse, UpdateNodeRequest, UpdateNodeResponse, UpdateServiceRequest,
    UpdateServiceResponse, WatchServiceRequest, WatchServiceResponse,
};
use crate::error::Error;
use crate::logs::LogBroker;
use crate::raft::RaftNode;
use crate::store::{ProposeError, Store, View};
use crate::streams::Streams;
use crate::surroundings::Surroundings;
use crate::timing::Timing;

/// How often a change is decided again when something else changed the same object.
const ATTEMPTS: usize = 20;

type Stream<T> = BoxStream<'static, Result<T, Error>>;

/// The service `Control`.
#[derive(Clone)]
pub(crate) struct ControlService {
    store: Arc<dyn Store>,
    /// Absent where the store is not replicated (under test).
    raft: Option<Arc<RaftNode>>,
    logs: LogBroker,
    timing: Timing,
    surroundings: Surroundings,
    streams: Arc<Streams>,
    writing: Arc<tokio::sync::Mutex<()>>,
    stop: CancellationToken,
}

impl ControlService {
    /// Over the leader's store. Its streams end with `stop`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        raft: Option<Arc<RaftNode>>,
        logs: LogBroker,
        timing: Timing,
        surroundings: Surroundings,
        stop: CancellationToken,
    ) -> Self {
        let streams = Arc::new(Streams::new(surroundings.clock.clone()));
        Self { store, raft, logs, timing, surroundings, streams, writing: Arc::default(), stop }
    }

    /// Waits for `stop`, and then until none of its streams is fed any more.
    pub(crate) async fn run(self) {
        self.stop.cancelled().await;
        self.streams.stop().await;
    }

    /// A view with everything that was committed before this call.
    async fn read(&self) -> Result<Arc<View>, Error> {
        if let Some(raft) = &self.raft {
            raft.read_barrier().await.map_err(|error| refusal(&error))?;
        }
        Ok(self.store.view())
    }

    /// Decides on a fresh view and commits; decides again when an object was changed in between.
    async fn write<T>(
        &self,
        mut decide: impl FnMut(&View) -> Result<(Vec<StoreAction>, T), Error> + Send,
    ) -> Result<T, Error> {
        let _one_at_a_time = self.writing.lock().await;
        let mut view = self.read().await?;
        for _ in 0..ATTEMPTS {
            let (actions, result) = decide(&view)?;
            if actions.is_empty() {
                return Ok(result);
            }
            match self.store.propose(actions).await {
                Ok(version) => {
                    tracing::debug!(version, "committed");
                    return Ok(result);
                }
                Err(ProposeError::Conflict(_)) => view = self.store.view(),
                Err(error) => return Err(refusal(&error)),
            }
        }
        Err(Error::new(ErrorKind::OutOfSequence, "the object is being changed all the time; try again"))
    }
}

fn refusal(error: &ProposeError) -> Error {
    match error {
        ProposeError::Conflict(_) => Error::new(ErrorKind::OutOfSequence, crate::error::chain(error)),
        ProposeError::TooLarge { .. } => Error::bad_argument(error.to_string()),
        // Whoever leads now has to be found first: for the user that is the same as none.
        ProposeError::NotLeader { .. } | ProposeError::NoQuorum | ProposeError::Stopped(_) => {
            Error::new(ErrorKind::NoQuorum, ProposeError::NoQuorum.to_string())
        }
    }
}

fn out_of_sequence() -> Error {
    Error::new(ErrorKind::OutOfSequence, "update out of sequence")
}

/// A stream as gRPC sends it.
fn sent<T: 'static>(stream: Stream<T>) -> Response<BoxStream<'static, Result<T, Status>>> {
    Response::new(stream.map(|item| item.map_err(Status::from)).boxed())
}

macro_rules! delegate {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl Control for ControlService {
            type WatchServiceStream = BoxStream<'static, Result<WatchServiceResponse, Status>>;
            type ServiceLogsStream = BoxStream<'static, Result<ServiceLogsResponse, Status>>;

            $(async fn $method(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                Ok(self.$method(request).await.map(Response::new)?)
            })*

            async fn watch_service(
                &self,
                request: Request<WatchServiceRequest>,
            ) -> Result<Response<Self::WatchServiceStream>, Status> {
                Ok(self.watch_service(request.into_inner()).await.map(sent)?)
            }

            async fn service_logs(
                &self,
                request: Request<ServiceLogsRequest>,
            ) -> Result<Response<Self::ServiceLogsStream>, Status> {
                Ok(self.service_logs(request.into_inner()).await.map(sent)?)
            }
        }
    };
}

delegate! {
    get_cluster(GetClusterRequest) -> GetClusterResponse;
    update_cluster(UpdateClusterRequest) -> UpdateClusterResponse;
    list_nodes(ListNodesRequest) -> ListNodesResponse;
    get_node(GetNodeRequest) -> GetNodeResponse;
    update_node(UpdateNodeRequest) -> UpdateNodeResponse;
    remove_node(RemoveNodeRequest) -> RemoveNodeResponse;
    create_service(CreateServiceRequest) -> CreateServiceResponse;
    list_services(ListServicesRequest) -> ListServicesResponse;
    get_service(GetServiceRequest) -> GetServiceResponse;
    update_service(UpdateServiceRequest) -> UpdateServiceResponse;
    remove_service(RemoveServiceRequest) -> RemoveServiceResponse;
    list_tasks(ListTasksRequest) -> ListTasksResponse;
    get_task(GetTaskRequest) -> GetTaskResponse;
    create_network(CreateNetworkRequest) -> CreateNetworkResponse;
    list_networks(ListNetworksRequest) -> ListNetworksResponse;
    get_network(GetNetworkRequest) -> GetNetworkResponse;
    remove_network(RemoveNetworkRequest) -> RemoveNetworkResponse;
    create_attachment(CreateAttachmentRequest) -> CreateAttachmentResponse;
    remove_attachment(RemoveAttachmentRequest) -> RemoveAttachmentResponse;
}

#[cfg(test)]
mod tests;
