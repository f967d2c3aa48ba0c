//! Rolling updates: which outdated slots are replaced now, and how the update as a whole stands.
//!
//! Nothing is remembered between calls. An *attempt* is a task of the service's present specification that was
//! created since the update began; what became of the attempts says how many slots are busy, settled and failed.

use std::collections::BTreeSet;

use skep_common::duration::SECOND_NS;

use super::Context;
use super::slots::Slot;
use crate::brain::Decision;
use crate::model::{
    MONITOR_DEFAULT_NS, Phase, Place, RESTART_DELAY_DEFAULT_NS, Service, Task, TaskState, UpdateConfig,
    UpdateFailureAction, UpdateState, UpdateStatus, is_dirty,
};

/// The slots to replace now, or else the service with its update in another phase.
pub(crate) fn plan(
    context: &Context<'_>,
    service: &Service,
    slots: &[Slot<'_>],
    decision: &mut Decision,
) -> (BTreeSet<Place>, Option<Service>) {
    let dirty = |slot: &Slot<'_>| {
        slot.head()
            .is_some_and(|task| is_dirty(service, task, context.view.nodes().get(&task.node_id).map(AsRef::as_ref)))
    };
    match service.phase() {
        Phase::Paused => (BTreeSet::new(), None),
        Phase::Idle if slots.iter().any(dirty) => {
            let status = UpdateStatus {
                state: UpdateState::Updating,
                started_at_ns: context.now_ns,
                completed_at_ns: 0,
                message: "update in progress".into(),
            };
            (BTreeSet::new(), Some(Service { update_status: Some(status), ..service.clone() }))
        }
        Phase::Idle => (BTreeSet::new(), None),
        Phase::Active { config, rollback } => {
            let progress: Vec<Progress<'_>> =
                slots.iter().map(|slot| Progress::of(context, service, slot, &config, dirty(slot))).collect();
            if let Some(changed) = after_failure(context, service, &progress, &config, rollback) {
                return (BTreeSet::new(), Some(changed));
            }
            advance(context, service, &progress, &config, rollback, decision)
        }
    }
}

/// How far the update has come in one slot.
struct Progress<'a> {
    slot: &'a Slot<'a>,
    dirty: bool,
    attempted: bool,
    /// First attempt that ended too soon.
    failure: Option<&'a Task>,
    /// It occupies a place of the parallelism; until when, if known.
    busy: Option<Option<i64>>,
    /// When the slot is beyond doubt; `None` while it is not even running.
    settled_at: Option<i64>,
}

impl<'a> Progress<'a> {
    fn of(
        context: &Context<'_>,
        service: &Service,
        slot: &'a Slot<'a>,
        config: &UpdateConfig,
        dirty: bool,
    ) -> Progress<'a> {
        let started_at = service.update_started_at_ns();
        let monitor = config.monitor_ns.unwrap_or(MONITOR_DEFAULT_NS);
        let watch = if config.delay_ns > monitor { config.delay_ns.saturating_add(SECOND_NS) } else { monitor };
        let is_attempt = |t: &Task| t.spec_version == service.spec_version && t.meta.created_at_ns >= started_at;
        let attempts: Vec<&Task> = slot.tasks.iter().copied().filter(|t| is_attempt(t)).collect();
        let failure = attempts.iter().copied().find(|t| failed_early(t, monitor));
        let updates = slot.tasks.iter().any(|t| t.spec_version != service.spec_version);
        let last = attempts.last().copied();
        let ended = |t: &Task| t.state() > TaskState::Running;
        let (busy_until, settled_at) = match (failure, last) {
            (Some(failed), _) => {
                (Some(failed.applied_at_ns().saturating_add(config.delay_ns)), Some(failed.applied_at_ns()))
            }
            (None, None) => (Some(0), Some(0)),
            (None, Some(task)) if ended(task) => (Some(0), Some(task.applied_at_ns())),
            (None, Some(task)) if task.state() == TaskState::Running => {
                let since = task.status.running_at_ns;
                (Some(since.saturating_add(config.delay_ns)), Some(since.saturating_add(watch)))
            }
            (None, Some(_)) => (None, None),
        };
        let is_busy = updates && busy_until.is_none_or(|until| until > context.now_ns);
        Progress {
            slot,
            dirty,
            attempted: !attempts.is_empty(),
            failure,
            busy: is_busy.then_some(busy_until),
            settled_at: if updates { settled_at } else { Some(settled_at.unwrap_or(0)) },
        }
    }

    /// A slot whose attempt failed is tried again only after the restart delay.
    fn retry_at(&self) -> i64 {
        let failed = self.slot.tasks.iter().filter(|_| self.failure.is_some()).map(|t| t.applied_at_ns()).max();
        failed.map_or(0, |at| at.saturating_add(RESTART_DELAY_DEFAULT_NS))
    }
}

/// It ended by itself, before or within `monitor` after it ran.
fn failed_early(task: &Task, monitor: i64) -> bool {
    matches!(task.state(), TaskState::Complete | TaskState::Failed | TaskState::Rejected)
        && (task.status.running_at_ns == 0 || task.applied_at_ns() - task.status.running_at_ns <= monitor)
}

fn after_failure(
    context: &Context<'_>,
    service: &Service,
    progress: &[Progress<'_>],
    config: &UpdateConfig,
    rollback: bool,
) -> Option<Service> {
    let failed: Vec<&Task> = progress.iter().filter_map(|p| p.failure).collect();
    let total = progress.iter().filter(|p| p.dirty || p.attempted).count();
    #[allow(clippy::cast_precision_loss)]
    let ratio = failed.len() as f32 / total.max(1) as f32;
    let culprit = failed.first()?;
    if ratio <= config.max_failure_ratio {
        return None;
    }
    let mut service = service.clone();
    let started_at_ns = service.update_started_at_ns();
    let because = format!("due to failure or early termination of task {}", culprit.id);
    let status = |state: UpdateState, started_at_ns, message| {
        Some(UpdateStatus { state, started_at_ns, completed_at_ns: 0, message })
    };
    match config.failure_action {
        UpdateFailureAction::Continue => return None,
        UpdateFailureAction::Rollback if !rollback && service.previous_spec.is_some() => {
            service.spec = service.previous_spec.take().unwrap_or_default();
            service.previous_spec_version = 0;
            service.spec_version = context.view.version() + 1;
            let message = format!("update rolled back {because}");
            service.update_status = status(UpdateState::RollbackStarted, context.now_ns, message);
        }
        // A rollback that fails is never rolled back again.
        _ if rollback => {
            let message = format!("rollback paused {because}");
            service.update_status = status(UpdateState::RollbackPaused, started_at_ns, message);
        }
        _ => {
            let message = format!("update paused {because}");
            service.update_status = status(UpdateState::Paused, started_at_ns, message);
        }
    }
    Some(service)
}

fn advance(
    context: &Context<'_>,
    service: &Service,
    progress: &[Progress<'_>],
    config: &UpdateConfig,
    rollback: bool,
    decision: &mut Decision,
) -> (BTreeSet<Place>, Option<Service>) {
    let mut places = match usize::try_from(config.parallelism) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(places) => places,
    };
    for until in progress.iter().filter_map(|p| p.busy) {
        places = places.saturating_sub(1);
        if let Some(until) = until {
            decision.wake(until);
        }
    }
    // What does not run anyway goes first; what failed before goes last.
    let mut waiting: Vec<&Progress<'_>> = progress.iter().filter(|p| p.dirty && p.busy.is_none()).collect();
    if waiting.is_empty() {
        return finish(context, service, progress, rollback, decision);
    }
    waiting.sort_by_key(|p| (p.failure.is_some(), p.slot.is_running(), p.slot.place.clone()));
    let mut chosen = BTreeSet::new();
    for each in waiting.into_iter().take(places) {
        if each.retry_at() > context.now_ns {
            decision.wake(each.retry_at());
        } else {
            chosen.insert(each.slot.place.clone());
        }
    }
    (chosen, None)
}

/// Ends the update when every slot is replaced and has stood the test.
fn finish(
    context: &Context<'_>,
    service: &Service,
    progress: &[Progress<'_>],
    rollback: bool,
    decision: &mut Decision,
) -> (BTreeSet<Place>, Option<Service>) {
    if progress.iter().any(|p| p.dirty || p.settled_at.is_none()) {
        return (BTreeSet::new(), None);
    }
    let settled_at = progress.iter().filter_map(|p| p.settled_at).max().unwrap_or(0);
    if settled_at > context.now_ns {
        decision.wake(settled_at);
        return (BTreeSet::new(), None);
    }
    let (state, message) = if rollback {
        (UpdateState::RollbackCompleted, "rollback completed")
    } else {
        (UpdateState::Completed, "update completed")
    };
    let status = UpdateStatus {
        state,
        started_at_ns: service.update_started_at_ns(),
        completed_at_ns: context.now_ns,
        message: message.into(),
    };
    (BTreeSet::new(), Some(Service { update_status: Some(status), ..service.clone() }))
}
