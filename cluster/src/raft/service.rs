//! Takes the messages of other members and gives them to openraft.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::{Request, Response, Status};

use super::network::MESSAGE_BYTES_MAX;
use super::types::{RaftId, TypeConfig};
use crate::api::RaftMessage;
use crate::api::raft_server::{Raft, RaftServer};

/// The service `Raft`. The caller has been found to be a manager before it gets here.
pub(crate) struct RaftService {
    raft: openraft::Raft<TypeConfig>,
    id: RaftId,
}

impl RaftService {
    pub(super) fn new(raft: openraft::Raft<TypeConfig>, id: RaftId) -> Self {
        Self { raft, id }
    }

    /// Ready to be mounted.
    pub(crate) fn into_server(self) -> RaftServer<Self> {
        RaftServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn decode<T: DeserializeOwned>(&self, request: Request<RaftMessage>) -> Result<T, Status> {
        let message = request.into_inner();
        if message.to != self.id {
            return Err(Status::not_found("another member is meant: this address was given to a new manager"));
        }
        serde_json::from_slice(&message.payload)
            .map_err(|error| Status::invalid_argument(format!("not a raft message: {error}")))
    }

    fn encode<T: Serialize>(&self, answer: &T) -> Result<Response<RaftMessage>, Status> {
        let payload = serde_json::to_vec(answer).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(RaftMessage { payload, to: 0 }))
    }
}

#[tonic::async_trait]
impl Raft for RaftService {
    async fn append_entries(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        let rpc = self.decode(request)?;
        self.encode(&self.raft.append_entries(rpc).await)
    }

    async fn vote(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        let rpc = self.decode(request)?;
        self.encode(&self.raft.vote(rpc).await)
    }

    async fn install_snapshot(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        let rpc = self.decode(request)?;
        self.encode(&self.raft.install_snapshot(rpc).await)
    }
}
