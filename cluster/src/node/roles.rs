//! Makes a node's role what its spec desires. Runs on the leader.
//!
//! Up: the role first; the node renews its certificate and asks to be added. Down: out of raft first, then the role.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::model::{Node, NodeRole};
use crate::raft::RaftNode;
use crate::store::{ProposeError, Store, update};
use crate::surroundings::Clock;
use crate::timing::Timing;

/// Works until `stop`.
pub(super) async fn run(raft: Arc<RaftNode>, timing: Timing, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut views = raft.watch();
    loop {
        let nodes: Vec<Arc<Node>> = views.borrow_and_update().nodes().values().cloned().collect();
        let mut failed = false;
        for node in nodes.iter().filter(|node| node.role != node.spec.desired_role) {
            if let Err(reason) = reconcile(&raft, node).await {
                tracing::warn!(node = %node.id, reason, "the node's role is not changed yet");
                failed = true;
            }
            if stop.is_cancelled() {
                return;
            }
        }
        // Cancel safe: all arms only wait.
        tokio::select! {
            () = stop.cancelled() => return,
            changed = views.changed() => if changed.is_err() { return },
            () = clock.sleep(timing.scale(2000)), if failed => {}
        }
        // A failing change must not be tried again at every heartbeat that is noted in the store.
        if failed {
            clock.sleep(timing.scale(500)).await;
        }
    }
}

async fn reconcile(raft: &RaftNode, node: &Node) -> Result<(), String> {
    if node.spec.desired_role == NodeRole::Worker {
        let own = raft.members().iter().any(|m| m.raft_id == raft.id() && node.id == m.node_id);
        if own {
            // The next leader demotes us.
            return raft.hand_over().await.map_err(|error| error.to_string());
        }
        raft.remove_node(&node.id).await.map_err(|error| error.to_string())?;
    }
    set_role(raft, &node.id).await
}

async fn set_role(raft: &RaftNode, id: &str) -> Result<(), String> {
    loop {
        let Some(mut node) = raft.view().nodes().get(id).map(|node| Node::clone(node)) else { return Ok(()) };
        let role = node.spec.desired_role;
        if node.role == role {
            return Ok(());
        }
        node.role = role;
        match raft.propose(vec![update(node)]).await {
            Ok(_) => {
                tracing::info!(node = id, role = role.as_str_name(), "changed the node's role");
                return Ok(());
            }
            Err(ProposeError::Conflict(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}
