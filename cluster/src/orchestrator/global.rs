//! Global services: one task on every node that is up, takes tasks and meets the constraints.

use std::collections::BTreeSet;

use super::slots::{Key, Slot, state};
use super::{Context, Plan, replicated, restart, set_desired};
use crate::api::{Node, NodeAvailability, NodeState, Service, StoreAction, TaskState};
use crate::scheduler::constraints;

/// Keeps a task on each node that may have one, and adds those that should.
pub fn plan<'a>(context: &Context<'_>, service: &Service, slots: Vec<Slot<'a>>) -> Plan<'a> {
    let task = service.spec.as_ref().and_then(|s| s.task.as_ref());
    let rules = task.and_then(|t| t.placement.as_ref()).map(|p| p.constraints.as_slice()).unwrap_or_default();
    let rules = constraints::parse(rules).unwrap_or_default();
    let meets = |node: &Node| rules.iter().all(|rule| rule.matches(node));
    let mut plan = Plan::default();
    let mut filled = BTreeSet::new();
    for slot in slots {
        let Key::Node(node_id) = &slot.key else {
            plan.stop.extend(replicated::remove(&slot));
            continue;
        };
        match context.view.nodes().get(node_id) {
            None => plan.stop.extend(replicated::remove(&slot)),
            Some(node) if may_keep(node) && meets(node) => {
                if is_filled(&slot) {
                    filled.insert(node_id.clone());
                    plan.kept.push(slot);
                }
            }
            Some(_) => plan.stop.extend(shut_down(&slot)),
        }
    }
    for node in context.view.nodes().values().filter(|node| may_take(node) && meets(node)) {
        if !filled.contains(&node.id) {
            plan.create.push(Key::Node(node.id.clone()));
        }
    }
    plan
}

fn availability(node: &Node) -> NodeAvailability {
    node.spec.as_ref().map_or(NodeAvailability::Active, |s| s.availability())
}

fn node_state(node: &Node) -> NodeState {
    node.status.as_ref().map_or(NodeState::Unknown, |s| s.state())
}

fn may_keep(node: &Node) -> bool {
    node_state(node) != NodeState::Down && availability(node) != NodeAvailability::Drain
}

fn may_take(node: &Node) -> bool {
    node_state(node) == NodeState::Ready && availability(node) == NodeAvailability::Active
}

/// A task is there, or one ended by itself and its policy wants no other.
fn is_filled(slot: &Slot<'_>) -> bool {
    slot.active().next().is_some()
        || slot.tasks.last().is_some_and(|last| {
            matches!(state(last), TaskState::Complete | TaskState::Failed | TaskState::Rejected)
                && !restart::wants_restart(last)
        })
}

fn shut_down(slot: &Slot<'_>) -> Vec<Vec<StoreAction>> {
    slot.active().map(|task| vec![set_desired(task, TaskState::Shutdown)]).collect()
}
