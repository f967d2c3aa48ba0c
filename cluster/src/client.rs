//! For programs on the same machine: the agent's services over its unix socket.

use std::io;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::api::control_client::ControlClient;
use crate::api::local_client::LocalClient;

const MESSAGE_BYTES_MAX: usize = 64 << 20;

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
    #[error("cannot connect to the agent at {path}: {source}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("cannot talk to the agent: {0}")]
    Transport(#[source] tonic::transport::Error),
}

/// A connection to the agent.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects to the socket at [`crate::node::socket_path`].
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
    pub fn local(&self) -> LocalClient<Channel> {
        LocalClient::new(self.channel.clone())
    }

    /// The swarm's.
    pub fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// What a user is shown of a failed call. The agent's messages are in the users' words already.
pub fn message(status: &Status) -> String {
    match status.code() {
        tonic::Code::Unknown | tonic::Code::Cancelled if std::error::Error::source(status).is_some() => {
            "the agent stopped while it was asked; see its log and try again".to_owned()
        }
        _ => status.message().to_owned(),
    }
}
