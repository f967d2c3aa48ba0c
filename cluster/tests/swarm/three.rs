//! Three managers: one may fail. Five: two may.

use std::time::Duration;

use skep_cluster::api::{
    ClusterSpec, GetClusterRequest, InitRequest, NodeRole, NodeState, Reachability, RemoveNodeRequest,
    UpdateClusterRequest,
};

use crate::lab::{TestNode, eventually, is_ready, set_role, swarm};

async fn leader(nodes: &[TestNode]) -> usize {
    eventually("a leader", || async {
        for (index, node) in nodes.iter().enumerate().filter(|(_, node)| node.is_running()) {
            if node.is_leader().await {
                return Some(index);
            }
        }
        None
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_and_then_all_of_them() {
    let mut nodes = swarm(&["m1", "m2", "m3"]).await;
    let listed = eventually("three reachable managers", || async {
        let listed = nodes[2].nodes().await.ok()?;
        are_reachable(&listed, 3)?;
        listed.iter().all(is_ready).then_some(listed)
    })
    .await;
    assert_eq!(listed.iter().filter(|node| node.manager_status.as_ref().unwrap().leader).count(), 1);
    nodes[1].create_service("web", 4).await.unwrap();
    eventually("four running tasks", || async { (nodes[0].running_tasks().await == Some(4)).then_some(()) }).await;

    let first = leader(&nodes).await;
    nodes[first].kill();
    let rest: Vec<&TestNode> = nodes.iter().enumerate().filter(|(i, _)| *i != first).map(|(_, node)| node).collect();
    // No error meanwhile: the request waits for the next leader.
    rest[0].create_service("second", 1).await.unwrap();
    let web = rest[1].service("web").await.unwrap();
    nodes[first].run();
    let back = eventually("the killed one sees it", || async { nodes[first].service("second").await.ok() }).await;

    for node in &mut nodes {
        node.kill();
    }
    for node in &mut nodes {
        node.run();
    }
    let web_again = eventually("the services", || async { nodes[0].service("web").await.ok() }).await;
    assert_eq!((web_again.id, web_again.spec), (web.id, web.spec));
    assert_eq!(nodes[1].service("second").await.unwrap().spec, back.spec);
    let again = nodes[2].nodes().await.unwrap();
    let ids = |nodes: &[skep_cluster::api::Node]| nodes.iter().map(|node| node.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&listed));
}

fn are_reachable(listed: &[skep_cluster::api::Node], count: usize) -> Option<()> {
    let reachable = |node: &&skep_cluster::api::Node| {
        node.manager_status.as_ref().is_some_and(|status| status.reachability() == Reachability::Reachable)
    };
    (listed.iter().filter(reachable).count() == count).then_some(())
}

/// A manager that wrote a snapshot when it was the only one, and two that were promoted after that.
async fn promoted_after_the_snapshot() -> Vec<TestNode> {
    let nodes: Vec<TestNode> = ["m1", "m2", "m3"].into_iter().map(TestNode::start).collect();
    let spec = ClusterSpec { snapshot_interval: 20, ..ClusterSpec::default() };
    let request = InitRequest { listen_addr: nodes[0].addr.clone(), spec: Some(spec), ..InitRequest::default() };
    nodes[0].client().await.init(request).await.unwrap();
    let (token, _) = nodes[0].tokens().await;
    for node in &nodes[1..] {
        assert_eq!(node.join(&token, &nodes[0]).await.unwrap(), NodeRole::Worker);
    }
    for number in 0..5 {
        nodes[0].create_service(&format!("early{number}"), 1).await.unwrap();
    }
    let snapshot = nodes[0].root().join("swarm/raft/snapshot");
    eventually("a snapshot", || async { snapshot.exists().then_some(()) }).await;
    eventually("the snapshot is the last", || async {
        let client = nodes[0].client().await;
        let cluster = client.get_cluster(GetClusterRequest {}).await.ok()?.cluster?;
        let spec = ClusterSpec { snapshot_interval: 10_000, ..cluster.spec? };
        let request = UpdateClusterRequest {
            version: cluster.meta?.version,
            spec: Some(spec),
            ..UpdateClusterRequest::default()
        };
        client.update_cluster(request).await.ok()
    })
    .await;
    for node in &nodes[1..] {
        set_role(&nodes[0], &node.id().await, NodeRole::Manager).await.unwrap();
    }
    eventually("three reachable managers", || async { are_reachable(&nodes[0].nodes().await.ok()?, 3) }).await;
    nodes[0].create_service("web", 3).await.unwrap();
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn all_managers_come_back_from_a_snapshot_in_which_they_were_none() {
    let mut nodes = promoted_after_the_snapshot().await;
    eventually("running tasks", || async { (nodes[0].running_tasks().await == Some(8)).then_some(()) }).await;
    let raft_files: Vec<_> = nodes.iter().map(|node| node.root().join("swarm/raft/log")).collect();
    for node in &mut nodes {
        node.kill();
    }
    // The leader goes on without an election, and at first hears of nobody: then its heartbeats are answered before
    // the log is.
    nodes[0].run();
    tokio::time::sleep(Duration::from_secs(2)).await;
    nodes[1].run();
    nodes[2].run();
    for node in &nodes {
        eventually("the service", || async { node.service("web").await.ok() }).await;
    }
    eventually("three reachable managers", || async { are_reachable(&nodes[2].nodes().await.ok()?, 3) }).await;
    assert_eq!(nodes[1].running_tasks().await, Some(8));
    assert!(raft_files.iter().all(|path| path.exists()), "nobody gave up its part");
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_vote_for_one_whom_their_snapshot_has_as_a_worker() {
    let mut nodes = promoted_after_the_snapshot().await;
    let first = nodes[0].id().await;
    set_role(&nodes[0], &first, NodeRole::Worker).await.unwrap();
    eventually("the first manager is a worker", || async {
        nodes[1].node(&first).await.filter(|node| node.role() == NodeRole::Worker && node.manager_status.is_none())
    })
    .await;
    let leader = if nodes[1].is_leader().await { 1 } else { 2 };
    nodes[leader].kill();
    nodes[leader].run();
    eventually("a write", || async { nodes[2].create_service("after", 1).await.ok() }).await;
    nodes[1].kill();
    nodes[2].kill();
    nodes[1].run();
    nodes[2].run();
    eventually("the service", || async { nodes[1].service("after").await.ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_there_is_an_error_and_no_hang() {
    let mut nodes = swarm(&["m1", "m2", "m3"]).await;
    nodes[1].kill();
    nodes[2].kill();
    let words = "The swarm does not have a leader. It's possible that too few managers are online. \
                 Make sure more than half of the managers are online.";
    let refused = nodes[0].create_service("web", 1).await.unwrap_err();
    assert_eq!(refused.message(), words);
    let refused = nodes[0].nodes().await.unwrap_err();
    assert_eq!(refused.message(), words);
    nodes[1].run();
    eventually("a write with two of three", || async { nodes[0].create_service("web", 1).await.ok() }).await;

    // The majority is lost for good: one manager begins a new swarm with all that it knows.
    nodes[1].kill();
    nodes[0].kill();
    nodes[0].run();
    let request = InitRequest { force_new_cluster: true, ..InitRequest::default() };
    nodes[0].client().await.init(request).await.unwrap();
    nodes[0].service("web").await.unwrap();
    nodes[0].create_service("after", 1).await.unwrap();
    let listed = nodes[0].nodes().await.unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed.iter().filter(|node| node.role() == NodeRole::Manager).count(), 1);
    nodes[2].run();
    let id = nodes[2].id().await;
    eventually("a manager of old comes back as a worker", || async {
        nodes[0].node(&id).await.filter(is_ready)?;
        nodes[2].nodes().await.err().filter(|status| status.message().contains("Worker nodes"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_slept_through_its_demotion_and_promotion_begins_anew() {
    let mut nodes = swarm(&["m1", "m2", "m3"]).await;
    let id = nodes[2].id().await;
    let raft_id = |node: skep_cluster::api::Node| node.manager_status.map(|status| status.raft_id);
    let before = eventually("it is a manager", || async { nodes[0].node(&id).await.and_then(raft_id) }).await;
    nodes[2].kill();
    for role in [NodeRole::Worker, NodeRole::Manager] {
        eventually("another role is asked for", || async { set_role(&nodes[0], &id, role).await.ok() }).await;
        eventually("it has it", || async { nodes[0].node(&id).await.filter(|n| n.role() == role) }).await;
    }
    nodes[2].run();
    eventually("it is a manager under another number", || async {
        nodes[0].node(&id).await.and_then(raft_id).filter(|raft_id| *raft_id != before)
    })
    .await;
    // Its vote counts.
    nodes[1].kill();
    eventually("a write", || async { nodes[2].create_service("web", 1).await.ok() }).await;
    assert!(nodes[0].service("web").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_leaves_tells_the_others_and_says_when_it_could_not() {
    let mut nodes = swarm(&["m1", "m2", "m3"]).await;
    let first = leader(&nodes).await;
    let id = nodes[first].id().await;
    assert_eq!(nodes[first].leave(true).await.unwrap(), None);
    nodes[first].ended().await.unwrap();
    let others: Vec<usize> = (0..3).filter(|index| *index != first).collect();
    let left = eventually("it is out", || async { nodes[others[0]].node(&id).await }).await;
    assert!(left.manager_status.is_none(), "{left:?}");
    // Two voters are left: with one of them gone nobody can be told.
    nodes[others[1]].kill();
    let id = nodes[others[0]].id().await;
    let warning = nodes[others[0]].leave(true).await.unwrap().unwrap();
    assert!(warning.contains(&format!("skep node demote {id}")), "{warning}");
    nodes[others[0]].ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_are_promoted_demoted_and_removed() {
    let manager = TestNode::start("m1");
    manager.init().await;
    let (token, _) = manager.tokens().await;
    let mut worker = TestNode::start("w1");
    assert_eq!(worker.join(&token, &manager).await.unwrap(), NodeRole::Worker);
    let refused = worker.nodes().await.unwrap_err();
    assert!(refused.message().contains("Worker nodes can't be used to view or modify cluster state"), "{refused:?}");
    let id = worker.id().await;
    eventually("the worker is ready", || async { manager.node(&id).await.filter(is_ready) }).await;

    set_role(&manager, &id, NodeRole::Manager).await.unwrap();
    eventually("the promoted one answers", || async { worker.nodes().await.ok() }).await;
    eventually("it is reachable", || async {
        let status = manager.node(&id).await?.manager_status?;
        (status.reachability() == Reachability::Reachable).then_some(())
    })
    .await;
    let remove = RemoveNodeRequest { r#ref: id.clone(), force: true };
    let refused = manager.client().await.remove_node(remove.clone()).await.unwrap_err();
    assert!(refused.message().contains("It must be demoted to worker before removal"), "{refused:?}");

    // The leader itself is demoted: the other one takes over.
    let first = manager.id().await;
    set_role(&manager, &first, NodeRole::Worker).await.unwrap();
    eventually("the first manager is a worker", || async {
        let node = worker.node(&first).await?;
        (node.role() == NodeRole::Worker && node.manager_status.is_none()).then_some(())
    })
    .await;
    eventually("it says so", || async { manager.nodes().await.err().filter(|e| e.message().contains("Worker nodes")) })
        .await;
    let refused = set_role(&worker, &id, NodeRole::Worker).await.unwrap_err();
    assert_eq!(refused.message(), "attempting to demote the last manager of the swarm");

    // Back up under a new raft number, and the other one down.
    set_role(&worker, &first, NodeRole::Manager).await.unwrap();
    eventually("it is a manager again", || async { manager.nodes().await.ok() }).await;
    eventually("with a vote", || async { set_role(&manager, &id, NodeRole::Worker).await.ok() }).await;
    eventually("the other is a worker", || async {
        manager.node(&id).await.filter(|node| node.role() == NodeRole::Worker)
    })
    .await;
    eventually("and left raft", || async { worker.nodes().await.err() }).await;
    eventually("the worker is ready", || async { manager.node(&id).await.filter(is_ready) }).await;
    let refused = manager.client().await.remove_node(RemoveNodeRequest { r#ref: id.clone(), force: false }).await;
    assert_eq!(refused.unwrap_err().message(), format!("node {id} is not down and can't be removed"));
    // It may have heard that it is no manager before it has stopped being one.
    eventually("it may leave", || async { worker.leave(false).await.ok() }).await;
    worker.ended().await.unwrap();
    let left = manager.node(&id).await.unwrap().status.unwrap();
    assert_eq!((left.state(), left.message.as_str()), (NodeState::Down, "the node left the swarm"));
    manager.client().await.remove_node(remove).await.unwrap();
    assert!(manager.node(&id).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_managers_two_may_fail_and_a_third_may_not() {
    let mut nodes = swarm(&["m1", "m2", "m3", "m4", "m5"]).await;
    eventually("five reachable managers", || async { are_reachable(&nodes[4].nodes().await.ok()?, 5) }).await;
    nodes[0].create_service("web", 5).await.unwrap();
    eventually("five running tasks", || async { (nodes[0].running_tasks().await == Some(5)).then_some(()) }).await;

    // The leader, and then the one that follows it.
    for (round, name) in ["second", "third"].into_iter().enumerate() {
        let lost = leader(&nodes).await;
        nodes[lost].kill();
        let rest = (0..5).find(|index| *index != lost && nodes[*index].is_running()).unwrap();
        eventually("a write", || async { nodes[rest].create_service(name, 1).await.ok() }).await;
        assert_eq!(nodes.iter().filter(|node| node.is_running()).count(), 4 - round);
    }
    let running: Vec<usize> = (0..5).filter(|index| nodes[*index].is_running()).collect();
    let asked = running[0];
    nodes[running[1]].kill();
    let refused = nodes[asked].create_service("fourth", 1).await.unwrap_err();
    assert!(refused.message().starts_with("The swarm does not have a leader."), "{refused:?}");
    let back = (0..5).find(|index| !nodes[*index].is_running()).unwrap();
    nodes[back].run();
    eventually("a write", || async { nodes[asked].create_service("fifth", 1).await.ok() }).await;
    for name in ["web", "second", "third", "fifth"] {
        assert!(nodes[back].service(name).await.is_ok(), "{name}");
    }
}
