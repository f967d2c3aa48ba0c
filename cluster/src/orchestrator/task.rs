//! Making tasks from a service's specification.

use crate::api::StoreAction;
use crate::brain::IdSource;
use crate::model::{Annotations, Endpoint, EndpointSpec, NodeId, Place, Service, Task, TaskId, TaskState, TaskStatus};
use crate::store::create as store_create;

/// A new task of the service's present specification. With `waits`, it is only prepared until somebody lets it run.
pub(crate) fn new(now_ns: i64, service: &Service, place: &Place, waits: bool, ids: IdSource<'_>) -> Task {
    let id = TaskId::from(ids());
    let spec = &service.spec;
    let (slot, node_id, place) = match place {
        Place::Slot(number) => (*number, NodeId::default(), number.to_string()),
        Place::Node(node) => (0, node.clone(), node.to_string()),
    };
    Task {
        annotations: Annotations { name: format!("{}.{place}.{id}", spec.annotations.name), ..Annotations::default() },
        id,
        spec: spec.task.clone(),
        spec_version: service.spec_version,
        service_id: service.id.clone(),
        slot,
        node_id,
        service_annotations: spec.annotations.clone(),
        status: TaskStatus::created(now_ns),
        desired_state: if waits { TaskState::Ready } else { TaskState::Running },
        endpoint: unallocated(&spec.endpoint),
        ..Task::default()
    }
}

/// The action that commits a new task.
pub(crate) fn create(task: Task) -> StoreAction {
    store_create(task)
}

fn unallocated(spec: &EndpointSpec) -> Endpoint {
    Endpoint { mode: spec.mode, ports: spec.ports.clone(), virtual_ips: Vec::new() }
}
