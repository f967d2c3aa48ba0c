//! Services come up, scale, follow nodes and go.

use std::collections::BTreeSet;

use super::*;
use crate::model::{
    Cluster, IpamConfig, Mode, Network, Node, NodeAvailability, RestartCondition, RestartPolicy, Service, ServiceSpec,
    TaskState,
};
use crate::store::{create, update};

fn global() -> ServiceSpec {
    ServiceSpec { mode: Mode::Global, ..replicated(0, "agent") }
}

#[test]
fn a_published_service_on_a_network_gets_all_that_it_needs() {
    let mut world = World::new(3, 0);
    world.add_network("app", false);
    world.add_service("s", published(on_network(replicated(3, "nginx"), "app"), 0)).unwrap();
    world.ticks(6);
    assert_eq!(world.up("s").len(), 3);
    let networks = world.view.networks();
    assert_eq!((networks["ingress"].ipam[0].subnet.as_str(), networks["ingress"].vni), ("10.0.0.0/24", 4096));
    assert_eq!((networks["app"].ipam[0].subnet.as_str(), networks["app"].vni), ("10.0.1.0/24", 4097));
    let endpoint = world.view.services()["s"].endpoint.clone().unwrap();
    assert_eq!(endpoint.ports[0].published_port, 30000);
    assert_eq!(endpoint.virtual_ips.len(), 2);
    for task in world.up("s") {
        assert_eq!(task.networks.iter().map(|n| n.network_id.as_str()).collect::<Vec<_>>(), ["app", "ingress"]);
    }
    for node in world.view.nodes().values() {
        assert_eq!(node.attachments.len(), 2, "{}", node.id);
    }
    let nodes: BTreeSet<_> = world.up("s").iter().map(|t| t.node_id.clone()).collect();
    assert_eq!(nodes.len(), 3);
}

#[test]
fn scaling_down_to_nothing_frees_everything() {
    let mut world = World::new(2, 0);
    world.add_network("app", false);
    world.add_service("s", on_network(replicated(5, "nginx"), "app")).unwrap();
    world.ticks(6);
    world.update_service("s", scale(2)).unwrap();
    world.ticks(4);
    assert_eq!(world.up("s").len(), 2);
    assert_eq!(world.view.tasks().size(), 2);
    assert!(world.view.services()["s"].update_status.is_none());
    world.update_service("s", scale(0)).unwrap();
    world.ticks(4);
    assert!(world.view.tasks().is_empty());
    assert!(world.view.nodes().values().all(|n| n.attachments.len() == 1));
}

#[test]
fn a_removed_service_goes_after_its_tasks_and_its_network_after_it() {
    let mut world = World::new(2, 0);
    world.add_network("app", false);
    world.add_service("s", published(on_network(replicated(2, "nginx"), "app"), 8080)).unwrap();
    world.ticks(6);
    let mut network = Network::clone(&world.view.networks()["app"]);
    network.pending_delete = true;
    world.commit(vec![update(network)]);
    world.remove_service("s").unwrap();
    // Its port is free at once.
    world.add_service("s2", published(replicated(1, "nginx"), 8080)).unwrap();
    world.ticks(6);
    assert!(!world.view.services().contains_key("s"));
    assert!(!world.view.networks().contains_key("app"));
    assert_eq!(world.view.tasks_of_service("s").count(), 0);
    assert_eq!(world.up("s2").len(), 1);
}

#[test]
fn a_taken_port_is_told_and_given_when_it_is_free() {
    let mut world = World::new(1, 0);
    world.add_service("a", published(replicated(1, "nginx"), 8080)).unwrap();
    world.ticks(4);
    let taken = world.add_service("b", published(replicated(1, "nginx"), 8080)).unwrap_err();
    assert_eq!(taken.message(), "port '8080' is already in use by service 'a' (a)");
    // A leader that had not seen the first yet has let it in.
    let spec = published(replicated(1, "nginx"), 8080);
    world.commit(vec![create(Service { id: "b".into(), spec, spec_version: 1, ..Service::default() })]);
    world.ticks(4);
    let refused = &world.view.services()["b"];
    assert_eq!(refused.allocation_error, "port '8080' is already in use by service 'a' (a) as an ingress port");
    let task = world.view.tasks_of_service("b").next().unwrap();
    assert_eq!(task.status.err, refused.allocation_error);
    world.remove_service("a").unwrap();
    world.ticks(6);
    assert_eq!(world.up("b").len(), 1);
    assert!(world.view.services()["b"].allocation_error.is_empty());
}

#[test]
fn a_node_that_never_came_takes_no_address() {
    let mut world = World::new(1, 0);
    world.commit(vec![create(Node { id: "ghost".into(), ..Node::default() })]);
    world.ticks(2);
    assert!(world.view.nodes()["ghost"].attachments.is_empty());
    assert_eq!(world.view.nodes()["node0"].attachments.len(), 1);
}

#[test]
fn a_network_that_overlaps_is_refused_with_the_reason() {
    let mut world = World::new(1, 0);
    world.ticks(1);
    world.add_network("mine", false);
    let mut network = Network::clone(&world.view.networks()["mine"]);
    network.spec.ipam = vec![IpamConfig { subnet: "10.0.0.128/25".into(), ..IpamConfig::default() }];
    world.commit(vec![update(network)]);
    world.ticks(1);
    assert_eq!(
        world.view.networks()["mine"].allocation_error,
        "subnet 10.0.0.128/25 overlaps with 10.0.0.0/24 of network ingress"
    );
}

#[test]
fn a_subnet_runs_out_visibly_and_freed_addresses_are_used_again() {
    let mut world = World::new(1, 0);
    world.add_network("tiny", false);
    let mut network = Network::clone(&world.view.networks()["tiny"]);
    network.spec.ipam = vec![IpamConfig { subnet: "10.9.0.0/29".into(), ..IpamConfig::default() }];
    world.commit(vec![update(network)]);
    // Six hosts: gateway, virtual address, the node's load balancer and three tasks.
    world.add_service("s", on_network(replicated(5, "nginx"), "tiny")).unwrap();
    world.ticks(6);
    let stuck: Vec<_> = world.view.tasks_of_service("s").filter(|t| t.state() == TaskState::New).collect();
    assert!(!stuck.is_empty());
    for task in stuck {
        let err = &task.status.err;
        assert_eq!(err, "no free address in 10.9.0.0/29 of network tiny: remove tasks or use a larger subnet");
    }
    world.update_service("s", scale(0)).unwrap();
    world.ticks(4);
    world.update_service("s", scale(3)).unwrap();
    world.ticks(8);
    assert_eq!(world.up("s").len(), 3);
}

#[test]
fn a_failed_task_is_replaced_in_its_slot_after_the_delay() {
    let mut world = World::new(1, 0);
    world.set_fate("bad", Fate::Fails);
    world.add_service("s", replicated(1, "bad")).unwrap();
    world.ticks(60);
    let tasks: Vec<_> = world.view.tasks_of_service("s").collect();
    assert_eq!(tasks.len(), 5, "the history is limited");
    assert!(tasks.iter().all(|t| t.slot == 1));
    let mut started: Vec<_> = tasks.iter().map(|t| t.status.running_at_ns).collect();
    started.retain(|at| *at > 0);
    started.sort_unstable();
    assert!(started.windows(2).all(|pair| pair[1] - pair[0] >= 5 * SECOND), "{started:?}");
    assert!(world.doubles.is_empty());
}

#[test]
fn a_rejected_task_is_replaced_no_faster() {
    let mut world = World::new(1, 0);
    world.set_fate("unknown", Fate::IsRejected);
    world.add_service("s", replicated(1, "unknown")).unwrap();
    world.ticks(60);
    let mut made: Vec<_> = world.view.tasks_of_service("s").map(|task| task.meta.created_at_ns).collect();
    assert!(made.len() > 3, "{made:?}");
    made.sort_unstable();
    assert!(made.windows(2).all(|pair| pair[1] - pair[0] >= 5 * SECOND), "{made:?}");
}

#[test]
fn with_a_history_of_nought_only_the_present_task_is_kept() {
    let mut world = World::new(1, 0);
    let mut cluster = Cluster::clone(world.view.cluster().unwrap());
    cluster.spec.task_history_limit = Some(0);
    world.commit(vec![update(cluster)]);
    world.set_fate("bad", Fate::Fails);
    world.add_service("s", replicated(1, "bad")).unwrap();
    world.ticks(60);
    assert_eq!(world.view.tasks_of_service("s").count(), 1);
}

fn with_restart(condition: RestartCondition, max_attempts: u64, image: &str) -> ServiceSpec {
    let mut spec = replicated(1, image);
    let policy = RestartPolicy { condition, max_attempts, delay_ns: Some(SECOND), ..RestartPolicy::default() };
    spec.task.restart = Some(policy);
    spec
}

#[test]
fn the_restart_policy_is_obeyed() {
    for (condition, attempts, image, expected) in [
        (RestartCondition::None, 0, "bad", 1),
        (RestartCondition::OnFailure, 0, "job", 1),
        (RestartCondition::Any, 2, "bad", 3),
        (RestartCondition::OnFailure, 3, "bad", 4),
    ] {
        let mut world = World::new(1, 0);
        world.set_fate("bad", Fate::Fails);
        world.set_fate("job", Fate::Completes);
        world.add_service("s", with_restart(condition, attempts, image)).unwrap();
        world.ticks(60);
        let tasks: Vec<_> = world.view.tasks_of_service("s").collect();
        assert_eq!(tasks.len(), expected, "{condition:?} {attempts}");
        assert!(tasks.iter().all(|t| t.desired_state == TaskState::Shutdown));
    }
}

#[test]
fn a_global_service_follows_the_nodes() {
    let mut world = World::new(2, 0);
    world.add_service("g", global()).unwrap();
    world.ticks(5);
    assert_eq!(world.up("g").len(), 2);
    world.add_node("node2");
    world.ticks(5);
    assert_eq!(world.up("g").len(), 3);
    world.set_availability("node1", NodeAvailability::Pause).unwrap();
    world.ticks(3);
    assert_eq!(world.up("g").len(), 3);
    world.set_availability("node1", NodeAvailability::Drain).unwrap();
    world.ticks(3);
    assert_eq!(world.up("g").len(), 2);
    assert!(!world.running().values().any(|node| node == "node1"));
    world.set_availability("node1", NodeAvailability::Active).unwrap();
    world.ticks(5);
    assert_eq!(world.up("g").len(), 3);
    assert!(world.doubles.is_empty());
}

#[test]
fn a_global_service_keeps_to_its_constraints() {
    let mut world = World::new(2, 0);
    let label = |value: &'static str| {
        move |node: &mut Node| {
            node.spec.annotations.labels.insert("disk".into(), value.into());
        }
    };
    world.change_node("node0", label("ssd"));
    let mut spec = global();
    spec.task.placement.constraints = vec!["node.labels.disk==ssd".into()];
    world.add_service("g", spec).unwrap();
    world.ticks(5);
    assert_eq!(world.up("g").iter().map(|t| t.node_id.as_str()).collect::<Vec<_>>(), ["node0"]);
    world.change_node("node0", label("hdd"));
    world.change_node("node1", label("SSD"));
    world.ticks(5);
    assert_eq!(world.up("g").iter().map(|t| t.node_id.as_str()).collect::<Vec<_>>(), ["node1"]);
}
