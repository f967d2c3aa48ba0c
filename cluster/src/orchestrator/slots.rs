//! A service's tasks by slot: a number for replicated services, a node for global ones.

use std::collections::BTreeMap;

use crate::api::{NodeState, Service, Task, TaskState};
use crate::store::View;

/// Which place in its service a task fills.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Of a replicated service, from 1.
    Number(u64),
    /// Of a global service: the node.
    Node(String),
}

impl Key {
    /// The slot of `task`.
    pub fn of(task: &Task) -> Self {
        if task.slot == 0 { Self::Node(task.node_id.clone()) } else { Self::Number(task.slot) }
    }
}

/// The tasks, living and dead, of one slot.
#[derive(Debug, Clone)]
pub struct Slot<'a> {
    /// Which.
    pub key: Key,
    /// Oldest first; never empty; without those that are to be removed.
    pub tasks: Vec<&'a Task>,
}

impl<'a> Slot<'a> {
    /// Tasks that are meant to run (now or soon), oldest first.
    pub fn active(&self) -> impl DoubleEndedIterator<Item = &'a Task> + '_ {
        self.tasks.iter().copied().filter(|t| t.desired_state() <= TaskState::Running)
    }

    /// The task that stands for the slot: the newest active one, else the newest.
    pub fn head(&self) -> Option<&'a Task> {
        self.active().next_back().or_else(|| self.tasks.last().copied())
    }

    /// Whether some task of it runs and is meant to.
    pub fn is_running(&self) -> bool {
        self.active().any(|t| state(t) == TaskState::Running)
    }
}

/// The slots of a service in the order of their keys.
pub fn of_service<'a>(view: &'a View, service: &Service) -> Vec<Slot<'a>> {
    let mut slots: BTreeMap<Key, Vec<&'a Task>> = BTreeMap::new();
    for task in view.tasks_of_service(&service.id).filter(|t| t.desired_state() < TaskState::Remove) {
        slots.entry(Key::of(task)).or_default().push(task);
    }
    slots
        .into_iter()
        .map(|(key, mut tasks)| {
            tasks.sort_by(|a, b| (created_at(a), &a.id).cmp(&(created_at(b), &b.id)));
            Slot { key, tasks }
        })
        .collect()
}

/// Observed state of a task.
pub fn state(task: &Task) -> TaskState {
    task.status.as_ref().map_or(TaskState::New, |s| s.state())
}

/// When the task was committed, nanoseconds since the epoch.
pub fn created_at(task: &Task) -> i64 {
    task.meta.as_ref().map_or(0, |m| m.created_at_ns)
}

/// When its present state was committed (leader's clock).
pub fn applied_at(task: &Task) -> i64 {
    task.status.as_ref().map_or(0, |s| if s.applied_at_ns == 0 { s.timestamp_ns } else { s.applied_at_ns })
}

/// Whether its container may be alive as far as anybody can know: it is on a node that answers, and has not ended.
pub fn may_still_run(view: &View, task: &Task) -> bool {
    let assigned = (TaskState::Assigned..=TaskState::Running).contains(&state(task));
    assigned
        && view
            .nodes()
            .get(&task.node_id)
            .is_some_and(|node| node.status.as_ref().is_none_or(|status| status.state() != NodeState::Down))
}
