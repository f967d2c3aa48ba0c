//! Making tasks from a service's specification, and telling whether one is outdated.

use super::slots::{Key, state};
use crate::api::{
    Annotations, Endpoint, EndpointSpec, Node, PortConfig, Service, StoreAction, Task, TaskSpec, TaskState, TaskStatus,
    object,
};
use crate::brain::IdSource;
use crate::scheduler::constraints;
use crate::store::create as store_create;

/// A new task of the service's present specification. With `waits`, it is only prepared until somebody lets it run.
pub fn new(now_ns: i64, service: &Service, key: &Key, waits: bool, ids: IdSource<'_>) -> Task {
    let id = ids();
    let spec = service.spec.clone().unwrap_or_default();
    let annotations = spec.annotations.unwrap_or_default();
    let (slot, node_id) = match key {
        Key::Number(number) => (*number, String::new()),
        Key::Node(node) => (0, node.clone()),
    };
    let place = if slot == 0 { node_id.clone() } else { slot.to_string() };
    let mut task = Task {
        annotations: Some(Annotations { name: format!("{}.{place}.{id}", annotations.name), ..Annotations::default() }),
        id,
        spec: spec.task,
        spec_version: service.spec_version,
        service_id: service.id.clone(),
        slot,
        node_id,
        service_annotations: Some(annotations),
        status: Some(TaskStatus {
            state: TaskState::New.into(),
            timestamp_ns: now_ns,
            applied_at_ns: now_ns,
            message: "created".into(),
            ..TaskStatus::default()
        }),
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

/// Whether an update has to replace the task.
pub fn is_dirty(service: &Service, task: &Task, node: Option<&Node>) -> bool {
    if task.spec_version == service.spec_version {
        return false;
    }
    let Some(wanted) = &service.spec else { return false };
    let endpoint = wanted.endpoint.clone().unwrap_or_default();
    !endpoint_fits(&endpoint, task.endpoint.as_ref()) || !spec_fits(wanted.task.as_ref(), task, node)
}

fn spec_fits(wanted: Option<&TaskSpec>, task: &Task, node: Option<&Node>) -> bool {
    let mut wanted = wanted.cloned().unwrap_or_default();
    let mut present = task.spec.clone().unwrap_or_default();
    if wanted == present {
        return true;
    }
    // Fresh credentials are for the next pull; what runs needs none.
    if state(task) == TaskState::Running
        && let (Some(new), Some(old)) = (&mut wanted.container, &mut present.container)
    {
        new.registry_auth.clone_from(&old.registry_auth);
    }
    // A task may stay if its node satisfies the new placement as well.
    let met = node.is_some_and(|node| {
        let rules = wanted.placement.as_ref().map(|p| p.constraints.as_slice()).unwrap_or_default();
        constraints::parse(rules).is_ok_and(|rules| rules.iter().all(|rule| rule.matches(node)))
    });
    let limit = |spec: &TaskSpec| spec.placement.as_ref().map_or(0, |p| p.max_replicas_per_node);
    if met && limit(&wanted) == limit(&present) {
        present.placement.clone_from(&wanted.placement);
    }
    wanted == present
}

fn endpoint_fits(wanted: &EndpointSpec, present: Option<&Endpoint>) -> bool {
    let Some(present) = present else { return wanted == &EndpointSpec::default() };
    let fits = |want: &PortConfig, have: &PortConfig| {
        (want.published_port == 0 || want.published_port == have.published_port)
            && (&want.name, want.protocol, want.target_port, want.publish_mode)
                == (&have.name, have.protocol, have.target_port, have.publish_mode)
    };
    wanted.mode == present.mode
        && wanted.ports.len() == present.ports.len()
        && wanted.ports.iter().zip(&present.ports).all(|(want, have)| fits(want, have))
}
