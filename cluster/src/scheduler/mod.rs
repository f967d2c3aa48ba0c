//! PENDING tasks get a node: one that passes every filter and, among those, the one with the least of the service.
//!
//! All tasks of a service version are placed together, over counts kept in memory while deciding, so that thousands
//! of tasks cost little more than one. A task that can go nowhere keeps the reason in its status.

pub(crate) mod filters;
pub(crate) mod nodes;
mod rank;

use std::collections::BTreeMap;

use crate::brain::{Brain, Decision, IdSource};
use crate::model::{NodeId, ServiceId, Task, TaskState};
use crate::store::{View, update};
use filters::{Filter, explain};
use nodes::NodeInfo;

/// The brain that places tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheduler;

impl Brain for Scheduler {
    fn name(&self) -> &'static str {
        "scheduler"
    }

    fn decide(&self, view: &View, now_ns: i64, _: IdSource<'_>) -> Decision {
        let mut decision = Decision::default();
        let mut groups: BTreeMap<(&ServiceId, u64), Vec<&Task>> = BTreeMap::new();
        let is_pending = |t: &&Task| t.state() == TaskState::Pending && t.is_wanted();
        for task in view.tasks().values().map(AsRef::as_ref).filter(is_pending) {
            groups.entry((&task.service_id, task.spec_version)).or_default().push(task);
        }
        if groups.is_empty() {
            return decision;
        }
        let mut nodes = nodes::survey(view, now_ns);
        for tasks in groups.into_values() {
            let (bound, free): (Vec<&Task>, Vec<&Task>) = tasks.into_iter().partition(|t| !t.node_id.is_empty());
            for task in bound {
                confirm(task, &mut nodes, now_ns, &mut decision);
            }
            place(free, &mut nodes, now_ns, &mut decision);
        }
        decision
    }
}

/// A global task has its node already; it only has to fit.
fn confirm(task: &Task, nodes: &mut BTreeMap<NodeId, NodeInfo>, now_ns: i64, decision: &mut Decision) {
    let Some(info) = nodes.get_mut(&task.node_id) else { return };
    match Filter::new(task).refuse(info) {
        None => {
            let Some(assigned) = assigned(task, &info.node.id, now_ns) else { return };
            info.add(&assigned);
            decision.change(update(assigned));
        }
        Some(refusal) => refuse(task, explain([refusal]), decision),
    }
}

fn place(mut tasks: Vec<&Task>, nodes: &mut BTreeMap<NodeId, NodeInfo>, now_ns: i64, decision: &mut Decision) {
    let Some(first) = tasks.first() else { return };
    let filter = Filter::new(first);
    let mut queue = rank::Queue::new(first, nodes, &filter);
    tasks.sort_by(|a, b| (a.slot, &a.id).cmp(&(b.slot, &b.id)));
    let mut reason = None;
    for task in tasks {
        let Some(info) = queue.next(nodes, &filter) else {
            let reason = reason.get_or_insert_with(|| explain(nodes.values().filter_map(|n| filter.refuse(n))));
            refuse(task, reason.clone(), decision);
            continue;
        };
        let Some(assigned) = assigned(task, &info.node.id, now_ns) else { continue };
        info.add(&assigned);
        queue.placed(info);
        decision.change(update(assigned));
    }
}

fn assigned(task: &Task, node: &NodeId, now_ns: i64) -> Option<Task> {
    let task = task.advanced(TaskState::Assigned, "scheduler assigned task to node", now_ns)?;
    Some(Task { node_id: node.clone(), ..task })
}

fn refuse(task: &Task, reason: String, decision: &mut Decision) {
    if task.status.err == reason {
        return;
    }
    let mut task = task.clone();
    task.status.err = reason;
    decision.change(update(task));
}
