//! Keeps the newest status of each task until a leader has taken it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::api::{TaskStatus, TaskStatusUpdate};

/// Statuses on their way to the leader.
#[derive(Debug, Default)]
pub struct Reporter {
    tasks: Mutex<BTreeMap<String, Entry>>,
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
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Entry>) -> T) -> T {
        work(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A task has a new status.
    pub fn report(&self, task_id: &str, status: TaskStatus) {
        self.with(|tasks| tasks.insert(task_id.to_owned(), Entry { status, taken: false }));
        self.arrived.notify_one();
    }

    /// A task is no longer assigned.
    pub fn forget(&self, task_id: &str) {
        self.with(|tasks| tasks.remove(task_id));
    }

    /// A new session may be with a leader that missed what its predecessor took.
    pub fn send_all_again(&self) {
        self.with(|tasks| tasks.values_mut().for_each(|entry| entry.taken = false));
        self.arrived.notify_one();
    }

    /// What the leader has not taken yet.
    pub fn waiting(&self) -> Vec<TaskStatusUpdate> {
        self.with(|tasks| {
            let waiting = tasks.iter().filter(|(_, entry)| !entry.taken);
            waiting.map(|(id, e)| TaskStatusUpdate { task_id: id.clone(), status: Some(e.status.clone()) }).collect()
        })
    }

    /// The leader took these.
    pub fn taken(&self, updates: &[TaskStatusUpdate]) {
        self.with(|tasks| {
            for update in updates {
                if let Some(entry) = tasks.get_mut(&update.task_id) {
                    entry.taken |= Some(&entry.status) == update.status.as_ref();
                }
            }
        });
        self.took.notify_waiters();
    }

    /// Returns when the leader has taken the newest status of the task.
    pub async fn delivered(&self, task_id: &str) {
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
    use crate::api::TaskState;

    #[test]
    fn what_changed_while_it_was_sent_is_sent_again() {
        let status = |state: TaskState| TaskStatus { state: state.into(), ..TaskStatus::default() };
        let reporter = Reporter::default();
        reporter.report("a", status(TaskState::Starting));
        reporter.report("b", status(TaskState::Running));
        let sent = reporter.waiting();
        reporter.report("a", status(TaskState::Running));
        reporter.taken(&sent);
        assert_eq!(reporter.waiting().iter().map(|u| u.task_id.as_str()).collect::<Vec<_>>(), ["a"]);
        reporter.send_all_again();
        assert_eq!(reporter.waiting().len(), 2);
    }
}
