//! The set of assignments as this node has it.

use crate::api::{AssignmentsKind, AssignmentsMessage, WorkerState, assignment::Item};
use crate::executor::NodeNetwork;
use crate::model::{AssignmentKey as Key, Assignments, Task};

/// An increment that does not fit on what is there; the session has to start anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("assignments for set {expected} cannot be applied to set {present}")]
pub(crate) struct OutOfSequence {
    /// What the message applies to.
    pub expected: String,
    /// What this node has.
    pub present: String,
}

/// All that is assigned to this node.
#[derive(Debug, Default)]
pub(crate) struct Assigned {
    set: Assignments,
    sequence: String,
    /// A complete set was received, in this life of the agent.
    pub complete: bool,
}

impl Assigned {
    /// The set as remembered on disk.
    pub(crate) fn remembered(tasks: Vec<Task>, tables: WorkerState) -> Self {
        let tasks = tasks.into_iter().map(|task| Item::Task(task.into()));
        let items = tasks
            .chain(tables.networks.into_iter().map(Item::Network))
            .chain(tables.endpoints.into_iter().map(Item::Endpoint))
            .chain(tables.services.into_iter().map(Item::Service));
        let mut assigned = Self::default();
        for item in items {
            let assignment = crate::api::Assignment { item: Some(item) };
            if let Some(key) = Key::of(&assignment) {
                assigned.set.insert(key, assignment);
            }
        }
        assigned
    }

    /// Applies a message.
    ///
    /// # Errors
    /// If it is an increment on another set than the one that is here.
    pub(crate) fn apply(&mut self, message: AssignmentsMessage) -> Result<(), OutOfSequence> {
        match message.kind() {
            AssignmentsKind::Complete => {
                self.set.clear();
                self.complete = true;
            }
            AssignmentsKind::Incremental if message.applies_to != self.sequence => {
                return Err(OutOfSequence { expected: message.applies_to, present: self.sequence.clone() });
            }
            AssignmentsKind::Incremental => {}
        }
        self.sequence = message.results_in;
        for change in message.changes {
            let Some(assignment) = change.assignment else { continue };
            let Some(key) = Key::of(&assignment) else { continue };
            if change.remove {
                self.set.remove(&key);
            } else {
                self.set.insert(key, assignment);
            }
        }
        Ok(())
    }

    /// The tasks.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = Task> {
        self.set.values().filter_map(|assignment| match &assignment.item {
            Some(Item::Task(task)) => Some(task.clone().into()),
            _ => None,
        })
    }

    /// Everything about networks, as it is remembered.
    pub(crate) fn tables(&self, data_path_port: u32) -> WorkerState {
        let mut tables = WorkerState { data_path_port, ..WorkerState::default() };
        for assignment in self.set.values() {
            match &assignment.item {
                Some(Item::Network(network)) => tables.networks.push(network.clone()),
                Some(Item::Endpoint(endpoint)) => tables.endpoints.push(endpoint.clone()),
                Some(Item::Service(service)) => tables.services.push(service.clone()),
                _ => {}
            }
        }
        tables
    }
}

/// The same as the executor wants it.
pub(crate) fn node_network(tables: WorkerState, node_id: &str, data_path_addr: &str) -> NodeNetwork {
    NodeNetwork {
        node_id: node_id.to_owned(),
        data_path_addr: data_path_addr.to_owned(),
        data_path_port: tables.data_path_port,
        networks: tables.networks,
        endpoints: tables.endpoints,
        services: tables.services,
    }
}
