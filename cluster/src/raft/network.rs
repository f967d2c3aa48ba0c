//! How openraft reaches the other members: its messages as JSON inside gRPC, over the managers' TLS connections.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::types::{Node, RaftId, TypeConfig};
use crate::api::RaftMessage;
use crate::api::raft_client::RaftClient;
use crate::surroundings::Clock;
use crate::wire::Peers;

/// Largest raft message: a snapshot's part or a batch of entries, encoded.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// When each member was last heard of.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    members: Arc<Mutex<HashMap<RaftId, Instant>>>,
    clock: Arc<dyn Clock>,
}

impl Heard {
    /// Of nobody yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { members: Arc::default(), clock }
    }

    fn note(&self, member: RaftId) {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).insert(member, self.clock.instant());
    }

    /// Whether `member` has answered within `limit`.
    pub(super) fn within(&self, member: RaftId, limit: Duration) -> bool {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.get(&member).is_some_and(|at| self.clock.instant().saturating_duration_since(*at) < limit)
    }
}

/// Makes a connection for each member.
#[derive(Debug, Clone)]
pub(super) struct Network {
    peers: Arc<Peers>,
    heard: Heard,
}

impl Network {
    /// Over the connections in `peers`; answers are noted in `heard`.
    pub(super) fn new(peers: Arc<Peers>, heard: Heard) -> Self {
        Self { peers, heard }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: RaftId, node: &Node) -> Connection {
        Connection {
            peers: self.peers.clone(),
            heard: self.heard.clone(),
            target,
            addr: node.addr.clone(),
            silent: AtomicBool::new(false),
        }
    }
}

/// The way to one member.
#[derive(Debug)]
pub(super) struct Connection {
    peers: Arc<Peers>,
    heard: Heard,
    target: RaftId,
    addr: String,
    /// The last call got no answer. Only the changes are worth a word.
    silent: AtomicBool,
}

enum Method {
    Append,
    Vote,
    Snapshot,
}

impl Connection {
    fn client(&self) -> Result<RaftClient<Channel>, Unreachable> {
        let channel = self.peers.channel(&self.addr).map_err(|error| Unreachable::new(&error))?;
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn note_silence(&self, reason: &str) {
        if !self.silent.swap(true, Ordering::Relaxed) {
            tracing::warn!(addr = self.addr, reason, "a manager does not answer");
        }
    }

    async fn call<Q, A, E>(&self, method: Method, rpc: &Q, limit: Duration) -> Result<A, RPCError<RaftId, Node, E>>
    where
        Q: Serialize,
        A: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        let payload = serde_json::to_vec(rpc).map_err(|error| NetworkError::new(&error))?;
        let mut request = Request::new(RaftMessage { payload, to: self.target });
        request.set_timeout(limit);
        let mut client = self.client()?;
        let call = async {
            match method {
                Method::Append => client.append_entries(request).await,
                Method::Vote => client.vote(request).await,
                Method::Snapshot => client.install_snapshot(request).await,
            }
        };
        let answer = match self.heard.clock.limit(limit, call).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => {
                self.note_silence(&crate::wire::explain(&status));
                return Err(failure(&status));
            }
            Err(elapsed) => {
                self.note_silence("no answer in time");
                return Err(NetworkError::new(&elapsed).into());
            }
        };
        self.heard.note(self.target);
        if self.silent.swap(false, Ordering::Relaxed) {
            tracing::info!(addr = self.addr, "the manager answers again");
        }
        let result: Result<A, E> =
            serde_json::from_slice(&answer.payload).map_err(|error| NetworkError::new(&error))?;
        result.map_err(|error| RemoteError::new(self.target, error).into())
    }
}

fn failure<E: std::error::Error>(status: &Status) -> RPCError<RaftId, Node, E> {
    match status.code() {
        // Nobody is there, or somebody else is: no use in trying again at once.
        Code::Unavailable | Code::NotFound | Code::PermissionDenied | Code::Unauthenticated => {
            Unreachable::new(status).into()
        }
        _ => NetworkError::new(status).into(),
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftId>, RPCError<RaftId, Node, RaftError<RaftId>>> {
        // A heartbeat's limit is its interval; entries may need longer than that, on the wire and on the disk.
        let limit = if rpc.entries.is_empty() { option.hard_ttl() } else { option.hard_ttl() * 10 };
        self.call(Method::Append, &rpc, limit).await
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<RaftId>, RPCError<RaftId, Node, RaftError<RaftId, InstallSnapshotError>>> {
        self.call(Method::Snapshot, &rpc, option.hard_ttl()).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<RaftId>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftId>, RPCError<RaftId, Node, RaftError<RaftId>>> {
        self.call(Method::Vote, &rpc, option.hard_ttl()).await
    }
}
