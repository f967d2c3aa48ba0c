//! Whether a task is as its service wants it. The orchestrator replaces one that is not, and who shows how an update
//! goes on counts those that are.

use super::constraints;
use crate::api::{Endpoint, EndpointSpec, Node, PortConfig, Service, Task, TaskSpec, TaskState};

/// Whether an update has to replace the task; `node` is where it is, if that is known.
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
    if task.state() == TaskState::Running
        && let (Some(new), Some(old)) = (&mut wanted.container, &mut present.container)
    {
        new.registry_auth.clone_from(&old.registry_auth);
    }
    // A task may stay if its node satisfies the new placement as well.
    let met = node.is_some_and(|node| {
        constraints::parse(wanted.constraints()).is_ok_and(|rules| rules.iter().all(|rule| rule.matches(node)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ContainerSpec, NodeDescription, Placement, ServiceSpec, TaskStatus};

    fn spec(change: impl Fn(&mut TaskSpec)) -> TaskSpec {
        let container = ContainerSpec { image: "web:1".into(), ..ContainerSpec::default() };
        let mut spec = TaskSpec { container: Some(container), ..TaskSpec::default() };
        change(&mut spec);
        spec
    }

    fn check(wanted: TaskSpec, state: TaskState, dirty: bool) {
        let service = Service {
            spec: Some(ServiceSpec { task: Some(wanted), ..ServiceSpec::default() }),
            spec_version: 2,
            ..Service::default()
        };
        let status = TaskStatus { state: state.into(), ..TaskStatus::default() };
        let task = Task { spec: Some(spec(|_| {})), spec_version: 1, status: Some(status), ..Task::default() };
        let description = NodeDescription { hostname: "a".into(), ..NodeDescription::default() };
        let node = Node { description: Some(description), ..Node::default() };
        assert_eq!(is_dirty(&service, &task, Some(&node)), dirty);
    }

    #[test]
    fn only_what_makes_another_container_makes_another_task() {
        let container = |change: fn(&mut ContainerSpec)| spec(|s| change(s.container.as_mut().unwrap()));
        let placed = |constraint: &str| {
            spec(|s| s.placement = Some(Placement { constraints: vec![constraint.into()], ..Placement::default() }))
        };
        check(spec(|_| {}), TaskState::Running, false);
        check(container(|c| c.image = "web:2".into()), TaskState::Running, true);
        check(spec(|s| s.force_update = 1), TaskState::Running, true);
        // Credentials are for who still has to pull.
        check(container(|c| c.registry_auth = "x".into()), TaskState::Running, false);
        check(container(|c| c.registry_auth = "x".into()), TaskState::Preparing, true);
        // It may stay where the new constraints let it be.
        check(placed("node.hostname==a"), TaskState::Running, false);
        check(placed("node.hostname==b"), TaskState::Running, true);
    }
}
