//! From one set of assignments to the next: the complete set first, then only what changed.

use crate::api::{
    AssignedNetwork, Assignment, AssignmentChange, AssignmentsKind, AssignmentsMessage, NetworkEndpoint,
    NetworkService, Task, assignment::Item,
};
use crate::model::{AssignmentKey as Key, Assignments};

/// What was sent to a node in this session.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    set: Assignments,
    sequence: u64,
}

/// A task without what its own node reports: that alone is no reason to send it again.
fn essence(assignment: &Assignment) -> Assignment {
    match &assignment.item {
        Some(Item::Task(task)) => {
            Assignment { item: Some(Item::Task(Task { status: None, meta: None, ..task.clone() })) }
        }
        _ => assignment.clone(),
    }
}

/// The keys alone, as a removal names them.
fn removal(key: &Key) -> AssignmentChange {
    let item = match key.clone() {
        Key::Task(id) => Item::Task(Task { id: id.into(), ..Task::default() }),
        Key::Network(id) => Item::Network(AssignedNetwork { id: id.into(), ..AssignedNetwork::default() }),
        Key::Endpoint(network_id, address) => {
            Item::Endpoint(NetworkEndpoint { network_id: network_id.into(), address, ..NetworkEndpoint::default() })
        }
        Key::Service(network_id, service_id) => Item::Service(NetworkService {
            network_id: network_id.into(),
            service_id: service_id.into(),
            ..NetworkService::default()
        }),
    };
    AssignmentChange { remove: true, assignment: Some(Assignment { item: Some(item) }) }
}

impl Sent {
    /// The message that brings the node to `wanted`; `None` if it is there.
    pub(crate) fn advance(&mut self, wanted: Assignments) -> Option<AssignmentsMessage> {
        let mut changes: Vec<AssignmentChange> =
            self.set.keys().filter(|key| !wanted.contains_key(key)).map(removal).collect();
        let mut next = Assignments::new();
        for (key, assignment) in wanted {
            let essence = essence(&assignment);
            if self.set.get(&key) != Some(&essence) {
                changes.push(AssignmentChange { remove: false, assignment: Some(assignment) });
            }
            next.insert(key, essence);
        }
        let first = self.sequence == 0;
        if changes.is_empty() && !first {
            return None;
        }
        self.set = next;
        let applies_to = self.sequence.to_string();
        self.sequence += 1;
        let kind = if first { AssignmentsKind::Complete } else { AssignmentsKind::Incremental };
        Some(AssignmentsMessage { kind: kind.into(), applies_to, results_in: self.sequence.to_string(), changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{TaskState, TaskStatus};

    fn set(tasks: &[(&str, TaskState, TaskState)]) -> Assignments {
        tasks
            .iter()
            .map(|(id, desired, observed)| {
                let mut task = Task { id: (*id).into(), ..Task::default() };
                task.set_desired_state(*desired);
                task.status = Some(TaskStatus { state: (*observed).into(), ..TaskStatus::default() });
                (Key::Task((*id).into()), Assignment { item: Some(Item::Task(task)) })
            })
            .collect()
    }

    #[test]
    fn the_complete_set_comes_first_and_then_only_differences() {
        let mut sent = Sent::default();
        let first = sent.advance(set(&[("a", TaskState::Running, TaskState::Assigned)])).unwrap();
        assert_eq!((first.kind(), first.changes.len()), (AssignmentsKind::Complete, 1));
        assert!(sent.advance(set(&[("a", TaskState::Running, TaskState::Running)])).is_none());
        let next = sent.advance(set(&[("b", TaskState::Running, TaskState::Assigned)])).unwrap();
        assert_eq!(next.kind(), AssignmentsKind::Incremental);
        assert_eq!(next.applies_to, first.results_in);
        assert_eq!(next.changes.iter().map(|c| c.remove).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn an_empty_first_set_is_sent_too() {
        let mut sent = Sent::default();
        assert_eq!(sent.advance(Assignments::new()).unwrap().kind(), AssignmentsKind::Complete);
        assert!(sent.advance(Assignments::new()).is_none());
    }
}
