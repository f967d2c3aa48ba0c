//! What the scheduler knows of each node while it decides, changed with each task that it places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_common::duration::SECOND_NS;

use crate::model::{Node, NodeId, PortProtocol, Resources, ServiceId, Task, TaskState};
use crate::store::View;

/// So many failures of a service's version within [`FAILURE_WINDOW_NS`] send a node to the end of the queue.
/// A slot's history holds four dead tasks next to the living one.
pub(crate) const FAILURES_MAX: usize = 4;
/// How long a failure is held against a node.
pub(crate) const FAILURE_WINDOW_NS: i64 = 300 * SECOND_NS;

/// One node.
#[derive(Debug)]
pub(crate) struct NodeInfo {
    /// As committed.
    pub node: Arc<Node>,
    /// Total minus reserved.
    pub available: Resources,
    /// Tasks that are meant to run.
    pub tasks: usize,
    /// The same by service.
    pub by_service: BTreeMap<ServiceId, usize>,
    /// Host-mode ports in use: (protocol, port).
    pub host_ports: BTreeSet<(PortProtocol, u32)>,
    /// Recent failures by (service, version).
    pub failures: BTreeMap<(ServiceId, u64), usize>,
}

impl NodeInfo {
    /// Whether new tasks may go there at all.
    pub(crate) fn is_ready(&self) -> bool {
        self.node.may_take_tasks()
    }

    /// Whether this version of the service keeps failing there.
    pub(crate) fn is_faulty(&self, service: &ServiceId, version: u64) -> bool {
        self.failures.get(&(service.clone(), version)).is_some_and(|count| *count >= FAILURES_MAX)
    }

    /// Tasks of the service that are meant to run there.
    pub(crate) fn tasks_of(&self, service: &str) -> usize {
        self.by_service.get(service).copied().unwrap_or(0)
    }

    /// Counts a task that is, or is now, on the node.
    pub(crate) fn add(&mut self, task: &Task) {
        if task.state() > TaskState::Running {
            return;
        }
        let reserved = &task.spec.resources.reservations;
        self.available.nano_cpus -= reserved.nano_cpus;
        self.available.memory_bytes -= reserved.memory_bytes;
        for (kind, count) in &reserved.generic {
            *self.available.generic.entry(kind.clone()).or_default() -= count;
        }
        self.host_ports.extend(task.host_ports());
        if task.is_wanted() {
            self.tasks += 1;
            *self.by_service.entry(task.service_id.clone()).or_default() += 1;
        }
    }
}

/// All nodes by id, with the tasks that they have.
pub(crate) fn survey(view: &View, now_ns: i64) -> BTreeMap<NodeId, NodeInfo> {
    let mut nodes: BTreeMap<NodeId, NodeInfo> = BTreeMap::new();
    for node in view.nodes().values() {
        let available = node.resources().cloned().unwrap_or_default();
        let mut info = NodeInfo {
            node: node.clone(),
            available,
            tasks: 0,
            by_service: BTreeMap::new(),
            host_ports: BTreeSet::new(),
            failures: BTreeMap::new(),
        };
        for task in view.tasks_of_node(&node.id) {
            // A global task names its node before it is placed.
            if task.state() >= TaskState::Assigned {
                info.add(task);
            }
            let failed = matches!(task.state(), TaskState::Failed | TaskState::Rejected);
            if failed && task.applied_at_ns() > now_ns - FAILURE_WINDOW_NS {
                *info.failures.entry((task.service_id.clone(), task.spec_version)).or_default() += 1;
            }
        }
        nodes.insert(node.id.clone(), info);
    }
    nodes
}
