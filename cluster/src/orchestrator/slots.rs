//! A service's tasks by slot: a number for replicated services, a node for global ones.

use std::collections::BTreeMap;

use crate::model::{Place, Service, Task, TaskState};
use crate::store::View;

/// The tasks, living and dead, of one slot.
#[derive(Debug, Clone)]
pub(crate) struct Slot<'a> {
    /// Which.
    pub place: Place,
    /// Oldest first; never empty; without those that are to be removed.
    pub tasks: Vec<&'a Task>,
}

impl<'a> Slot<'a> {
    /// Tasks that are meant to run (now or soon), oldest first.
    pub(crate) fn active(&self) -> impl DoubleEndedIterator<Item = &'a Task> + '_ {
        self.tasks.iter().copied().filter(|t| t.is_wanted())
    }

    /// The task that stands for the slot: the newest active one, else the newest.
    pub(crate) fn head(&self) -> Option<&'a Task> {
        self.active().next_back().or_else(|| self.tasks.last().copied())
    }

    /// Whether some task of it runs and is meant to.
    pub(crate) fn is_running(&self) -> bool {
        self.active().any(|t| t.state() == TaskState::Running)
    }
}

/// The slots of a service in the order of their places.
pub(crate) fn of_service<'a>(view: &'a View, service: &Service) -> Vec<Slot<'a>> {
    let mut slots: BTreeMap<Place, Vec<&'a Task>> = BTreeMap::new();
    for task in view.tasks_of_service(&service.id).filter(|t| t.desired_state < TaskState::Remove) {
        slots.entry(task.place()).or_default().push(task);
    }
    slots
        .into_iter()
        .map(|(place, mut tasks)| {
            tasks.sort_by(|a, b| (a.meta.created_at_ns, &a.id).cmp(&(b.meta.created_at_ns, &b.id)));
            Slot { place, tasks }
        })
        .collect()
}

/// Whether its container may be alive as far as anybody can know: it is on a node that answers, and has not ended.
pub(crate) fn may_still_run(view: &View, task: &Task) -> bool {
    task.is_on_its_node() && view.nodes().get(&task.node_id).is_some_and(|node| !node.is_down())
}
