//! A swarm of one.

use skep_cluster::api::{
    CreateServiceRequest, GetServiceRequest, InfoRequest, InitRequest, ListNetworksRequest, ListServicesRequest,
    RemoveServiceRequest, UpdateServiceRequest, service_spec,
};
use skep_cluster::client::{Client, ClientError};
use skep_cluster::node::{NodeError, is_joined, run_until, socket_path};
use tokio_util::sync::CancellationToken;

use crate::lab::{TestNode, eventually, files, is_ready, service};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_makes_a_swarm_runs_a_service_and_leaves() {
    let mut node = TestNode::start("one");
    let client = node.client().await;
    let refused = client.list_services(ListServicesRequest {}).await.unwrap_err();
    assert!(refused.message().contains("Use \"skep swarm init\" or \"skep swarm join\""), "{refused:?}");

    node.init().await;
    let again = InitRequest { listen_addr: node.addr.clone(), ..InitRequest::default() };
    let refused = client.init(again).await.unwrap_err();
    assert!(refused.message().starts_with("This node is already part of a swarm."), "{refused:?}");
    let (worker, manager) = node.tokens().await;
    assert!(worker.starts_with("SWMTKN-1-") && manager.starts_with("SWMTKN-1-") && worker != manager);
    assert_eq!(worker.len(), "SWMTKN-1-".len() + 50 + 1 + 25);

    node.create_service("web", 3).await.unwrap();
    eventually("three running tasks", || async { (node.running_tasks().await == Some(3)).then_some(()) }).await;
    assert_eq!(node.machine.running().len(), 3);
    let networks = client.list_networks(ListNetworksRequest {}).await.unwrap().networks;
    assert_eq!(networks.len(), 1);
    assert!(networks[0].spec.as_ref().unwrap().ingress);
    let id = node.id().await;
    eventually("the node is ready", || async { node.node(&id).await.filter(is_ready) }).await;

    let refused = node.leave(false).await.unwrap_err();
    assert!(refused.message().contains("Removing the last manager erases all current state"), "{refused:?}");
    node.leave(true).await.unwrap();
    node.ended().await.unwrap();
    assert!(node.machine.running().is_empty());
    assert!(!is_joined(&node.root()));
    assert_eq!(files(&node.root()), [node.root().join("swarm.lock")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_created_updated_and_removed_in_dockers_words() {
    let node = TestNode::start("one");
    node.init().await;
    let client = node.client().await;
    let made = node.create_service("web", 1).await.unwrap();
    let refused = node.create_service("web", 1).await.unwrap_err();
    assert_eq!(refused.message(), "name conflicts with an existing object: service web already exists");
    let refused = node.service("nope").await.unwrap_err();
    assert_eq!(refused.message(), "service nope not found");

    let stored = eventually("an allocated service", || async {
        let stored = node.service("web").await.ok()?;
        (node.running_tasks().await == Some(1)).then_some(stored)
    })
    .await;
    assert_eq!(stored.id, made.id);
    let version = stored.meta.unwrap().version;
    let mut spec = service("web", 2);
    let request = |version, spec| UpdateServiceRequest { r#ref: "web".into(), version, spec, rollback: false };
    let refused = client.update_service(request(version + 1000, Some(spec.clone()))).await.unwrap_err();
    assert_eq!(refused.message(), "update out of sequence");
    let updated = client.update_service(request(version, Some(spec.clone()))).await.unwrap();
    let updated = updated.service.unwrap();
    assert_eq!(updated.previous_spec.unwrap().mode, service("web", 1).mode);
    eventually("two running tasks", || async { (node.running_tasks().await == Some(2)).then_some(()) }).await;

    spec.mode = Some(service_spec::Mode::Global(Default::default()));
    let version = node.service("web").await.unwrap().meta.unwrap().version;
    let refused = client.update_service(request(version, Some(spec))).await.unwrap_err();
    assert_eq!(refused.message(), "service mode change is not allowed");

    client.remove_service(RemoveServiceRequest { r#ref: "web".into() }).await.unwrap();
    let refused = client.get_service(GetServiceRequest { r#ref: "web".into() }).await.unwrap_err();
    assert_eq!(refused.message(), "service web not found");
    client.create_service(CreateServiceRequest { spec: Some(service("web", 0)) }).await.unwrap();
    eventually("no running container", || async { node.machine.running().is_empty().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_finds_everything_again() {
    let mut node = TestNode::start("one");
    node.init().await;
    let made = node.create_service("web", 2).await.unwrap();
    eventually("two running tasks", || async { (node.running_tasks().await == Some(2)).then_some(()) }).await;
    let (id, before) = (node.id().await, node.machine.running());
    node.kill();
    assert_eq!(node.machine.running(), before, "containers do not need the agent");
    node.run();
    let found = eventually("the service", || async { node.service("web").await.ok() }).await;
    assert_eq!((found.id, found.spec), (made.id, made.spec));
    assert_eq!(node.id().await, id);
    eventually("two running tasks", || async { (node.running_tasks().await == Some(2)).then_some(()) }).await;
    assert_eq!(node.machine.running(), before, "adopted, not made anew");
    node.stop().await.unwrap();
    assert_eq!(node.machine.running(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_has_one_agent_and_without_one_the_client_says_so() {
    let mut node = TestNode::start("one");
    node.client().await;
    let second = run_until(node.config(), CancellationToken::new()).await;
    assert!(matches!(second, Err(NodeError::Running { pid: Some(_), .. })), "{second:?}");
    node.stop().await.unwrap();
    let socket = socket_path(&node.config().run_root);
    assert!(matches!(Client::connect(&socket).await, Err(ClientError::NotRunning)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_larger_than_one_change_may_be_survives_a_forced_new_swarm() {
    let node = TestNode::start("one");
    node.init().await;
    let names: Vec<String> = (0..4).map(|index| format!("large{index}")).collect();
    for name in &names {
        let mut spec = service(name, 0);
        spec.task.as_mut().unwrap().container.as_mut().unwrap().env = vec![format!("A={}", "x".repeat(3 << 20))];
        node.client().await.create_service(CreateServiceRequest { spec: Some(spec) }).await.unwrap();
    }
    let request = InitRequest { force_new_cluster: true, ..InitRequest::default() };
    node.client().await.init(request).await.unwrap();
    for name in &names {
        eventually("the service", || async { node.service(name).await.ok() }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_use_its_directory_says_so_and_tries_again() {
    let mut node = TestNode::start("one");
    node.init().await;
    node.stop().await.unwrap();
    let directory = node.root().join("swarm/worker");
    std::fs::rename(&directory, node.root().join("worker")).unwrap();
    std::fs::write(&directory, b"in the way").unwrap();
    node.run();
    let info = || async { node.client().await.info(InfoRequest {}).await.ok() };
    eventually("the reason", || async { info().await.filter(|i| i.error.contains("swarm/worker")) }).await;
    std::fs::remove_file(&directory).unwrap();
    std::fs::rename(node.root().join("worker"), &directory).unwrap();
    node.create_service("web", 1).await.unwrap();
    eventually("a running task", || async { (node.running_tasks().await == Some(1)).then_some(()) }).await;
    eventually("no complaint", || async { info().await.filter(|info| info.error.is_empty()) }).await;
}
