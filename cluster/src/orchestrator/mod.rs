//! Services become tasks: how many, which replace which, and when.
//!
//! One service at a time: [`slots`] groups its tasks, [`replicated`] or [`global`] says which slots there should be,
//! [`restart`] looks after tasks that ended or have to move, and [`update`] replaces the outdated ones step by step.
//! Everything is derived from committed objects, so a new leader goes on where the old one stopped.

pub(crate) mod global;
mod reaper;
pub(crate) mod replicated;
pub(crate) mod restart;
pub(crate) mod slots;
pub(crate) mod task;
pub(crate) mod update;

#[cfg(test)]
pub(crate) use reaper::ORPHAN_AFTER_NS as REAPER_ORPHAN_AFTER_NS;
pub(crate) use reaper::Reaper;

use std::collections::BTreeSet;

use crate::api::StoreAction;
use crate::brain::{Brain, Decision, IdSource};
use crate::model::{Mode, Place, Service, Task, TaskId, TaskState};
use crate::store::{View, update as store_update};

/// The brain that keeps every service's tasks as its specification asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Orchestrator;

impl Brain for Orchestrator {
    fn name(&self) -> &'static str {
        "orchestrator"
    }

    fn decide(&self, view: &View, now_ns: i64, ids: IdSource<'_>) -> Decision {
        let context = Context { view, now_ns, over_capacity: restart::over_capacity(view) };
        let mut decision = Decision::default();
        for service in view.services().values().filter(|s| !s.pending_delete) {
            decide_service(&context, service, ids, &mut decision);
        }
        decision
    }
}

/// What all the decisions of one call share.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The committed state.
    pub view: &'a View,
    /// Nanoseconds since the epoch.
    pub now_ns: i64,
    /// Tasks for whose reservations their nodes have become too small.
    pub over_capacity: BTreeSet<TaskId>,
}

fn decide_service(context: &Context<'_>, service: &Service, ids: IdSource<'_>, decision: &mut Decision) {
    let slots = slots::of_service(context.view, service);
    let plan = match service.spec.mode {
        Mode::Global => global::plan(context, service, slots),
        Mode::Replicated(replicas) => replicated::plan(replicas, slots),
    };
    let (updates, service_change) = update::plan(context, service, &plan.kept, decision);
    if let Some(changed) = service_change {
        decision.change(store_update(changed));
        return;
    }
    for unit in plan.stop {
        decision.changes.push(unit);
    }
    for place in plan.create {
        let waits = context
            .view
            .tasks_of_service(&service.id)
            .any(|t| t.place() == place && slots::may_still_run(context.view, t));
        decision.change(task::create(task::new(context.now_ns, service, &place, waits, ids)));
    }
    for slot in &plan.kept {
        let unit = restart::step(context, service, slot, updates.contains(&slot.place), ids, decision);
        if !unit.is_empty() {
            decision.changes.push(unit);
        }
    }
}

/// Which slots a service should have, against those it has.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    /// Slots that stay.
    pub kept: Vec<slots::Slot<'a>>,
    /// Places to be filled anew.
    pub create: Vec<Place>,
    /// Units that end the tasks of slots that go.
    pub stop: Vec<Vec<StoreAction>>,
}

/// The action that sets a task's desired state.
pub(crate) fn set_desired(task: &Task, desired: TaskState) -> StoreAction {
    let mut task = task.clone();
    task.desired_state = desired;
    store_update(task)
}
