//! The address of each node's load balancer on the networks that the node carries.

use std::collections::BTreeSet;

use super::addresses::Spaces;
use crate::api::{Node, NodeAttachment, TaskState, object};
use crate::brain::Decision;
use crate::model::PREDEFINED_NETWORKS;
use crate::store::{View, update};

/// All nodes that have ever registered are on the ingress network; on others those with a task or a container of it.
pub fn allocate(view: &View, ingress: Option<&str>, spaces: &mut Spaces, decision: &mut Decision) {
    for node in view.nodes().values() {
        let registered = node.description.is_some();
        let wanted = networks_of(view, &node.id, ingress.filter(|_| registered));
        let mut kept: Vec<NodeAttachment> = Vec::new();
        for attachment in &node.attachments {
            if wanted.contains(attachment.network_id.as_str()) && spaces.contains(&attachment.network_id) {
                kept.push(attachment.clone());
            } else {
                spaces.free(&attachment.network_id, &attachment.address);
            }
        }
        let present: BTreeSet<String> = kept.iter().map(|a| a.network_id.clone()).collect();
        for network in wanted.into_iter().filter(|n| !present.contains(*n)) {
            match spaces.take(network) {
                Ok(address) => kept.push(NodeAttachment { network_id: network.to_owned(), address }),
                Err(reason) => tracing::debug!(node.id, network, reason, "no load balancer address"),
            }
        }
        if kept != node.attachments {
            decision.change(update(object::Object::Node(Node { attachments: kept, ..Node::clone(node) })));
        }
    }
}

fn networks_of<'a>(view: &'a View, node: &str, ingress: Option<&'a str>) -> BTreeSet<&'a str> {
    let tasks = view
        .tasks_of_node(node)
        .filter(|t| (TaskState::Pending..=TaskState::Running).contains(&t.state()))
        .flat_map(|t| t.networks.iter().map(|n| n.network_id.as_str()));
    let containers = view.attachments().values().filter(|a| a.node_id == node).map(|a| a.network_id.as_str());
    ingress.into_iter().chain(tasks).chain(containers).filter(|n| !PREDEFINED_NETWORKS.contains(n)).collect()
}
