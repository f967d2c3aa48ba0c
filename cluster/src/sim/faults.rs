//! Nodes that vanish, come back, are drained or removed, in whatever order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::api::ObjectKind;
use crate::model::{Mode, NodeAvailability, ServiceSpec, TaskState};
use crate::store::remove;

#[test]
fn tasks_of_a_lost_node_run_elsewhere_and_the_old_ones_go_when_it_returns() {
    let mut world = World::new(3, 0);
    world.add_network("app", false);
    world.add_service("s", on_network(replicated(6, "x"), "app")).unwrap();
    world.ticks(6);
    world.cut("node1");
    world.ticks(8);
    assert_eq!(world.up("s").iter().filter(|t| t.node_id != "node1").count(), 6);
    assert!(world.running().values().any(|node| node == "node1"), "it does not know yet");
    world.heal("node1");
    world.ticks(3);
    assert!(!world.running().values().any(|node| node == "node1"));
    assert_eq!(world.running().len(), 6);
}

#[test]
fn a_drained_node_becomes_empty_and_no_slot_runs_twice() {
    let mut world = World::new(3, 0);
    world.add_service("s", replicated(6, "x")).unwrap();
    world.ticks(6);
    world.set_availability("node0", NodeAvailability::Drain).unwrap();
    world.ticks(10);
    assert!(!world.running().values().any(|node| node == "node0"));
    assert_eq!(world.up("s").len(), 6);
    assert!(world.doubles.is_empty());
}

#[test]
fn tasks_of_a_removed_node_are_orphaned_and_replaced() {
    let mut world = World::new(2, 0);
    world.add_service("s", replicated(4, "x")).unwrap();
    world.ticks(6);
    world.cut_off.insert("node0".into());
    world.commit(vec![remove(ObjectKind::Node, "node0")]);
    world.ticks(8);
    assert_eq!(world.up("s").iter().filter(|t| t.node_id == "node1").count(), 4);
    let rest = world.view.tasks().values().filter(|t| t.node_id == "node0");
    assert!(rest.into_iter().all(|t| t.state() == TaskState::Orphaned));
}

#[test]
fn after_a_day_a_lost_node_holds_nothing() {
    let mut world = World::new(2, 0);
    world.add_network("app", false);
    world.add_service("s", on_network(replicated(2, "x"), "app")).unwrap();
    world.ticks(6);
    world.cut("node0");
    world.ticks(5);
    world.update_service("s", scale(1)).unwrap();
    world.pass(crate::orchestrator::REAPER_ORPHAN_AFTER_NS);
    world.ticks(5);
    assert_eq!(world.view.tasks().values().filter(|t| t.state() <= TaskState::Running).count(), 1);
}

#[derive(Debug, Clone)]
enum Event {
    Scale(u64),
    Image(usize),
    Cut(usize),
    Heal(usize),
    Drain(usize),
    Activate(usize),
    Wait(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..9_u64).prop_map(Event::Scale),
        (0..3_usize).prop_map(Event::Image),
        (0..4_usize).prop_map(Event::Cut),
        (0..4_usize).prop_map(Event::Heal),
        (0..4_usize).prop_map(Event::Drain),
        (0..4_usize).prop_map(Event::Activate),
        (1..12_usize).prop_map(Event::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The checks of every tick hold throughout; and whatever happened, once it is over the swarm is as specified.
    #[test]
    fn whatever_happens_the_swarm_heals(events in proptest::collection::vec(event(), 1..25)) {
        let mut world = World::new(4, 0);
        world.add_network("app", false);
        world.add_service("s", published(on_network(replicated(3, "v0"), "app"), 0)).unwrap();
        world.set_fate("v2", Fate::Fails);
        for event in events {
            match event {
                Event::Scale(replicas) => world.update_service("s", scale(replicas)).unwrap(),
                Event::Image(index) => world.update_service("s", image(["v0", "v1", "v2"][index])).unwrap(),
                Event::Cut(node) => world.cut(&format!("node{node}")),
                Event::Heal(node) => world.heal(&format!("node{node}")),
                Event::Drain(node) => world.set_availability(&format!("node{node}"), NodeAvailability::Drain).unwrap(),
                Event::Activate(node) => world.set_availability(&format!("node{node}"), NodeAvailability::Active).unwrap(),
                Event::Wait(ticks) => world.ticks(ticks),
            }
            world.tick();
        }
        for node in 0..4 {
            world.heal(&format!("node{node}"));
            world.set_availability(&format!("node{node}"), NodeAvailability::Active).unwrap();
        }
        world.update_service("s", image("v9")).unwrap();
        world.update_service("s", scale(4)).unwrap();
        world.ticks(150);
        prop_assert_eq!(world.images("s"), BTreeMap::from([("v9".to_owned(), 4)]));
        prop_assert_eq!(world.running().len(), 4);
        // Nothing is decided any more.
        let version = world.view.version();
        world.ticks(3);
        prop_assert_eq!(world.view.version(), version);
    }

    /// Nodes and services come and go; a global service is everywhere in the end, and what was removed is gone.
    #[test]
    fn nodes_and_services_come_and_go(events in proptest::collection::vec((0..6_u8, 0..5_usize), 1..25)) {
        let mut world = World::new(3, 0);
        world.add_network("app", false);
        world.add_service("g", ServiceSpec {
            mode: Mode::Global,
            ..on_network(replicated(0, "agent"), "app")
        }).unwrap();
        let mut made = 0;
        for (kind, index) in events {
            let node = format!("node{index}");
            let known = world.view.nodes().contains_key(node.as_str());
            match kind {
                0 if !known => {
                    world.cut_off.remove(&node);
                    world.add_node(&node);
                }
                1 if known && world.view.nodes().size() > 1 => {
                    world.cut_off.insert(node.clone());
                    world.commit(vec![remove(ObjectKind::Node, &node)]);
                }
                2 if known && !world.cut_off.contains(&node) => world.cut(&node),
                3 if known => world.heal(&node),
                4 => {
                    made += 1;
                    world.add_service(&format!("s{made}"), published(on_network(replicated(3, "x"), "app"), 0)).unwrap();
                }
                5 if made > 0 => {
                    let id = format!("s{}", index % made + 1);
                    if world.view.services().get(id.as_str()).is_some_and(|service| !service.pending_delete) {
                        world.remove_service(&id).unwrap();
                    }
                }
                _ => {}
            }
            world.ticks(index);
        }
        let nodes: Vec<String> = world.view.nodes().keys().map(ToString::to_string).collect();
        nodes.iter().for_each(|node| world.heal(node));
        world.ticks(100);
        prop_assert_eq!(world.up("g").len(), nodes.len());
        for service in world.view.services().values() {
            prop_assert!(!service.pending_delete);
            prop_assert_eq!(world.up(&service.id).len(), if service.id == "g" { nodes.len() } else { 3 });
        }
        for task in world.view.tasks().values() {
            prop_assert!(world.view.services().contains_key(&task.service_id));
        }
        let version = world.view.version();
        world.ticks(3);
        prop_assert_eq!(world.view.version(), version);
    }

    #[test]
    fn drains_in_any_order_never_double_a_slot(order in proptest::collection::vec((0..4_usize, any::<bool>()), 1..12)) {
        let mut world = World::new(4, 0);
        world.add_service("s", replicated(5, "x")).unwrap();
        world.ticks(6);
        for (node, drain) in order {
            let to = if drain { NodeAvailability::Drain } else { NodeAvailability::Active };
            world.set_availability(&format!("node{node}"), to).unwrap();
            world.ticks(2);
        }
        world.ticks(30);
        prop_assert!(world.doubles.is_empty());
    }
}
