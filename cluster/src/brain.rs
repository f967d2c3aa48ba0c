//! What a brain is, and the one loop that runs any of them on the leader.
//!
//! A [`Brain`] decides from a [`View`] and a time, and does nothing else. [`run_brain`] does the rest: it waits for a
//! commit (or for the time that the brain named), lets commits settle, asks the brain, and proposes what it answers.
//! After a conflict it asks again with the newest view, so a brain never has to know that others write too.
//! **Invariant:** nothing that a brain keeps between calls may matter to its decisions; a new leader starts with none.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::api::{self, Object, StoreAction, object, store_action};
use crate::error::chain;
use crate::store::{Packed, ProposeError, Store, TRANSACTION_ACTIONS_MAX, View, packed};
use crate::surroundings::{Clock, Surroundings};

/// Source of ids for new objects; random in production, counted under test.
pub(crate) type IdSource<'a> = &'a mut dyn FnMut() -> String;

/// What a brain wants changed, and when it wants to be asked again if nothing happens before.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// Units that are each applied wholly or not at all, none longer than [`TRANSACTION_ACTIONS_MAX`].
    pub changes: Vec<Vec<StoreAction>>,
    /// Nanoseconds since the epoch; `None`: only when something changes.
    pub wake_at: Option<i64>,
}

impl Decision {
    /// Adds a unit of one action.
    pub(crate) fn change(&mut self, action: StoreAction) {
        self.changes.push(vec![action]);
    }

    /// Asks to be called at `time_ns` at the latest.
    pub(crate) fn wake(&mut self, time_ns: i64) {
        self.wake_at = Some(self.wake_at.map_or(time_ns, |at| at.min(time_ns)));
    }
}

/// Decides over one aspect of the swarm.
pub(crate) trait Brain: Send + 'static {
    /// For the log.
    fn name(&self) -> &'static str;

    /// The changes that `view` calls for at `now_ns`. Without effect on anything; the same for the same input but for new ids.
    fn decide(&self, view: &View, now_ns: i64, ids: IdSource<'_>) -> Decision;
}

/// Timing of [`run_brain`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Quiet time after a commit before deciding.
    pub debounce: Duration,
    /// Decide at the latest so long after the first commit.
    pub debounce_max: Duration,
    /// Pause after a conflict.
    pub again: Duration,
    /// Pause after a proposal that was refused for another reason.
    pub retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(50),
            debounce_max: Duration::from_secs(1),
            again: Duration::from_millis(5),
            retry: Duration::from_millis(500),
        }
    }
}

/// Runs `brain` until `cancel` (given when this manager no longer leads), or until the store stops.
pub(crate) async fn run_brain(
    brain: impl Brain,
    store: Arc<dyn Store>,
    surroundings: Surroundings,
    pace: Pace,
    cancel: CancellationToken,
) {
    let span = tracing::info_span!("brain", brain.name = brain.name());
    turn(brain, store, surroundings, pace, cancel).instrument(span).await;
}

async fn turn(
    brain: impl Brain,
    store: Arc<dyn Store>,
    surroundings: Surroundings,
    pace: Pace,
    cancel: CancellationToken,
) {
    let Surroundings { clock, chance } = surroundings;
    let mut watch = store.watch();
    let mut pack = TRANSACTION_ACTIONS_MAX;
    loop {
        watch.mark_unchanged();
        let view = store.view();
        let decision = brain.decide(&view, clock.now_ns(), &mut || chance.id());
        drop(view);
        let wake_at = decision.wake_at;
        match commit(store.as_ref(), decision, pack).await {
            Outcome::Done => pack = TRANSACTION_ACTIONS_MAX,
            Outcome::Smaller => {
                // Smaller transactions meet fewer concurrent writers, and fit in the end, so that this ends.
                pack = (pack / 2).max(1);
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = clock.sleep(pace.again) => continue,
                }
            }
            Outcome::Retry => {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = clock.sleep(pace.retry) => continue,
                }
            }
            Outcome::Stop => return,
        }
        let timer = wake_at.map(|at| UNIX_EPOCH + Duration::from_nanos(at.max(0).unsigned_abs()));
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = watch.changed() => if changed.is_err() { return },
            () = clock.sleep_until(timer.unwrap_or(UNIX_EPOCH)), if timer.is_some() => continue,
        }
        if !settle(&mut watch, clock.as_ref(), pace, &cancel).await {
            return;
        }
    }
}

/// Waits until commits pause; false: stop.
async fn settle(
    watch: &mut tokio::sync::watch::Receiver<Arc<View>>,
    clock: &dyn Clock,
    pace: Pace,
    cancel: &CancellationToken,
) -> bool {
    let latest = clock.instant() + pace.debounce_max;
    loop {
        let quiet = pace.debounce.min(latest.saturating_duration_since(clock.instant()));
        tokio::select! {
            () = cancel.cancelled() => return false,
            () = clock.sleep(quiet) => return true,
            changed = watch.changed() => if changed.is_err() { return false },
        }
    }
}

enum Outcome {
    Done,
    /// In parts, please.
    Smaller,
    Retry,
    Stop,
}

/// The tasks that are made or changed, with the state that they get.
fn tasks_in(actions: &[StoreAction]) -> Vec<(String, api::TaskState)> {
    let task = |action: &StoreAction| match action.action.as_ref()? {
        store_action::Action::Create(Object { object: Some(object::Object::Task(task)) })
        | store_action::Action::Update(Object { object: Some(object::Object::Task(task)) }) => {
            let state = task.status.as_ref().map_or(api::TaskState::New, api::TaskStatus::state);
            Some((task.id.clone(), state))
        }
        _ => None,
    };
    actions.iter().filter_map(task).collect()
}

async fn commit(store: &dyn Store, decision: Decision, pack: usize) -> Outcome {
    for Packed { actions, units } in packed(decision.changes, pack) {
        let count = actions.len();
        let tasks = if tracing::enabled!(tracing::Level::DEBUG) { tasks_in(&actions) } else { Vec::new() };
        match store.propose(actions).await {
            Ok(version) => {
                tracing::debug!(count, version, "committed");
                for (id, state) in tasks {
                    let _task = tracing::debug_span!("task", task.id = %id).entered();
                    tracing::debug!(state = state.as_str_name(), "decided");
                }
            }
            Err(ProposeError::Conflict(error)) => {
                tracing::debug!(error = chain(&error), "deciding again");
                return Outcome::Smaller;
            }
            Err(ProposeError::TooLarge { .. }) if units > 1 => return Outcome::Smaller,
            // Nothing will ever make it fit, and the others must not wait for it.
            Err(error @ ProposeError::TooLarge { .. }) => {
                tracing::error!(count, error = chain(&error), "left out a decision");
            }
            Err(error @ (ProposeError::NoQuorum | ProposeError::NotLeader { .. })) => {
                tracing::warn!(error = chain(&error), "decision not committed");
                return Outcome::Retry;
            }
            Err(error @ ProposeError::Stopped(_)) => {
                tracing::info!(error = chain(&error), "stopping");
                return Outcome::Stop;
            }
        }
    }
    Outcome::Done
}

#[cfg(test)]
#[path = "brain_tests.rs"]
mod tests;
