//! Global services: one task on every node that is up, takes tasks and meets the constraints.

use std::collections::BTreeSet;

use super::slots::Slot;
use super::{Context, Plan, replicated, restart, set_desired};
use crate::api::StoreAction;
use crate::model::{Node, Place, Service, TaskState, constraints};

/// Keeps a task on each node that may have one, and adds those that should.
pub(crate) fn plan<'a>(context: &Context<'_>, service: &Service, slots: Vec<Slot<'a>>) -> Plan<'a> {
    let rules = constraints::parse(&service.spec.task.placement.constraints).unwrap_or_default();
    let meets = |node: &Node| rules.iter().all(|rule| rule.matches(node));
    let mut plan = Plan::default();
    let mut filled = BTreeSet::new();
    for slot in slots {
        let Place::Node(node_id) = &slot.place else {
            plan.stop.extend(replicated::remove(&slot));
            continue;
        };
        match context.view.nodes().get(node_id) {
            None => plan.stop.extend(replicated::remove(&slot)),
            Some(node) if node.may_keep_tasks() && meets(node) => {
                if is_filled(&slot) {
                    filled.insert(node_id.clone());
                    plan.kept.push(slot);
                }
            }
            Some(_) => plan.stop.extend(shut_down(&slot)),
        }
    }
    for node in context.view.nodes().values().filter(|node| node.may_take_tasks() && meets(node)) {
        if !filled.contains(&node.id) {
            plan.create.push(Place::Node(node.id.clone()));
        }
    }
    plan
}

/// A task is there, or one ended by itself and its policy wants no other.
fn is_filled(slot: &Slot<'_>) -> bool {
    slot.active().next().is_some()
        || slot.tasks.last().is_some_and(|last| {
            matches!(last.state(), TaskState::Complete | TaskState::Failed | TaskState::Rejected)
                && !restart::wants_restart(last)
        })
}

fn shut_down(slot: &Slot<'_>) -> Vec<Vec<StoreAction>> {
    slot.active().map(|task| vec![set_desired(task, TaskState::Shutdown)]).collect()
}
