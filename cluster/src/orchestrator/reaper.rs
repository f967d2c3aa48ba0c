//! Removes what is over: history beyond the limit, tasks and services that were asked to go, networks without users,
//! and what belonged to nodes that were removed or have been down for a day.

use std::collections::BTreeSet;

use skep_common::duration::SECOND_NS;

use super::slots::{Slot, may_still_run, of_service};
use crate::api::ObjectKind;
use crate::brain::{Brain, Decision, IdSource};
use crate::model::{Cluster, HISTORY_DEFAULT, Service, Task, TaskState};
use crate::store::{View, remove, update};

/// After so long without its node, a task is given up.
pub(crate) const ORPHAN_AFTER_NS: i64 = 24 * 3600 * SECOND_NS;

/// The brain that cleans up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaper;

impl Brain for Reaper {
    fn name(&self) -> &'static str {
        "reaper"
    }

    fn decide(&self, view: &View, now_ns: i64, _: IdSource<'_>) -> Decision {
        let mut decision = Decision::default();
        let mut done = BTreeSet::new();
        for task in view.tasks().values() {
            if is_removable(task) {
                decision.change(remove(ObjectKind::Task, task.id.as_str()));
                done.insert(task.id.as_str());
            } else if let Some(changed) = orphaned(view, task, now_ns, &mut decision) {
                decision.change(update(changed));
                done.insert(task.id.as_str());
            } else if !task.service_id.is_empty()
                && task.desired_state != TaskState::Remove
                && view.services().get(&task.service_id).is_none_or(|s| s.pending_delete)
            {
                decision.change(super::set_desired(task, TaskState::Remove));
                done.insert(task.id.as_str());
            }
        }
        let limit = view.cluster().map_or(HISTORY_DEFAULT, |cluster| Cluster::history_limit(cluster));
        for service in view.services().values() {
            if service.pending_delete {
                if view.tasks_of_service(&service.id).all(|t| !may_still_run(view, t)) {
                    decision.change(remove(ObjectKind::Service, service.id.as_str()));
                }
            } else if limit >= 0 {
                for task in history(view, service, limit) {
                    if done.insert(task.id.as_str()) {
                        decision.change(remove(ObjectKind::Task, task.id.as_str()));
                    }
                }
            }
        }
        for network in view.networks().values().filter(|n| n.pending_delete && !is_used(view, &n.id)) {
            decision.change(remove(ObjectKind::Network, network.id.as_str()));
        }
        for attachment in view.attachments().values() {
            if !view.nodes().contains_key(&attachment.node_id) || !view.networks().contains_key(&attachment.network_id)
            {
                decision.change(remove(ObjectKind::Attachment, attachment.id.as_str()));
            }
        }
        decision
    }
}

/// It was asked to be removed and has no container that could run.
fn is_removable(task: &Task) -> bool {
    task.desired_state == TaskState::Remove && (task.state() < TaskState::Assigned || task.state() > TaskState::Running)
}

/// The task as orphaned, if its node will not tell its end any more.
fn orphaned(view: &View, task: &Task, now_ns: i64, decision: &mut Decision) -> Option<Task> {
    if task.node_id.is_empty() || task.state() > TaskState::Running {
        return None;
    }
    if let Some(node) = view.nodes().get(&task.node_id) {
        if !node.is_down() || node.status.since_ns == 0 {
            return None;
        }
        let due = node.status.since_ns.saturating_add(ORPHAN_AFTER_NS);
        if now_ns < due {
            decision.wake(due);
            return None;
        }
    }
    let message = "task orphaned: its node left or has been down for a day";
    let mut orphan = task.advanced(TaskState::Orphaned, message, now_ns)?;
    // Why it did not run is worth knowing still.
    orphan.status.err.clone_from(&task.status.err);
    if task.slot == 0 && !view.nodes().contains_key(&task.node_id) {
        orphan.desired_state = TaskState::Remove;
    }
    Some(orphan)
}

/// The oldest tasks beyond the limit of their slot; never one that may run or stands for its slot.
fn history<'a>(view: &'a View, service: &Service, limit: i64) -> Vec<&'a Task> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // An update judges by the tasks that it replaced.
    let limit = if service.phase().is_active() { limit.max(2) } else { limit };
    let mut surplus = Vec::new();
    for slot in of_service(view, service) {
        let head = slot.head().map(|t| t.id.as_str());
        let limit = slot_limit(&slot, limit);
        let mut dead: Vec<&Task> = slot
            .tasks
            .iter()
            .copied()
            .filter(|t| t.desired_state > TaskState::Running && Some(t.id.as_str()) != head)
            .filter(|t| t.state() > TaskState::Running || t.state() < TaskState::Assigned)
            .collect();
        dead.sort_by_key(|t| (t.applied_at_ns(), t.id.clone()));
        let excess = slot.tasks.len().saturating_sub(limit).min(dead.len());
        surplus.extend(dead.into_iter().take(excess));
    }
    surplus
}

/// With a limit of restarts, all of them can be looked at.
fn slot_limit(slot: &Slot<'_>, limit: usize) -> usize {
    match slot.head().map_or(0, |task| task.spec.restart_policy().max_attempts) {
        0 => limit,
        attempts => usize::try_from(attempts).unwrap_or(usize::MAX).saturating_add(1).min(limit.max(100)),
    }
}

fn is_used(view: &View, network: &str) -> bool {
    let by_service = view.services().values().any(|service| !service.pending_delete && service.is_on(network));
    by_service
        || view.attachments().values().any(|a| a.network_id == *network && view.nodes().contains_key(&a.node_id))
        || view.tasks().values().any(|t| may_still_run(view, t) && t.is_on(network))
}
