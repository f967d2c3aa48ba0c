//! Rolling updates: pace, order, failure.

use std::collections::BTreeMap;

use super::*;
use crate::model::{
    NodeAvailability, ServiceSpec, TaskState, UpdateConfig, UpdateFailureAction, UpdateOrder, UpdateState,
};

fn with_update(mut spec: ServiceSpec, config: UpdateConfig) -> ServiceSpec {
    spec.update = Some(config);
    spec
}

fn one_by_one() -> UpdateConfig {
    UpdateConfig { parallelism: 1, ..UpdateConfig::default() }
}

fn update_state(world: &World) -> UpdateState {
    world.view.services()["s"].update_state()
}

/// Ticks until the update ends; the fewest tasks that ran meanwhile and the most that did not.
fn watch(world: &mut World, ticks: usize) -> usize {
    let mut fewest = usize::MAX;
    for _ in 0..ticks {
        world.tick();
        fewest = fewest.min(world.up("s").len());
    }
    fewest
}

#[test]
fn an_update_goes_slot_by_slot() {
    let mut world = World::new(3, 0);
    world.add_service("s", with_update(replicated(4, "v1"), one_by_one())).unwrap();
    world.ticks(6);
    world.update_service("s", image("v2")).unwrap();
    let fewest = watch(&mut world, 60);
    assert_eq!(world.images("s"), BTreeMap::from([("v2".into(), 4)]));
    assert_eq!(fewest, 3);
    assert_eq!(update_state(&world), UpdateState::Completed);
    assert!(world.doubles.is_empty());
}

#[test]
fn parallelism_nought_is_all_at_once() {
    let mut world = World::new(3, 0);
    let config = UpdateConfig { parallelism: 0, ..UpdateConfig::default() };
    world.add_service("s", with_update(replicated(4, "v1"), config)).unwrap();
    world.ticks(6);
    world.update_service("s", image("v2")).unwrap();
    world.ticks(8);
    assert_eq!(world.images("s"), BTreeMap::from([("v2".into(), 4)]));
}

#[test]
fn start_first_never_has_too_few() {
    let mut world = World::new(3, 0);
    let config = UpdateConfig { order: UpdateOrder::StartFirst, ..one_by_one() };
    world.add_service("s", with_update(replicated(3, "v1"), config)).unwrap();
    world.ticks(6);
    world.update_service("s", image("v2")).unwrap();
    let fewest = watch(&mut world, 60);
    assert_eq!(fewest, 3);
    assert_eq!(world.images("s"), BTreeMap::from([("v2".into(), 3)]));
    assert_eq!(update_state(&world), UpdateState::Completed);
}

#[test]
fn the_delay_lies_between_two_slots() {
    let mut world = World::new(3, 0);
    let config = UpdateConfig { delay_ns: 10 * SECOND, ..one_by_one() };
    world.add_service("s", with_update(replicated(3, "v1"), config)).unwrap();
    world.ticks(6);
    world.update_service("s", image("v2")).unwrap();
    world.ticks(80);
    let mut started: Vec<i64> = world.up("s").iter().map(|t| t.status.running_at_ns).collect();
    started.sort_unstable();
    assert!(started.windows(2).all(|pair| pair[1] - pair[0] >= 10 * SECOND), "{started:?}");
    assert_eq!(update_state(&world), UpdateState::Completed);
}

#[test]
fn a_failing_update_pauses_and_leaves_the_rest_alone() {
    let mut world = World::new(3, 0);
    world.set_fate("bad", Fate::FailsToStart);
    world.add_service("s", with_update(replicated(4, "v1"), one_by_one())).unwrap();
    world.ticks(6);
    world.update_service("s", image("bad")).unwrap();
    world.ticks(60);
    assert_eq!(update_state(&world), UpdateState::Paused);
    assert_eq!(world.images("s").get("v1"), Some(&3));
    // A task of the old version that ends meanwhile comes back as it was.
    let victim = world.up("s")[0].clone();
    world.set_availability(&victim.node_id, NodeAvailability::Drain).unwrap();
    world.ticks(20);
    assert_eq!(world.images("s").get("v1"), Some(&3));
    world.update_service("s", image("v3")).unwrap();
    world.ticks(60);
    assert_eq!(world.images("s"), BTreeMap::from([("v3".into(), 4)]));
    assert_eq!(update_state(&world), UpdateState::Completed);
}

#[test]
fn a_failing_start_first_update_keeps_what_runs() {
    let mut world = World::new(3, 0);
    world.set_fate("bad", Fate::FailsToStart);
    let config = UpdateConfig { order: UpdateOrder::StartFirst, ..one_by_one() };
    world.add_service("s", with_update(replicated(3, "v1"), config)).unwrap();
    world.ticks(6);
    world.update_service("s", image("bad")).unwrap();
    world.ticks(60);
    assert_eq!(update_state(&world), UpdateState::Paused);
    assert_eq!(world.images("s"), BTreeMap::from([("v1".into(), 3)]));
}

#[test]
fn a_failing_update_rolls_back_and_says_so() {
    let mut world = World::new(3, 0);
    world.set_fate("bad", Fate::Fails);
    let config = UpdateConfig { failure_action: UpdateFailureAction::Rollback, ..one_by_one() };
    let mut spec = with_update(replicated(4, "v1"), config);
    spec.rollback = Some(one_by_one());
    world.add_service("s", spec).unwrap();
    world.ticks(6);
    world.update_service("s", image("bad")).unwrap();
    world.ticks(80);
    assert_eq!(world.images("s"), BTreeMap::from([("v1".into(), 4)]));
    assert_eq!(update_state(&world), UpdateState::RollbackCompleted);
    assert!(world.view.services()["s"].previous_spec.is_none());
}

#[test]
fn with_continue_a_failing_update_reaches_every_slot() {
    let mut world = World::new(3, 0);
    world.set_fate("bad", Fate::FailsToStart);
    let config = UpdateConfig { failure_action: UpdateFailureAction::Continue, ..one_by_one() };
    world.add_service("s", with_update(replicated(3, "v1"), config)).unwrap();
    world.ticks(6);
    world.update_service("s", image("bad")).unwrap();
    world.ticks(120);
    assert!(!world.images("s").contains_key("v1"));
    assert_eq!(update_state(&world), UpdateState::Completed);
}

#[test]
fn a_ratio_of_failures_is_tolerated() {
    let mut world = World::new(3, 0);
    world.set_fate("bad", Fate::FailsToStart);
    let config = UpdateConfig { max_failure_ratio: 0.5, ..one_by_one() };
    world.add_service("s", with_update(replicated(4, "v1"), config)).unwrap();
    world.ticks(6);
    world.update_service("s", image("bad")).unwrap();
    world.ticks(100);
    assert_eq!(update_state(&world), UpdateState::Paused);
    let old = world
        .view
        .tasks_of_service("s")
        .filter(|t| t.desired_state == TaskState::Running && t.spec.container.image == "v1");
    assert_eq!(old.count(), 1, "three of four are more than half");
}

#[test]
fn a_new_port_replaces_the_tasks() {
    let mut world = World::new(2, 0);
    world.add_service("s", with_update(replicated(2, "v1"), one_by_one())).unwrap();
    world.ticks(6);
    world.update_service("s", |spec| *spec = published(spec.clone(), 8080)).unwrap();
    world.ticks(40);
    assert_eq!(update_state(&world), UpdateState::Completed);
    for task in world.up("s") {
        assert_eq!(task.endpoint.ports[0].published_port, 8080);
        assert_eq!(task.networks.len(), 1);
    }
}

#[test]
fn an_update_does_not_need_the_leader_that_began_it() {
    // The brains keep nothing; so it is enough that every decision is made by a new value of each.
    let mut world = World::new(3, 0);
    world.add_service("s", with_update(replicated(6, "v1"), UpdateConfig { parallelism: 2, ..one_by_one() })).unwrap();
    world.ticks(6);
    world.update_service("s", image("v2")).unwrap();
    world.ticks(4);
    assert!(world.images("s").len() == 2 || world.images("s").contains_key("v1"));
    world.pass(30 * SECOND);
    world.ticks(60);
    assert_eq!(world.images("s"), BTreeMap::from([("v2".into(), 6)]));
}
