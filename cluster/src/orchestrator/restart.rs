//! What happens within one slot: tasks that ended are replaced as the restart policy says, tasks whose node is lost,
//! drained or unfit are made elsewhere, waiting tasks are let go, and an update replaces what it chose.
//!
//! **Invariant:** a task that replaces another is READY until the other has stopped, unless the update's order is
//! start-first or nobody can know (node down, or no answer for [`STOP_WAIT_NS`]).

use std::collections::BTreeSet;

use skep_common::duration::SECOND_NS;

use super::slots::{Slot, may_still_run};
use super::task::{create, new};
use super::{Context, set_desired};
use crate::api::StoreAction;
use crate::brain::{Decision, IdSource};
use crate::model::{
    NodeAvailability, Phase, RESTART_DELAY_DEFAULT_NS, RestartCondition, Service, Task, TaskId, TaskState, UpdateOrder,
    constraints, is_dirty,
};
use crate::store::{View, update};

/// How long a replacement waits for the old task to stop, at least.
pub(crate) const STOP_WAIT_NS: i64 = 60 * SECOND_NS;

/// Restarts of the slot that count against the policy's limit at the time when `task` ended.
fn counted_restarts(task: &Task) -> Vec<i64> {
    let window = task.spec.restart_policy().window_ns;
    let since = if window > 0 { task.applied_at_ns() - window } else { i64::MIN };
    task.restarts_ns.iter().copied().filter(|&at| at >= since).collect()
}

/// Whether the policy lets a task that ended (or lost its node) be replaced. The answer does not change with time.
pub(crate) fn wants_restart(task: &Task) -> bool {
    let policy = task.spec.restart_policy();
    let ended = task.state() > TaskState::Running && task.state() != TaskState::Orphaned;
    match policy.condition {
        RestartCondition::None => return false,
        RestartCondition::OnFailure if task.state() == TaskState::Complete => return false,
        _ => {}
    }
    !ended || policy.max_attempts == 0 || (counted_restarts(task).len() as u64) < policy.max_attempts
}

/// Why a task that has not ended cannot stay where it is.
pub(crate) fn must_move(context: &Context<'_>, task: &Task) -> Option<&'static str> {
    if task.node_id.is_empty() {
        return None;
    }
    let Some(node) = context.view.nodes().get(&task.node_id) else { return Some("its node was removed") };
    if node.is_down() {
        return Some("its node is down");
    }
    match node.spec.availability {
        NodeAvailability::Drain => return Some("its node is drained"),
        NodeAvailability::Pause => return None,
        NodeAvailability::Active => {}
    }
    let rules = &task.spec.placement.constraints;
    if !rules.is_empty() && constraints::parse(rules).is_ok_and(|rules| !rules.iter().all(|r| r.matches(node))) {
        return Some("its node no longer meets the constraints");
    }
    context.over_capacity.contains(&task.id).then_some("its node no longer has the reserved resources")
}

/// Tasks whose reservations exceed what their node has now; the oldest stay.
pub(crate) fn over_capacity(view: &View) -> BTreeSet<TaskId> {
    let mut evicted = BTreeSet::new();
    for node in view.nodes().values() {
        let Some(total) = node.resources() else { continue };
        let mut tasks: Vec<_> = view
            .tasks_of_node(&node.id)
            .filter(|t| t.is_wanted() && t.state() <= TaskState::Running)
            .map(|t| (t, &t.spec.resources.reservations))
            .collect();
        tasks.sort_by(|(a, _), (b, _)| (a.meta.created_at_ns, &a.id).cmp(&(b.meta.created_at_ns, &b.id)));
        let (mut cpus, mut memory) = (0_i64, 0_i64);
        for (task, reserved) in tasks {
            if cpus + reserved.nano_cpus > total.nano_cpus || memory + reserved.memory_bytes > total.memory_bytes {
                evicted.insert(task.id.clone());
            } else {
                cpus += reserved.nano_cpus;
                memory += reserved.memory_bytes;
            }
        }
    }
    evicted
}

/// The changes of one slot that stays; `replace` when the update has chosen it.
pub(crate) fn step(
    context: &Context<'_>,
    service: &Service,
    slot: &Slot<'_>,
    replace: bool,
    ids: IdSource<'_>,
    decision: &mut Decision,
) -> Vec<StoreAction> {
    let active: Vec<&Task> = slot.active().collect();
    if replace {
        return replaced(context, service, slot, &active, ids);
    }
    let Some((newest, older)) = active.split_last() else { return Vec::new() };
    let lost = |task: &Task| task.state() > TaskState::Running || must_move(context, task).is_some();
    let stop = |tasks: &[&Task]| tasks.iter().map(|t| set_desired(t, TaskState::Shutdown)).collect::<Vec<_>>();
    if lost(newest) {
        // Start-first: what still runs is better than what failed.
        if older.iter().any(|t| !lost(t)) {
            return stop(&[newest]);
        }
        // One that failed while it still waited (its image is not there, say) uses up its own delay first.
        if newest.state() > TaskState::Running && context.now_ns < newest.not_before_ns {
            decision.wake(newest.not_before_ns);
            return Vec::new();
        }
        let mut unit = stop(&active);
        if wants_restart(newest) {
            unit.push(create(replacement(context, service, slot, newest, ids)));
        }
        return unit;
    }
    if !older.is_empty() && newest.state() == TaskState::Running {
        return stop(older);
    }
    let failed: Vec<&Task> = older.iter().copied().filter(|t| lost(t)).collect();
    if !failed.is_empty() {
        return stop(&failed);
    }
    if newest.desired_state == TaskState::Ready {
        return release(context, slot, newest, decision).into_iter().collect();
    }
    Vec::new()
}

fn replaced(
    context: &Context<'_>,
    service: &Service,
    slot: &Slot<'_>,
    active: &[&Task],
    ids: IdSource<'_>,
) -> Vec<StoreAction> {
    let order = service.phase().config().map_or(UpdateOrder::StopFirst, |c| c.order);
    let start_first = order == UpdateOrder::StartFirst && slot.is_running();
    let mut unit = Vec::new();
    if !start_first {
        unit.extend(active.iter().map(|t| set_desired(t, TaskState::Shutdown)));
    }
    let waits = !start_first && slot.tasks.iter().any(|t| may_still_run(context.view, t));
    unit.push(create(new(context.now_ns, service, &slot.place, waits, ids)));
    unit
}

fn replacement(context: &Context<'_>, service: &Service, slot: &Slot<'_>, old: &Task, ids: IdSource<'_>) -> Task {
    let moved = old.state() <= TaskState::Running || old.state() == TaskState::Orphaned;
    let delay = if moved { 0 } else { old.spec.restart_policy().delay_ns.unwrap_or(RESTART_DELAY_DEFAULT_NS).max(0) };
    let waits = delay > 0 || slot.tasks.iter().any(|t| may_still_run(context.view, t));
    let mut task = new(context.now_ns, service, &slot.place, waits, ids);
    task.not_before_ns = if delay > 0 { context.now_ns + delay } else { 0 };
    let node = context.view.nodes().get(&old.node_id).map(AsRef::as_ref);
    if service.phase() == Phase::Paused && is_dirty(service, old, node) {
        // A paused update spreads no further through restarts.
        task.spec.clone_from(&old.spec);
        task.spec_version = old.spec_version;
        task.endpoint.clone_from(&old.endpoint);
    }
    let max_attempts = old.spec.restart_policy().max_attempts;
    if max_attempts > 0 && task.spec_version == old.spec_version {
        task.restarts_ns = counted_restarts(old);
        if !moved {
            task.restarts_ns.push(context.now_ns);
        }
    }
    task
}

/// Lets a waiting task run once its time has come and its predecessors have stopped.
fn release(context: &Context<'_>, slot: &Slot<'_>, task: &Task, decision: &mut Decision) -> Option<StoreAction> {
    if context.now_ns < task.not_before_ns {
        decision.wake(task.not_before_ns);
        return None;
    }
    let mut deadline = task.meta.created_at_ns;
    for other in slot.tasks.iter().filter(|other| other.id != task.id && may_still_run(context.view, other)) {
        let wait = STOP_WAIT_NS.max(other.spec.grace_ns().saturating_add(15 * SECOND_NS));
        deadline = deadline.max(task.meta.created_at_ns.saturating_add(wait));
    }
    // Tasks of a slot number that was scaled away and is used again.
    let scaled_away = context.view.tasks_of_service(&task.service_id).any(|other| {
        other.desired_state == TaskState::Remove && other.place() == slot.place && may_still_run(context.view, other)
    });
    if scaled_away {
        deadline = deadline.max(task.meta.created_at_ns.saturating_add(STOP_WAIT_NS));
    }
    if context.now_ns < deadline {
        decision.wake(deadline);
        return None;
    }
    let mut task = task.clone();
    task.desired_state = TaskState::Running;
    Some(update(task))
}
