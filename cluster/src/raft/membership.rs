//! Who is a manager: members are added as learners first, and removed before they lose their role.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError as CoreError};
use skep_common::ErrorKind;
use tonic::{Code, Request, Response, Status};

use super::node::{Member, RaftNode};
use super::types::{Node, RaftId, TypeConfig};
use crate::api::ca_client::CaClient;
use crate::api::raft_membership_client::RaftMembershipClient;
use crate::api::raft_membership_server::RaftMembership;
use crate::api::{
    GetRootCaRequest, JoinRaftRequest, JoinRaftResponse, LeaveRaftRequest, LeaveRaftResponse, RaftMember, StoreAction,
    TakeOverRequest, TakeOverResponse,
};
use crate::model::{self, ManagerStatus, NodeRole};
use crate::store::{ProposeError, Store, update};
use crate::wire::Caller;

/// Removed numbers that are remembered.
const REMOVED_MAX: usize = 1000;

/// Why the membership was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MembershipError {
    /// This member does not lead.
    #[error("this manager is not the leader")]
    NotLeader,
    /// Another change, or a majority, took too long.
    #[error("the managers did not agree in time: {0}")]
    Timeout(String),
    /// The new manager cannot be reached.
    #[error("could not connect to prospective new cluster member using its advertised address {addr}: {reason}")]
    Unreachable {
        /// The address that it gave.
        addr: String,
        /// How it failed.
        reason: String,
    },
    /// The number has been in use before.
    #[error("this manager's raft id was removed from the swarm: delete its swarm directory and join it again")]
    Removed,
    /// Nobody would be left.
    #[error("the last manager cannot be removed")]
    Last,
    /// The change was made in raft, but not in the store.
    #[error(transparent)]
    Store(#[from] ProposeError),
    /// openraft refuses.
    #[error("raft: {0}")]
    Core(String),
}

impl RaftNode {
    /// Adds a manager: as a learner, then, once it has caught up, as a voter.
    ///
    /// # Errors
    /// Why it was not added, or not wholly.
    pub(crate) async fn add_member(&self, raft_id: RaftId, node: Node) -> Result<(), MembershipError> {
        let _one_at_a_time = self.changing.lock().await;
        let removed = self.view().cluster().is_some_and(|cluster| cluster.removed_raft_ids.contains(&raft_id));
        if raft_id == 0 || removed {
            return Err(MembershipError::Removed);
        }
        self.probe(&node.addr).await?;
        let stale: Vec<Member> =
            self.members().into_iter().filter(|m| m.node_id == node.node_id && m.raft_id != raft_id).collect();
        for member in stale {
            self.drop_member(member.raft_id).await?;
        }
        let known = self.members().into_iter().find(|m| m.raft_id == raft_id);
        if !known.is_some_and(|member| member.voter) {
            self.change(ChangeMembers::AddNodes(BTreeMap::from([(raft_id, node.clone())]))).await?;
            self.catch_up(raft_id).await?;
            self.change(ChangeMembers::AddVoterIds(BTreeSet::from([raft_id]))).await?;
        }
        self.note_member(&node.node_id, Some(ManagerStatus { raft_id, addr: node.addr.clone(), ..Default::default() }))
            .await
    }

    /// Removes all members of a node. Does nothing if it has none.
    ///
    /// # Errors
    /// Why it was not removed, or not wholly.
    pub(crate) async fn remove_node(&self, node_id: &str) -> Result<(), MembershipError> {
        let _one_at_a_time = self.changing.lock().await;
        for member in self.members().into_iter().filter(|member| member.node_id == node_id) {
            self.drop_member(member.raft_id).await?;
        }
        self.note_member(node_id, None).await
    }

    /// Completes a change which a leader before this one left half done.
    ///
    /// # Errors
    /// Why it could not be completed.
    pub(crate) async fn settle(&self) -> Result<(), MembershipError> {
        let joint = self.raft.metrics().borrow().membership_config.membership().get_joint_config().len() > 1;
        if joint {
            let _one_at_a_time = self.changing.lock().await;
            self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await?;
        }
        Ok(())
    }

    /// Gives the leadership to another voter which has been heard of lately. The present lease has to run out first,
    /// so it takes a second or two.
    ///
    /// # Errors
    /// If there is nobody to take over, or it was not done in time.
    pub(crate) async fn hand_over(&self) -> Result<(), MembershipError> {
        let successor =
            self.members().into_iter().find(|m| m.voter && m.raft_id != self.id && self.is_reachable(m.raft_id));
        let successor = successor.ok_or(MembershipError::Last)?;
        self.handing_over.store(true, Ordering::Relaxed);
        self.raft.runtime_config().heartbeat(false);
        let outcome = self.hand_over_to(&successor).await;
        self.raft.runtime_config().heartbeat(true);
        self.handing_over.store(false, Ordering::Relaxed);
        outcome
    }

    async fn hand_over_to(&self, successor: &Member) -> Result<(), MembershipError> {
        let timing = self.settings.timing;
        let unreachable = |reason: String| MembershipError::Unreachable { addr: successor.addr.clone(), reason };
        let lease = std::time::Duration::from_millis(timing.election_ms().1);
        self.settings.surroundings.clock.sleep(timing.scale(100) + lease).await;
        let channel = self.settings.peers.channel(&successor.addr).map_err(|error| unreachable(error.to_string()))?;
        let mut request = Request::new(TakeOverRequest {});
        request.set_timeout(timing.request());
        RaftMembershipClient::new(channel)
            .take_over(request)
            .await
            .map_err(|status| unreachable(status.message().to_owned()))?;
        let id = self.id;
        self.raft
            .wait(Some(timing.leader_wait()))
            .metrics(|metrics| metrics.current_leader.is_some_and(|leader| leader != id), "another leader")
            .await
            .map_err(|error| MembershipError::Timeout(error.to_string()))?;
        Ok(())
    }

    async fn drop_member(&self, raft_id: RaftId) -> Result<(), MembershipError> {
        let members = self.members();
        let Some(member) = members.iter().find(|member| member.raft_id == raft_id) else { return Ok(()) };
        if member.voter {
            if members.iter().filter(|member| member.voter).count() == 1 {
                return Err(MembershipError::Last);
            }
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([raft_id]))).await?;
        }
        if self.members().iter().any(|member| member.raft_id == raft_id) {
            self.change(ChangeMembers::RemoveNodes(BTreeSet::from([raft_id]))).await?;
        }
        self.note_removed(raft_id).await
    }

    async fn change(&self, change: ChangeMembers<RaftId, Node>) -> Result<(), MembershipError> {
        let limit = self.settings.timing.request();
        let clock = &self.settings.surroundings.clock;
        let begun = clock.instant();
        loop {
            let left = limit.saturating_sub(clock.instant().saturating_duration_since(begun));
            let result = self.limit(left, self.raft.change_membership(change.clone(), false)).await;
            match result {
                Err(_) => return Err(MembershipError::Timeout("no answer from a majority".into())),
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(CoreError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                    return Err(MembershipError::NotLeader);
                }
                Ok(Err(CoreError::APIError(ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::InProgress(_),
                )))) => clock.sleep(self.settings.timing.scale(100)).await,
                Ok(Err(error)) => return Err(MembershipError::Core(error.to_string())),
            }
        }
    }

    async fn catch_up(&self, raft_id: RaftId) -> Result<(), MembershipError> {
        let target = self.raft.metrics().borrow().last_log_index.unwrap_or(0);
        let wait = self.raft.wait(Some(self.settings.timing.catch_up()));
        let waited = wait.metrics(
            |metrics| {
                let matched = metrics.replication.as_ref().and_then(|r| r.get(&raft_id)).copied().flatten();
                matched.is_some_and(|log_id| log_id.index >= target) || metrics.replication.is_none()
            },
            "the new member has caught up",
        );
        let metrics = waited.await.map_err(|error| MembershipError::Timeout(error.to_string()))?;
        if metrics.replication.is_none() { Err(MembershipError::NotLeader) } else { Ok(()) }
    }

    /// Asks the new manager for what anyone may ask, so that a wrong address is found before it counts for the quorum.
    async fn probe(&self, addr: &str) -> Result<(), MembershipError> {
        let unreachable = |reason: String| MembershipError::Unreachable { addr: addr.to_owned(), reason };
        let channel = self.settings.peers.channel(addr).map_err(|error| unreachable(error.to_string()))?;
        let mut request = Request::new(GetRootCaRequest {});
        request.set_timeout(self.settings.timing.connect());
        match CaClient::new(channel).get_root_ca(request).await {
            Ok(_) => Ok(()),
            Err(status) => {
                self.settings.peers.forget(addr);
                Err(unreachable(crate::wire::explain(&status)))
            }
        }
    }

    async fn note_member(&self, node_id: &str, status: Option<ManagerStatus>) -> Result<(), MembershipError> {
        self.write(|view| {
            let node = view.nodes().get(node_id)?;
            if node.manager_status == status {
                return None;
            }
            let mut node = model::Node::clone(node);
            node.manager_status = status.clone();
            Some(update(node))
        })
        .await
    }

    async fn note_removed(&self, raft_id: RaftId) -> Result<(), MembershipError> {
        self.write(|view| {
            let mut cluster = model::Cluster::clone(view.cluster()?);
            if cluster.removed_raft_ids.contains(&raft_id) {
                return None;
            }
            cluster.removed_raft_ids.push(raft_id);
            let excess = cluster.removed_raft_ids.len().saturating_sub(REMOVED_MAX);
            cluster.removed_raft_ids.drain(..excess);
            Some(update(cluster))
        })
        .await
    }

    async fn write(&self, decide: impl Fn(&crate::store::View) -> Option<StoreAction>) -> Result<(), MembershipError> {
        loop {
            let Some(action) = decide(&self.view()) else { return Ok(()) };
            match self.propose(vec![action]).await {
                Ok(_) => return Ok(()),
                Err(ProposeError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The service `RaftMembership`.
pub(crate) struct MembershipService {
    raft: Arc<RaftNode>,
}

impl MembershipService {
    /// Changes the membership of which `raft` is a member.
    pub(crate) fn new(raft: Arc<RaftNode>) -> Self {
        Self { raft }
    }
}

fn status(error: &MembershipError) -> Status {
    match error {
        MembershipError::NotLeader | MembershipError::Timeout(_) | MembershipError::Store(_) => {
            crate::error::status(Code::Unavailable, ErrorKind::NoQuorum, crate::error::chain(error))
        }
        MembershipError::Removed => Status::aborted(error.to_string()),
        _ => Status::failed_precondition(error.to_string()),
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::unauthenticated("no certificate"))
}

#[tonic::async_trait]
impl RaftMembership for MembershipService {
    async fn join_raft(&self, request: Request<JoinRaftRequest>) -> Result<Response<JoinRaftResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let view = self.raft.view();
        let node = view.nodes().get(caller.node_id.as_str());
        // One that is being demoted must not come back.
        let wanted = |node: &model::Node| node.spec.desired_role == NodeRole::Manager;
        if !node.is_some_and(|node| node.role == NodeRole::Manager && wanted(node)) {
            return Err(Status::permission_denied("this node is not a manager of the swarm"));
        }
        tracing::info!(node = %caller.node_id, addr = request.addr, "a manager joins");
        let node = Node { node_id: caller.node_id.into(), addr: request.addr };
        // The change goes on when the caller hangs up: half a membership change helps nobody.
        let raft = self.raft.clone();
        #[expect(clippy::disallowed_methods, reason = "awaited here; goes on when the caller hangs up")]
        let added = tokio::spawn(async move { raft.add_member(request.raft_id, node).await }).await;
        added.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| status(&error))?;
        let members = self.raft.members().into_iter();
        let members = members.map(|m| RaftMember { raft_id: m.raft_id, node_id: m.node_id, addr: m.addr }).collect();
        let cluster_id = view.cluster().map(|cluster| cluster.id.to_string()).unwrap_or_default();
        Ok(Response::new(JoinRaftResponse { members, cluster_id }))
    }

    async fn leave_raft(&self, request: Request<LeaveRaftRequest>) -> Result<Response<LeaveRaftResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        if caller.node_id != request.node_id {
            return Err(Status::permission_denied("a manager can only take itself out; demote the other one"));
        }
        tracing::info!(node = %caller.node_id, "a manager leaves");
        let raft = self.raft.clone();
        #[expect(clippy::disallowed_methods, reason = "awaited here; goes on when the caller hangs up")]
        let removed = tokio::spawn(async move { raft.remove_node(&request.node_id).await }).await;
        removed.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| status(&error))?;
        Ok(Response::new(LeaveRaftResponse {}))
    }

    async fn take_over(&self, _request: Request<TakeOverRequest>) -> Result<Response<TakeOverResponse>, Status> {
        let raft: &openraft::Raft<TypeConfig> = &self.raft.raft;
        raft.trigger().elect().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(TakeOverResponse {}))
    }
}
