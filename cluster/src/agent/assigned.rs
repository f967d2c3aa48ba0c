//! The set of assignments as this node has it.

use std::sync::Arc;

use crate::model::{Assignment, Assignments, Batch, Change, NetworkTables, Task};

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
    pub(crate) fn remembered(tasks: Vec<Task>, tables: NetworkTables) -> Self {
        let tasks = tasks.into_iter().map(|task| Assignment::Task(Arc::new(task)));
        let all = tasks
            .chain(tables.networks.into_iter().map(|network| Assignment::Network(Arc::new(network))))
            .chain(tables.endpoints.into_iter().map(|endpoint| Assignment::Endpoint(Arc::new(endpoint))))
            .chain(tables.services.into_iter().map(|service| Assignment::Service(Arc::new(service))));
        Self { set: all.map(|assignment| (assignment.key(), assignment)).collect(), ..Self::default() }
    }

    /// Applies what the leader sent.
    ///
    /// # Errors
    /// If it is an increment on another set than the one that is here.
    pub(crate) fn apply(&mut self, batch: Batch) -> Result<(), OutOfSequence> {
        if batch.complete {
            self.set.clear();
            self.complete = true;
        } else if batch.applies_to != self.sequence {
            return Err(OutOfSequence { expected: batch.applies_to, present: self.sequence.clone() });
        }
        self.sequence = batch.results_in;
        for change in batch.changes {
            match change {
                Change::Put(assignment) => _ = self.set.insert(assignment.key(), assignment),
                Change::Remove(key) => _ = self.set.remove(&key),
            }
        }
        Ok(())
    }

    /// The tasks.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.set.values().filter_map(|assignment| match assignment {
            Assignment::Task(task) => Some(task),
            _ => None,
        })
    }

    /// Everything about networks.
    pub(crate) fn tables(&self, data_path_port: u32) -> NetworkTables {
        let mut tables = NetworkTables { data_path_port, ..NetworkTables::default() };
        for assignment in self.set.values() {
            match assignment {
                Assignment::Network(network) => tables.networks.push(network.as_ref().clone()),
                Assignment::Endpoint(endpoint) => tables.endpoints.push(endpoint.as_ref().clone()),
                Assignment::Service(service) => tables.services.push(service.as_ref().clone()),
                Assignment::Task(_) => {}
            }
        }
        tables
    }
}
