//! What the nodes report of their tasks, collected for a moment and committed together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};
use tonic::Status;

use crate::api::{Task, TaskState, TaskStatus, object};
use crate::brain::packed;
use crate::orchestrator::slots::state;
use crate::store::{ProposeError, Store, View, now_ns, update};

/// Most reports in one transaction.
const BATCH: usize = 200;

/// Reports that wait to be committed.
#[derive(Debug, Default)]
pub struct Reports {
    waiting: Mutex<Waiting>,
    /// Signals that there are some.
    pub arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    newest: BTreeMap<String, TaskStatus>,
    answers: Vec<oneshot::Sender<Result<(), Status>>>,
}

/// The task with what its node reports, or `None` if that is no news. A state only grows.
pub fn reported(task: &Task, report: &TaskStatus, now_ns: i64) -> Option<Task> {
    let old = task.status.clone().unwrap_or_default();
    let allowed = (TaskState::Accepted..=TaskState::Rejected).contains(&report.state());
    if !allowed || report.state() < old.state() {
        return None;
    }
    let grown = report.state() > old.state();
    if !grown && state(task) > TaskState::Running {
        return None;
    }
    let status = TaskStatus {
        applied_at_ns: if grown { now_ns } else { old.applied_at_ns },
        running_at_ns: match report.state() {
            TaskState::Running if old.running_at_ns == 0 => now_ns,
            _ => old.running_at_ns,
        },
        // A report in the same state is about details: the time stays that of the state.
        timestamp_ns: if grown { report.timestamp_ns } else { old.timestamp_ns },
        ..report.clone()
    };
    (status != old).then(|| Task { status: Some(status), ..task.clone() })
}

impl Reports {
    /// Adds reports; the receiver learns when they are committed.
    pub fn add(
        &self,
        reports: impl IntoIterator<Item = (String, TaskStatus)>,
    ) -> oneshot::Receiver<Result<(), Status>> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (task, status) in reports {
            let newest = waiting.newest.entry(task).or_insert_with(|| status.clone());
            if status.state >= newest.state {
                *newest = status;
            }
        }
        waiting.answers.push(sender);
        drop(waiting);
        self.arrived.notify_one();
        receiver
    }

    /// Commits all that waits, and answers those who sent it.
    pub async fn flush(&self, store: &dyn Store) {
        let Waiting { newest, answers } =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let outcome = commit(store, newest).await;
        for answer in answers {
            // Whoever no longer listens will report again.
            let _ = answer.send(outcome.clone());
        }
    }
}

async fn commit(store: &dyn Store, newest: BTreeMap<String, TaskStatus>) -> Result<(), Status> {
    let newest: Vec<(String, TaskStatus)> = newest.into_iter().collect();
    for chunk in newest.chunks(BATCH) {
        let mut left_out = BTreeSet::new();
        let changes = |view: &View, left_out: &BTreeSet<String>| {
            let changed = |(id, status): &(String, TaskStatus)| reported(view.tasks().get(id)?, status, now_ns());
            let wanted = chunk.iter().filter(|(id, _)| !left_out.contains(id));
            wanted.filter_map(changed).collect::<Vec<_>>()
        };
        loop {
            let tasks = changes(&store.view(), &left_out);
            let Some(first) = tasks.first().map(|task| task.id.clone()) else { break };
            let units = tasks.into_iter().map(|task| vec![update(object::Object::Task(task))]);
            // What does not fit is news again the next time.
            let Some(part) = packed(units, BATCH).into_iter().next() else { break };
            match store.propose(part.actions).await {
                Ok(_) | Err(ProposeError::Conflict(_)) => {}
                Err(error @ ProposeError::TooLarge { .. }) if part.units == 1 => {
                    tracing::error!(task.id = first, %error, "a report is left out");
                    left_out.insert(first);
                }
                Err(error) => return Err(Status::unavailable(error.to_string())),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brain::TRANSACTION_BYTES_MAX;
    use crate::store::{MemoryStore, create};

    fn status(state: TaskState) -> TaskStatus {
        TaskStatus { state: state.into(), ..TaskStatus::default() }
    }

    fn task(state: TaskState) -> Task {
        Task { id: "t".into(), status: Some(status(state)), ..Task::default() }
    }

    #[test]
    fn a_state_only_grows_and_the_end_is_final() {
        let next = reported(&task(TaskState::Starting), &status(TaskState::Running), 5).unwrap();
        assert_eq!(next.status.as_ref().unwrap().running_at_ns, 5);
        assert!(reported(&next, &status(TaskState::Starting), 6).is_none());
        let ended = reported(&next, &status(TaskState::Failed), 7).unwrap();
        assert_eq!(
            (ended.status.as_ref().unwrap().running_at_ns, ended.status.as_ref().unwrap().applied_at_ns),
            (5, 7)
        );
        let again = TaskStatus { message: "again".into(), ..status(TaskState::Failed) };
        assert!(reported(&ended, &again, 8).is_none());
    }

    #[test]
    fn a_node_can_neither_assign_nor_orphan() {
        assert!(reported(&task(TaskState::Assigned), &status(TaskState::Assigned), 1).is_none());
        assert!(reported(&task(TaskState::Running), &status(TaskState::Orphaned), 1).is_none());
        // REMOVE lies between REJECTED and ORPHANED, and is no observed state.
        assert!(reported(&task(TaskState::Running), &status(TaskState::Remove), 1).is_none());
    }

    #[tokio::test]
    async fn large_reports_are_committed_in_parts() {
        let store = MemoryStore::new();
        for index in 0..8 {
            let task = Task { id: format!("t{index}"), ..task(TaskState::Running) };
            store.propose(vec![create(object::Object::Task(task))]).await.unwrap();
        }
        let before = store.view().version();
        let err = "e".repeat(TRANSACTION_BYTES_MAX / 2 - 1000);
        let report = TaskStatus { err, ..status(TaskState::Failed) };
        commit(&store, (0..8).map(|index| (format!("t{index}"), report.clone())).collect()).await.unwrap();
        assert_eq!(store.view().version() - before, 4, "two at a time");
        assert!(store.view().tasks().values().all(|task| state(task) == TaskState::Failed));
    }
}
