//! Whether a task is as its service wants it. The orchestrator replaces one that is not, and who shows how an update
//! goes on counts those that are.

use super::{Endpoint, EndpointSpec, Node, PortConfig, Service, Task, TaskSpec, TaskState, constraints};

/// Whether an update has to replace the task; `node` is where it is, if that is known.
pub fn is_dirty(service: &Service, task: &Task, node: Option<&Node>) -> bool {
    task.spec_version != service.spec_version
        && !(endpoint_fits(&service.spec.endpoint, &task.endpoint) && spec_fits(&service.spec.task, task, node))
}

fn spec_fits(wanted: &TaskSpec, task: &Task, node: Option<&Node>) -> bool {
    if *wanted == task.spec {
        return true;
    }
    let mut wanted = wanted.clone();
    let mut present = task.spec.clone();
    // Fresh credentials are for the next pull; what runs needs none.
    if task.state() == TaskState::Running {
        wanted.container.registry_auth.clone_from(&present.container.registry_auth);
    }
    // A task may stay if its node satisfies the new placement as well.
    let met = node.is_some_and(|node| {
        let rules = constraints::parse(&wanted.placement.constraints);
        rules.is_ok_and(|rules| rules.iter().all(|rule| rule.matches(node)))
    });
    if met && wanted.placement.max_replicas_per_node == present.placement.max_replicas_per_node {
        present.placement.clone_from(&wanted.placement);
    }
    wanted == present
}

fn endpoint_fits(wanted: &EndpointSpec, present: &Endpoint) -> bool {
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
    use crate::model::{ContainerSpec, NodeDescription, ServiceSpec, TaskStatus};

    fn spec(change: impl Fn(&mut TaskSpec)) -> TaskSpec {
        let container = ContainerSpec { image: "web:1".into(), ..ContainerSpec::default() };
        let mut spec = TaskSpec { container, ..TaskSpec::default() };
        change(&mut spec);
        spec
    }

    fn check(wanted: TaskSpec, state: TaskState, dirty: bool) {
        let service = Service {
            spec: ServiceSpec { task: wanted, ..ServiceSpec::default() },
            spec_version: 2,
            ..Service::default()
        };
        let status = TaskStatus { state, ..TaskStatus::default() };
        let task = Task { spec: spec(|_| {}), spec_version: 1, status, ..Task::default() };
        let description = NodeDescription { hostname: "a".into(), ..NodeDescription::default() };
        let node = Node { description: Some(description), ..Node::default() };
        assert_eq!(is_dirty(&service, &task, Some(&node)), dirty);
    }

    #[test]
    fn only_what_makes_another_container_makes_another_task() {
        let container = |change: fn(&mut ContainerSpec)| spec(|s| change(&mut s.container));
        let placed = |constraint: &str| spec(|s| s.placement.constraints = vec![constraint.into()]);
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
