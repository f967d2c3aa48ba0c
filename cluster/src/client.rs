//! For programs on the same machine: the agent's services over its unix socket, with errors of the crate's own type.

use std::io;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use skep_common::ErrorKind;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Response, Status};

use crate::api::control_client::ControlClient;
use crate::api::local_client::LocalClient;
use crate::api::{
    CreateAttachmentRequest, CreateAttachmentResponse, CreateNetworkRequest, CreateNetworkResponse,
    CreateServiceRequest, CreateServiceResponse, GetClusterRequest, GetClusterResponse, GetNetworkRequest,
    GetNetworkResponse, GetNodeRequest, GetNodeResponse, GetServiceRequest, GetServiceResponse, GetTaskRequest,
    GetTaskResponse, InfoRequest, InfoResponse, InitRequest, InitResponse, JoinRequest, JoinResponse, LeaveRequest,
    LeaveResponse, ListNetworksRequest, ListNetworksResponse, ListNodesRequest, ListNodesResponse, ListServicesRequest,
    ListServicesResponse, ListTasksRequest, ListTasksResponse, RemoveAttachmentRequest, RemoveAttachmentResponse,
    RemoveNetworkRequest, RemoveNetworkResponse, RemoveNodeRequest, RemoveNodeResponse, RemoveServiceRequest,
    RemoveServiceResponse, ServiceLogsRequest, ServiceLogsResponse, UpdateClusterRequest, UpdateClusterResponse,
    UpdateNodeRequest, UpdateNodeResponse, UpdateServiceRequest, UpdateServiceResponse, WatchServiceRequest,
    WatchServiceResponse,
};
use crate::error::Error;

const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Answers that go on until the agent ends them, or the stream is dropped.
pub type Answers<T> = BoxStream<'static, Result<T, Error>>;

/// Why the agent cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No agent runs: the node is in no swarm, or its agent was killed.
    #[error(
        "This node is not a swarm manager. Use \"skep swarm init\" or \"skep swarm join\" to connect this node to swarm \
         and try again."
    )]
    NotRunning,
    /// The socket is there, but cannot be used.
    #[error("cannot connect to the agent at {path}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("cannot talk to the agent")]
    Transport(#[source] tonic::transport::Error),
}

impl ClientError {
    /// Of what kind it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotRunning => ErrorKind::NotInSwarm,
            Self::Connect { .. } | Self::Transport(_) => ErrorKind::Unavailable,
        }
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self::new(error.kind(), crate::error::chain(&error))
    }
}

/// A connection to the agent. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects to the socket at [`crate::node::socket_path`].
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] where no agent listens, the others where one should and cannot be reached.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        // A first connection of its own tells apart what tonic reports as one.
        match UnixStream::connect(socket).await {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Err(ClientError::NotRunning);
            }
            Err(source) => return Err(ClientError::Connect { path: socket.to_owned(), source }),
        }
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://agent");
        let channel = endpoint.connect_with_connector(connector).await.map_err(ClientError::Transport)?;
        Ok(Self { channel })
    }

    /// The node's own affairs.
    fn local(&self) -> LocalClient<Channel> {
        LocalClient::new(self.channel.clone())
    }

    /// The swarm's.
    fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// A service with its tasks, now and at every change.
    ///
    /// # Errors
    /// What the manager refuses; the stream ends with [`ErrorKind::NoQuorum`] when another manager leads.
    pub async fn watch_service(&self, request: WatchServiceRequest) -> Result<Answers<WatchServiceResponse>, Error> {
        answers(self.control().watch_service(request).await)
    }

    /// The output of a service or a task.
    ///
    /// # Errors
    /// What the manager refuses; the stream ends with [`ErrorKind::Unavailable`] where a node's part is missing.
    pub async fn service_logs(&self, request: ServiceLogsRequest) -> Result<Answers<ServiceLogsResponse>, Error> {
        answers(self.control().service_logs(request).await)
    }
}

macro_rules! calls {
    ($($(#[$doc:meta])* $service:ident $method:ident($request:ident) -> $response:ident;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// What the agent or the manager refuses; [`ErrorKind::Unavailable`] when the agent ends meanwhile.
                pub async fn $method(&self, request: $request) -> Result<$response, Error> {
                    self.$service().$method(request).await.map(Response::into_inner).map_err(Error::from)
                }
            )*
        }
    };
}

calls! {
    /// What the node is in its swarm.
    local info(InfoRequest) -> InfoResponse;
    /// Makes a swarm.
    local init(InitRequest) -> InitResponse;
    /// Joins one.
    local join(JoinRequest) -> JoinResponse;
    /// Leaves it.
    local leave(LeaveRequest) -> LeaveResponse;
    /// The swarm's settings, and its join tokens.
    control get_cluster(GetClusterRequest) -> GetClusterResponse;
    /// Changes them.
    control update_cluster(UpdateClusterRequest) -> UpdateClusterResponse;
    /// All nodes.
    control list_nodes(ListNodesRequest) -> ListNodesResponse;
    /// One node, by id, host name or the beginning of an id.
    control get_node(GetNodeRequest) -> GetNodeResponse;
    /// Changes a node's specification.
    control update_node(UpdateNodeRequest) -> UpdateNodeResponse;
    /// Removes a node that is down.
    control remove_node(RemoveNodeRequest) -> RemoveNodeResponse;
    /// Makes a service.
    control create_service(CreateServiceRequest) -> CreateServiceResponse;
    /// All services, with the number of their tasks.
    control list_services(ListServicesRequest) -> ListServicesResponse;
    /// One service, by id, name or the beginning of an id.
    control get_service(GetServiceRequest) -> GetServiceResponse;
    /// Changes a service's specification, or goes back to the previous one.
    control update_service(UpdateServiceRequest) -> UpdateServiceResponse;
    /// Removes a service.
    control remove_service(RemoveServiceRequest) -> RemoveServiceResponse;
    /// Tasks, of some services or nodes or of all.
    control list_tasks(ListTasksRequest) -> ListTasksResponse;
    /// One task, by id, name or the beginning of an id.
    control get_task(GetTaskRequest) -> GetTaskResponse;
    /// Makes a network.
    control create_network(CreateNetworkRequest) -> CreateNetworkResponse;
    /// All networks.
    control list_networks(ListNetworksRequest) -> ListNetworksResponse;
    /// One network with what is on it, by id, name or the beginning of an id.
    control get_network(GetNetworkRequest) -> GetNetworkResponse;
    /// Removes a network that nobody uses.
    control remove_network(RemoveNetworkRequest) -> RemoveNetworkResponse;
    /// Takes an address on a network for a single container of this node.
    control create_attachment(CreateAttachmentRequest) -> CreateAttachmentResponse;
    /// Gives it back.
    control remove_attachment(RemoveAttachmentRequest) -> RemoveAttachmentResponse;
}

fn answers<T: Send + 'static>(response: Result<Response<tonic::Streaming<T>>, Status>) -> Result<Answers<T>, Error> {
    Ok(response?.into_inner().map(|answer| answer.map_err(Error::from)).boxed())
}
