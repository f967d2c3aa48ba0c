//! The address of each node's load balancer on the networks that the node carries.

use std::collections::BTreeSet;

use super::addresses::Spaces;
use crate::brain::Decision;
use crate::model::{NetworkId, Node, NodeAttachment, NodeId, PREDEFINED_NETWORKS, TaskState};
use crate::store::{View, update};

/// All nodes that have ever registered are on the ingress network; on others those with a task or a container of it.
pub(super) fn allocate(view: &View, ingress: Option<&NetworkId>, spaces: &mut Spaces, decision: &mut Decision) {
    for node in view.nodes().values() {
        let registered = node.description.is_some();
        let wanted = networks_of(view, &node.id, ingress.filter(|_| registered));
        let mut kept: Vec<NodeAttachment> = Vec::new();
        for attachment in &node.attachments {
            if wanted.contains(&attachment.network_id) && spaces.contains(&attachment.network_id) {
                kept.push(attachment.clone());
            } else {
                spaces.free(&attachment.network_id, &attachment.address);
            }
        }
        let present: BTreeSet<NetworkId> = kept.iter().map(|a| a.network_id.clone()).collect();
        for network in wanted.into_iter().filter(|n| !present.contains(*n)) {
            match spaces.take(network) {
                Ok(address) => kept.push(NodeAttachment { network_id: network.clone(), address }),
                Err(reason) => tracing::debug!(node.id = %node.id, %network, reason, "no load balancer address"),
            }
        }
        if kept != node.attachments {
            decision.change(update(Node { attachments: kept, ..Node::clone(node) }));
        }
    }
}

fn networks_of<'a>(view: &'a View, node: &NodeId, ingress: Option<&'a NetworkId>) -> BTreeSet<&'a NetworkId> {
    let tasks = view
        .tasks_of_node(node)
        .filter(|t| (TaskState::Pending..=TaskState::Running).contains(&t.state()))
        .flat_map(|t| t.networks.iter().map(|n| &n.network_id));
    let containers = view.attachments().values().filter(|a| a.node_id == *node).map(|a| &a.network_id);
    ingress.into_iter().chain(tasks).chain(containers).filter(|n| !PREDEFINED_NETWORKS.contains(&n.as_str())).collect()
}
