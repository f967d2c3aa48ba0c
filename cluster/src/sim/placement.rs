//! Where tasks go, and why they go nowhere.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::{NodeAvailability, Placement, Platform, PublishMode, ServiceSpec, Task, TaskState};
use crate::store::create;

fn placed(mut spec: ServiceSpec, placement: Placement) -> ServiceSpec {
    spec.task.placement = placement;
    spec
}

fn reserving(mut spec: ServiceSpec, memory_bytes: i64) -> ServiceSpec {
    spec.task.resources.reservations.memory_bytes = memory_bytes;
    spec
}

fn reasons(world: &World) -> BTreeSet<String> {
    let waiting = world.view.tasks().values().filter(|t| t.state() == TaskState::Pending);
    waiting.map(|t| t.status.err.clone()).collect()
}

fn only(reason: &str) -> BTreeSet<String> {
    BTreeSet::from([reason.to_owned()])
}

#[test]
fn reservations_fill_the_nodes_and_no_more() {
    let mut world = World::new(2, 0);
    world.add_service("s", reserving(replicated(5, "big"), 3 << 30)).unwrap();
    world.ticks(6);
    assert_eq!(world.up("s").len(), 4);
    assert_eq!(reasons(&world), only("no suitable node (insufficient resources on 2 nodes)"));
    world.add_node("node9");
    world.ticks(5);
    assert_eq!(world.up("s").len(), 5);
}

#[test]
fn the_reasons_are_counted() {
    let mut world = World::new(3, 0);
    world.set_availability("node2", NodeAvailability::Drain).unwrap();
    let constraints = vec!["node.labels.zone == east".to_owned()];
    world.add_service("s", placed(replicated(1, "x"), Placement { constraints, ..Placement::default() })).unwrap();
    world.ticks(3);
    assert_eq!(
        reasons(&world),
        only("no suitable node (scheduling constraints not satisfied on 2 nodes; 1 node not available for new tasks)")
    );
}

#[test]
fn a_foreign_platform_is_refused() {
    let mut world = World::new(1, 0);
    let arm = Platform { architecture: "arm64".into(), os: "linux".into() };
    world
        .add_service("s", placed(replicated(1, "x"), Placement { platforms: vec![arm], ..Placement::default() }))
        .unwrap();
    world.ticks(3);
    assert_eq!(reasons(&world), only("no suitable node (unsupported platform on 1 node)"));
    let amd = Platform { architecture: "amd64".into(), os: "linux".into() };
    world
        .add_service("t", placed(replicated(1, "x"), Placement { platforms: vec![amd], ..Placement::default() }))
        .unwrap();
    world.ticks(5);
    assert_eq!(world.up("t").len(), 1);
}

#[test]
fn a_host_port_is_used_once_on_a_node() {
    let mut world = World::new(2, 0);
    let mut spec = published(replicated(3, "x"), 8090);
    spec.endpoint.ports[0].publish_mode = PublishMode::Host;
    world.add_service("s", spec).unwrap();
    world.ticks(6);
    assert_eq!(world.up("s").len(), 2);
    assert_eq!(reasons(&world), only("no suitable node (host-mode port already in use on 2 nodes)"));
}

#[test]
fn max_replicas_per_node_holds() {
    let mut world = World::new(2, 0);
    world
        .add_service("s", placed(replicated(5, "x"), Placement { max_replicas_per_node: 2, ..Placement::default() }))
        .unwrap();
    world.ticks(6);
    assert_eq!(world.up("s").len(), 4);
    assert_eq!(reasons(&world), only("no suitable node (max replicas per node limit exceed)"));
}

#[test]
fn tasks_spread_over_the_values_of_a_label() {
    let mut world = World::new(4, 0);
    for (node, zone) in [("node0", "east"), ("node1", "east"), ("node2", "east"), ("node3", "west")] {
        world.change_node(node, |node| {
            node.spec.annotations.labels.insert("zone".into(), zone.into());
        });
    }
    let spread = vec!["node.labels.zone".to_owned()];
    world.add_service("s", placed(replicated(6, "x"), Placement { spread, ..Placement::default() })).unwrap();
    world.ticks(6);
    assert_eq!(world.up("s").iter().filter(|t| t.node_id == "node3").count(), 3);
}

#[test]
fn a_node_where_tasks_keep_failing_is_avoided() {
    let mut world = World::new(2, 0);
    world.add_service("s", replicated(2, "x")).unwrap();
    world.ticks(5);
    for _ in 0..6 {
        let here: Vec<Task> = world.up("s").into_iter().filter(|t| t.node_id == "node0").cloned().collect();
        for task in here {
            world.machines["node0"].with(&task.id, |container| (container.running, container.exit_code) = (false, 1));
        }
        world.ticks(12);
    }
    assert!(world.up("s").iter().all(|t| t.node_id == "node1"));
}

#[test]
fn a_single_container_gets_the_address_it_asked_for_or_the_reason() {
    use crate::model::Attachment;
    let mut world = World::new(1, 0);
    world.add_network("app", false);
    world.ticks(1);
    let attachment = |id: &str, address: &str| {
        create(Attachment {
            id: id.into(),
            network_id: "app".into(),
            node_id: "node0".into(),
            address: address.into(),
            ..Attachment::default()
        })
    };
    world.commit(vec![attachment("a", "10.0.1.77"), attachment("b", ""), attachment("c", "10.0.1.77")]);
    world.ticks(2);
    let attachments = world.view.attachments();
    assert_eq!(attachments["a"].address, "10.0.1.77/24");
    assert!(attachments["b"].address.ends_with("/24"));
    assert_eq!(attachments["c"].allocation_error, "address 10.0.1.77 is already in use on network app");
    assert_eq!(world.view.nodes()["node0"].attachments.len(), 2, "the node carries the network");
}

#[test]
fn ten_thousand_tasks_are_placed_evenly() {
    let mut world = World::new(100, 0);
    world.add_service("s", replicated(10_000, "x")).unwrap();
    world.brains();
    let mut by_node: BTreeMap<&str, usize> = BTreeMap::new();
    for task in world.view.tasks().values() {
        assert_eq!(task.state(), TaskState::Assigned);
        *by_node.entry(&task.node_id).or_default() += 1;
    }
    assert!(by_node.len() == 100 && by_node.values().all(|count| *count == 100));
}
