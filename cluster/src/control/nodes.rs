//! Nodes: what is stored of them, and how raft sees the managers among them.

use skep_common::duration::SECOND_NS;
use tonic::Request;

use super::{ControlService, out_of_sequence, refs};
use crate::api::{
    self, GetNodeRequest, GetNodeResponse, ListNodesRequest, ListNodesResponse, ObjectKind, RemoveNodeRequest,
    RemoveNodeResponse, UpdateNodeRequest, UpdateNodeResponse,
};
use crate::ca::refuse_until;
use crate::error::Error;
use crate::model::{Cluster, Node, NodeRole, NodeSpec, NodeState, Reachability};
use crate::store::{View, remove, update};

impl ControlService {
    pub(super) async fn list_nodes(&self, _: Request<ListNodesRequest>) -> Result<ListNodesResponse, Error> {
        let view = self.read().await?;
        Ok(ListNodesResponse { nodes: view.nodes().values().map(|node| self.with_raft(node)).collect() })
    }

    pub(super) async fn get_node(&self, request: Request<GetNodeRequest>) -> Result<GetNodeResponse, Error> {
        let view = self.read().await?;
        let node = refs::node(&view, &request.into_inner().r#ref)?;
        Ok(GetNodeResponse { node: Some(self.with_raft(&node)) })
    }

    pub(super) async fn update_node(&self, request: Request<UpdateNodeRequest>) -> Result<UpdateNodeResponse, Error> {
        let request = request.into_inner();
        let spec = request.spec.ok_or_else(|| Error::bad_argument("no node specification given"))?;
        let spec = NodeSpec::from(spec);
        let id = self
            .write(|view| {
                let mut node = Node::clone(&*refs::node(view, &request.r#ref)?);
                if node.meta.version != request.version {
                    return Err(out_of_sequence());
                }
                let demoted = node.spec.desired_role == NodeRole::Manager && spec.desired_role == NodeRole::Worker;
                if demoted {
                    self.check_demotion(view, &node)?;
                }
                node.spec = spec.clone();
                let id = node.id.clone();
                Ok((vec![update(node)], id))
            })
            .await?;
        let view = self.store.view();
        Ok(UpdateNodeResponse { node: view.nodes().get(&id).map(|node| self.with_raft(node)) })
    }

    pub(super) async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Result<RemoveNodeResponse, Error> {
        let request = request.into_inner();
        let id = self
            .write(|view| {
                let node = refs::node(view, &request.r#ref)?;
                if self.is_member(&node.id) {
                    return Err(Error::conflict(format!(
                        "node {} is a cluster manager and is a member of the raft cluster. It must be demoted to worker \
                         before removal",
                        node.id
                    )));
                }
                if node.status.state == NodeState::Ready && !request.force {
                    return Err(Error::conflict(format!(
                        "node {} is not down and can't be removed",
                        node.id
                    )));
                }
                let mut actions = vec![remove(ObjectKind::Node, node.id.as_str())];
                if let Some(cluster) = view.cluster() {
                    let mut cluster = Cluster::clone(cluster);
                    let now_ns = self.surroundings.clock.now_ns();
                    let now = now_ns / SECOND_NS;
                    cluster.blacklisted_nodes.retain(|_, until| *until > now);
                    cluster.blacklisted_nodes.insert(node.id.clone(), refuse_until(&cluster, now_ns));
                    actions.push(update(cluster));
                }
                Ok((actions, node.id.clone()))
            })
            .await?;
        Ok(RemoveNodeResponse { id: id.into() })
    }

    fn is_member(&self, node_id: &str) -> bool {
        self.raft.as_ref().is_some_and(|raft| raft.members().iter().any(|member| member.node_id == node_id))
    }

    fn check_demotion(&self, view: &View, node: &Node) -> Result<(), Error> {
        let others =
            view.nodes().values().filter(|other| other.id != node.id && other.spec.desired_role == NodeRole::Manager);
        if others.count() == 0 {
            return Err(Error::conflict("attempting to demote the last manager of the swarm"));
        }
        let Some(raft) = &self.raft else { return Ok(()) };
        let members = raft.members();
        let remaining: Vec<_> = members.iter().filter(|m| m.voter && node.id != m.node_id).collect();
        let reachable = remaining.iter().filter(|m| raft.is_reachable(m.raft_id)).count();
        if reachable < remaining.len() / 2 + 1 {
            return Err(Error::conflict("can't remove member from the raft: this would result in a loss of quorum"));
        }
        Ok(())
    }

    /// Who leads and who is reachable is never stored: raft knows it best. That a manager has its vote is noted when the
    /// change of the membership is through: whoever counted on it before could stop one manager too many.
    fn with_raft(&self, node: &Node) -> api::Node {
        let mut node = node.clone();
        let Some(raft) = &self.raft else { return node.into() };
        let member = raft.members().into_iter().find(|member| member.voter && node.id == member.node_id);
        node.manager_status = match (member, node.manager_status.take()) {
            (Some(member), Some(mut status)) if status.raft_id == member.raft_id => {
                status.addr = member.addr;
                status.leader = member.raft_id == raft.id();
                status.set_reachability(match raft.is_reachable(member.raft_id) {
                    true => Reachability::Reachable,
                    false => Reachability::Unreachable,
                });
                Some(status)
            }
            _ => None,
        };
        node.into()
    }
}
