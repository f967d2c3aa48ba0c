//! What the nodes report of their tasks, collected for a moment and committed together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};
use tonic::Status;

use crate::model::{Task, TaskId, TaskStatus};
use crate::store::{ProposeError, Store, View, packed, update};
use crate::surroundings::Clock;

/// Most reports in one transaction.
const BATCH: usize = 200;

/// Reports that wait to be committed.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    waiting: Mutex<Waiting>,
    /// Signals that there are some.
    pub arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    newest: BTreeMap<TaskId, TaskStatus>,
    answers: Vec<oneshot::Sender<Result<(), Status>>>,
}

/// The task with what its node reports, or `None` if that is no news.
pub(crate) fn reported(task: &Task, report: &TaskStatus, now_ns: i64) -> Option<Task> {
    Some(Task { status: task.status.reported(report, now_ns)?, ..task.clone() })
}

impl Reports {
    /// Adds reports; the receiver learns when they are committed.
    pub(crate) fn add(
        &self,
        reports: impl IntoIterator<Item = (TaskId, TaskStatus)>,
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
    pub(crate) async fn flush(&self, store: &dyn Store, clock: &dyn Clock) {
        let Waiting { newest, answers } =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let outcome = commit(store, clock, newest).await;
        for answer in answers {
            // Whoever no longer listens will report again.
            let _ = answer.send(outcome.clone());
        }
    }
}

async fn commit(store: &dyn Store, clock: &dyn Clock, newest: BTreeMap<TaskId, TaskStatus>) -> Result<(), Status> {
    let newest: Vec<(TaskId, TaskStatus)> = newest.into_iter().collect();
    for chunk in newest.chunks(BATCH) {
        let mut left_out = BTreeSet::new();
        let changes = |view: &View, left_out: &BTreeSet<TaskId>| {
            let changed = |(id, status): &(TaskId, TaskStatus)| reported(view.tasks().get(id)?, status, clock.now_ns());
            let wanted = chunk.iter().filter(|(id, _)| !left_out.contains(id));
            wanted.filter_map(changed).collect::<Vec<_>>()
        };
        loop {
            let tasks = changes(&store.view(), &left_out);
            let Some(first) = tasks.first().map(|task| task.id.clone()) else { break };
            let units = tasks.into_iter().map(|task| vec![update(task)]);
            // What does not fit is news again the next time.
            let Some(part) = packed(units, BATCH).into_iter().next() else { break };
            match store.propose(part.actions).await {
                Ok(_) | Err(ProposeError::Conflict(_)) => {}
                Err(error @ ProposeError::TooLarge { .. }) if part.units == 1 => {
                    tracing::error!(task.id = %first, error = crate::error::chain(&error), "a report is left out");
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
    use crate::model::TaskState;
    use crate::store::TRANSACTION_BYTES_MAX;
    use crate::store::{MemoryStore, create};

    fn status(state: TaskState) -> TaskStatus {
        TaskStatus { state, ..TaskStatus::default() }
    }

    fn task(state: TaskState) -> Task {
        Task { id: "t".into(), status: status(state), ..Task::default() }
    }

    #[tokio::test]
    async fn large_reports_are_committed_in_parts() {
        let store = MemoryStore::new();
        for index in 0..8 {
            let task = Task { id: format!("t{index}").into(), ..task(TaskState::Running) };
            store.propose(vec![create(task)]).await.unwrap();
        }
        let before = store.view().version();
        let err = "e".repeat(TRANSACTION_BYTES_MAX / 2 - 1000);
        let report = TaskStatus { err, ..status(TaskState::Failed) };
        commit(
            &store,
            &crate::surroundings::SystemClock,
            (0..8).map(|index| (format!("t{index}").into(), report.clone())).collect(),
        )
        .await
        .unwrap();
        assert_eq!(store.view().version() - before, 4, "two at a time");
        assert!(store.view().tasks().values().all(|task| task.state() == TaskState::Failed));
    }
}
