//! Keeps the newest status of each task until a leader has taken it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::model::{TaskId, TaskStatus};

/// Statuses on their way to the leader.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    tasks: Mutex<BTreeMap<TaskId, Entry>>,
    /// Signals that there is something to send.
    pub arrived: Notify,
    took: Notify,
}

#[derive(Debug)]
struct Entry {
    status: TaskStatus,
    taken: bool,
}

impl Reporter {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<TaskId, Entry>) -> T) -> T {
        work(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A task has a new status.
    pub(super) fn report(&self, task_id: &TaskId, status: TaskStatus) {
        self.with(|tasks| tasks.insert(task_id.clone(), Entry { status, taken: false }));
        self.arrived.notify_one();
    }

    /// A task is no longer assigned.
    pub(super) fn forget(&self, task_id: &str) {
        self.with(|tasks| tasks.remove(task_id));
    }

    /// A new session may be with a leader that missed what its predecessor took.
    pub(super) fn send_all_again(&self) {
        self.with(|tasks| tasks.values_mut().for_each(|entry| entry.taken = false));
        self.arrived.notify_one();
    }

    /// What the leader has not taken yet.
    pub(super) fn waiting(&self) -> Vec<(TaskId, TaskStatus)> {
        self.with(|tasks| {
            let waiting = tasks.iter().filter(|(_, entry)| !entry.taken);
            waiting.map(|(id, entry)| (id.clone(), entry.status.clone())).collect()
        })
    }

    /// The leader took these.
    pub(super) fn taken(&self, reports: &[(TaskId, TaskStatus)]) {
        self.with(|tasks| {
            for (id, status) in reports {
                if let Some(entry) = tasks.get_mut(id) {
                    entry.taken |= entry.status == *status;
                }
            }
        });
        self.took.notify_waiters();
    }

    /// Returns when the leader has taken the newest status of the task.
    pub(super) async fn delivered(&self, task_id: &str) {
        loop {
            let took = self.took.notified();
            if self.with(|tasks| tasks.get(task_id).is_none_or(|entry| entry.taken)) {
                return;
            }
            took.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TaskState;

    #[test]
    fn what_changed_while_it_was_sent_is_sent_again() {
        let status = |state: TaskState| TaskStatus { state, ..TaskStatus::default() };
        let reporter = Reporter::default();
        reporter.report(&"a".into(), status(TaskState::Starting));
        reporter.report(&"b".into(), status(TaskState::Running));
        let sent = reporter.waiting();
        reporter.report(&"a".into(), status(TaskState::Running));
        reporter.taken(&sent);
        assert_eq!(reporter.waiting().iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a"]);
        reporter.send_all_again();
        assert_eq!(reporter.waiting().len(), 2);
    }
}
