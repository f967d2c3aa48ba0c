//! Making tasks from a service's specification.

use crate::api::{Annotations, Endpoint, EndpointSpec, Service, StoreAction, Task, TaskState, TaskStatus, object};
use crate::brain::IdSource;
use crate::model::Place;
use crate::store::create as store_create;

/// A new task of the service's present specification. With `waits`, it is only prepared until somebody lets it run.
pub fn new(now_ns: i64, service: &Service, place: &Place, waits: bool, ids: IdSource<'_>) -> Task {
    let id = ids();
    let spec = service.spec.clone().unwrap_or_default();
    let annotations = spec.annotations.unwrap_or_default();
    let (slot, node_id, place) = match place {
        Place::Slot(number) => (*number, String::new(), number.to_string()),
        Place::Node(node) => (0, node.clone(), node.clone()),
    };
    let mut task = Task {
        annotations: Some(Annotations { name: format!("{}.{place}.{id}", annotations.name), ..Annotations::default() }),
        id,
        spec: spec.task,
        spec_version: service.spec_version,
        service_id: service.id.clone(),
        slot,
        node_id,
        service_annotations: Some(annotations),
        status: Some(TaskStatus::created(now_ns)),
        endpoint: Some(unallocated(spec.endpoint.unwrap_or_default())),
        ..Task::default()
    };
    task.set_desired_state(if waits { TaskState::Ready } else { TaskState::Running });
    task
}

/// The action that commits a new task.
pub fn create(task: Task) -> StoreAction {
    store_create(object::Object::Task(task))
}

fn unallocated(spec: EndpointSpec) -> Endpoint {
    Endpoint { mode: spec.mode, ports: spec.ports, virtual_ips: Vec::new() }
}
