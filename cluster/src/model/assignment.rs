//! What a node is told to carry out, entry by entry: the dispatcher sends differences, the agent applies them.

use std::collections::BTreeMap;

use crate::api::{Assignment, assignment::Item};

/// Identifies an assignment within a node's set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AssignmentKey {
    /// By id.
    Network(String),
    /// By network and service.
    Service(String, String),
    /// By network and address.
    Endpoint(String, String),
    /// By id.
    Task(String),
}

impl AssignmentKey {
    /// The key of an assignment; `None` for an empty one (of a newer release).
    pub fn of(assignment: &Assignment) -> Option<Self> {
        Some(match assignment.item.as_ref()? {
            Item::Task(task) => Self::Task(task.id.clone()),
            Item::Network(network) => Self::Network(network.id.clone()),
            Item::Endpoint(endpoint) => Self::Endpoint(endpoint.network_id.clone(), endpoint.address.clone()),
            Item::Service(service) => Self::Service(service.network_id.clone(), service.service_id.clone()),
        })
    }
}

/// A node's assignments.
pub type Assignments = BTreeMap<AssignmentKey, Assignment>;
