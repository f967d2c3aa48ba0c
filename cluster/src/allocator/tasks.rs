//! NEW tasks become PENDING with their addresses; single containers get theirs.

use std::collections::BTreeMap;

use super::addresses::Spaces;
use crate::brain::Decision;
use crate::model::{
    Attachment, Endpoint, NetworkAttachment, NetworkId, PREDEFINED_NETWORKS, ServiceId, Task, TaskState,
};
use crate::store::{View, update};

/// Allocates every NEW task of which the service has its endpoint; the others learn why not.
pub(super) fn allocate(
    view: &View,
    now_ns: i64,
    ingress: Option<&NetworkId>,
    endpoints: &BTreeMap<ServiceId, Result<Endpoint, String>>,
    spaces: &mut Spaces,
    decision: &mut Decision,
) {
    let is_new = |t: &&Task| t.state() == TaskState::New && t.is_wanted();
    let mut tasks: Vec<&Task> = view.tasks().values().map(AsRef::as_ref).filter(is_new).collect();
    tasks.sort_by(|a, b| (a.meta.created_at_ns, a.slot, &a.id).cmp(&(b.meta.created_at_ns, b.slot, &b.id)));
    for task in tasks {
        let Some(endpoint) = endpoints.get(&task.service_id) else { continue };
        let outcome = endpoint.clone().and_then(|endpoint| {
            let current = view.services().get(&task.service_id).is_some_and(|s| s.spec_version == task.spec_version);
            let endpoint = if current { endpoint } else { task.endpoint.clone() };
            Ok((networks(task, &endpoint, ingress, spaces)?, endpoint))
        });
        let changed = match outcome {
            Ok((networks, endpoint)) => {
                let pending = task.advanced(TaskState::Pending, "pending task scheduling", now_ns);
                pending.map(|pending| Task { networks, endpoint, ..pending })
            }
            Err(reason) if task.status.err == reason => None,
            Err(reason) => {
                let mut refused = task.clone();
                refused.status.err = reason;
                Some(refused)
            }
        };
        if let Some(changed) = changed {
            decision.change(update(changed));
        }
    }
}

fn networks(
    task: &Task,
    endpoint: &Endpoint,
    ingress: Option<&NetworkId>,
    spaces: &mut Spaces,
) -> Result<Vec<NetworkAttachment>, String> {
    let mut wanted: Vec<(NetworkId, Vec<String>)> = Vec::new();
    for network in &task.spec.networks {
        if !wanted.iter().any(|(id, _)| id == &network.target) {
            wanted.push((network.target.clone(), network.aliases.clone()));
        }
    }
    if endpoint.ports.iter().any(|p| p.is_ingress()) {
        let ingress = ingress.ok_or("there is no ingress network: create one to publish ports")?;
        wanted.push((ingress.clone(), Vec::new()));
    }
    let mut taken: Vec<NetworkAttachment> = Vec::new();
    for (network_id, aliases) in wanted {
        if PREDEFINED_NETWORKS.contains(&network_id.as_str()) {
            taken.push(NetworkAttachment { network_id, address: String::new(), aliases });
            continue;
        }
        match spaces.take(&network_id) {
            Ok(address) => taken.push(NetworkAttachment { network_id, address, aliases }),
            Err(reason) => {
                taken.iter().for_each(|t| spaces.free(&t.network_id, &t.address));
                return Err(reason);
            }
        }
    }
    Ok(taken)
}

/// Gives each single container its address: the one it asked for, or the next.
pub(super) fn allocate_attachments(view: &View, spaces: &mut Spaces, decision: &mut Decision) {
    for attachment in view.attachments().values().filter(|a| !a.is_allocated()) {
        let outcome = if attachment.address.is_empty() {
            spaces.take(&attachment.network_id)
        } else {
            spaces.take_this(&attachment.network_id, &attachment.address)
        };
        let mut changed = Attachment::clone(attachment);
        match outcome {
            Ok(address) => {
                changed.address = address;
                changed.allocation_error.clear();
            }
            Err(reason) => changed.allocation_error = reason,
        }
        if changed != **attachment {
            decision.change(update(changed));
        }
    }
}
