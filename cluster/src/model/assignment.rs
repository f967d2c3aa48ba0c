//! What a node is told to carry out, entry by entry: the dispatcher sends differences, the agent applies them.

use std::collections::BTreeMap;

use super::{NetworkId, ServiceId, TaskId};
use crate::api::{Assignment, assignment::Item};

/// Identifies an assignment within a node's set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AssignmentKey {
    /// By id.
    Network(NetworkId),
    /// By network and service.
    Service(NetworkId, ServiceId),
    /// By network and address.
    Endpoint(NetworkId, String),
    /// By id.
    Task(TaskId),
}

impl AssignmentKey {
    /// The key of an assignment; `None` for an empty one (of a newer release).
    pub(crate) fn of(assignment: &Assignment) -> Option<Self> {
        Some(match assignment.item.as_ref()? {
            Item::Task(task) => Self::Task(task.id.as_str().into()),
            Item::Network(network) => Self::Network(network.id.as_str().into()),
            Item::Endpoint(endpoint) => Self::Endpoint(endpoint.network_id.as_str().into(), endpoint.address.clone()),
            Item::Service(service) => {
                Self::Service(service.network_id.as_str().into(), service.service_id.as_str().into())
            }
        })
    }
}

/// A node's assignments.
pub(crate) type Assignments = BTreeMap<AssignmentKey, Assignment>;
