//! From one set of assignments to the next: the complete set first, then only what changed.

use crate::model::{Assignments, Batch, Change};

/// What was sent to a node in this session.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    set: Assignments,
    sequence: u64,
}

impl Sent {
    /// What has to be sent so that the node has `wanted`; `None` if it has it.
    pub(crate) fn advance(&mut self, wanted: Assignments) -> Option<Batch> {
        let gone = self.set.keys().filter(|key| !wanted.contains_key(key));
        let mut changes: Vec<Change> = gone.cloned().map(Change::Remove).collect();
        let is_news =
            |(key, assignment): &(&_, &_)| self.set.get(key).is_none_or(|sent| !sent.tells_the_same(assignment));
        changes.extend(wanted.iter().filter(is_news).map(|(_, assignment)| Change::Put(assignment.clone())));
        let first = self.sequence == 0;
        if changes.is_empty() && !first {
            return None;
        }
        self.set = wanted;
        let applies_to = self.sequence.to_string();
        self.sequence += 1;
        Some(Batch { complete: first, applies_to, results_in: self.sequence.to_string(), changes })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Assignment, Task, TaskState, TaskStatus};

    fn set(tasks: &[(&str, TaskState, TaskState)]) -> Assignments {
        let assignment = |(id, desired, observed): &(&str, TaskState, TaskState)| {
            let status = TaskStatus { state: *observed, ..TaskStatus::default() };
            let task = Task { id: (*id).into(), desired_state: *desired, status, ..Task::default() };
            Assignment::Task(Arc::new(task))
        };
        tasks.iter().map(assignment).map(|assignment| (assignment.key(), assignment)).collect()
    }

    #[test]
    fn the_complete_set_comes_first_and_then_only_differences() {
        let mut sent = Sent::default();
        let first = sent.advance(set(&[("a", TaskState::Running, TaskState::Assigned)])).unwrap();
        assert_eq!((first.complete, first.changes.len()), (true, 1));
        assert!(sent.advance(set(&[("a", TaskState::Running, TaskState::Running)])).is_none());
        let changed = sent.advance(set(&[("a", TaskState::Shutdown, TaskState::Running)])).unwrap();
        assert_eq!((changed.complete, changed.changes.len()), (false, 1));
        let next = sent.advance(set(&[("b", TaskState::Running, TaskState::Assigned)])).unwrap();
        assert_eq!(next.applies_to, changed.results_in);
        assert!(matches!(next.changes.as_slice(), [Change::Remove(_), Change::Put(_)]), "{next:?}");
    }

    #[test]
    fn an_empty_first_set_is_sent_too() {
        let mut sent = Sent::default();
        assert!(sent.advance(Assignments::new()).unwrap().complete);
        assert!(sent.advance(Assignments::new()).is_none());
    }
}
