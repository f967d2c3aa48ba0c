//! Certificates that end while nobody renews them.

use std::time::Duration;

use skep_cluster::api::{ClusterSpec, InitRequest, LocalState, NodeRole};

use crate::lab::{TestNode, eventually, is_ready};

const HOUR: Duration = Duration::from_secs(3600);

/// A swarm whose certificates end after the shortest time there is.
async fn short_lived(name: &str) -> TestNode {
    let manager = TestNode::start(name);
    let expiry = i64::try_from(HOUR.as_nanos()).unwrap();
    manager.init_with(ClusterSpec { node_cert_expiry_ns: expiry, ..ClusterSpec::default() }).await;
    manager
}

async fn ready(node: &TestNode, id: &str) {
    eventually("the node is ready", || async { node.node(id).await.filter(is_ready) }).await;
}

async fn runs(node: &TestNode, tasks: u64) {
    eventually("the tasks run", || async { node.running_tasks().await.filter(|running| *running == tasks) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_was_off_past_its_certificate_comes_up_and_works() {
    let mut manager = short_lived("m1").await;
    let id = manager.id().await;
    manager.create_service("web", 1).await.unwrap();
    runs(&manager, 1).await;
    manager.stop().await.unwrap();

    manager.clock.forward(HOUR * 50);
    manager.run();
    manager.create_service("more", 1).await.unwrap();
    runs(&manager, 2).await;
    ready(&manager, &id).await;
    let info = manager.info().await;
    assert_eq!((info.error.as_str(), info.state()), ("", LocalState::Active));

    // Others can come, too.
    let (token, _) = manager.tokens().await;
    let worker = TestNode::start("w1");
    worker.clock.forward(HOUR * 50);
    assert_eq!(worker.join(&token, &manager).await.unwrap(), NodeRole::Worker);
    ready(&manager, &worker.id().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_whose_machine_was_asleep_renews_when_it_wakes() {
    let manager = short_lived("m1").await;
    let id = manager.id().await;
    ready(&manager, &id).await;
    manager.clock.forward(HOUR * 50);
    let (token, _) = manager.tokens().await;
    let worker = TestNode::start("w1");
    worker.clock.forward(HOUR * 50);
    // Until the manager has noticed, it shows the old certificate.
    eventually("a node joins", || async { worker.join(&token, &manager).await.ok() }).await;
    ready(&manager, &worker.id().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_that_were_all_off_find_each_other_again() {
    let mut managers = vec![short_lived("m1").await];
    let (_, token) = managers[0].tokens().await;
    for name in ["m2", "m3"] {
        let node = TestNode::start(name);
        node.join(&token, &managers[0]).await.unwrap();
        managers.push(node);
    }
    for manager in &mut managers {
        manager.stop().await.unwrap();
        manager.clock.forward(HOUR * 50);
    }
    managers.iter_mut().for_each(TestNode::run);
    eventually("a leader", || async { managers[1].create_service("web", 3).await.ok() }).await;
    runs(&managers[2], 3).await;

    // One that is left alone and was off begins anew by hand.
    for manager in &mut managers {
        manager.stop().await.unwrap();
        manager.clock.forward(HOUR * 50);
    }
    managers[0].run();
    let request =
        InitRequest { listen_addr: managers[0].addr.clone(), force_new_cluster: true, ..InitRequest::default() };
    managers[0].client().await.init(request).await.unwrap();
    ready(&managers[0], &managers[0].id().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_certificate_expired_says_so_and_joins_anew() {
    let manager = short_lived("m1").await;
    let (token, _) = manager.tokens().await;
    let mut worker = TestNode::start("w1");
    worker.join(&token, &manager).await.unwrap();
    let first = worker.id().await;
    worker.stop().await.unwrap();
    manager.clock.forward(HOUR * 50);
    worker.clock.forward(HOUR * 50);
    worker.run();
    let info = worker.info().await;
    assert!(info.error.starts_with("the node's certificate expired at "), "{}", info.error);
    assert!(info.error.ends_with("leave the swarm and join it again"), "{}", info.error);
    assert_eq!(info.state(), LocalState::Error);

    // Only its token lets it in again, as another node.
    worker.leave(false).await.unwrap();
    worker.ended().await.unwrap();
    worker.run();
    eventually("it joins again", || async { worker.join(&token, &manager).await.ok() }).await;
    let second = worker.id().await;
    assert_ne!(first, second);
    ready(&manager, &second).await;
    assert_eq!(worker.info().await.error, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_reaches_no_manager_says_so_until_it_does() {
    let mut manager = short_lived("m1").await;
    let (token, _) = manager.tokens().await;
    let worker = TestNode::start("w1");
    worker.join(&token, &manager).await.unwrap();
    assert_eq!(worker.info().await.error, "");
    manager.stop().await.unwrap();
    let cut_off = || async { Some(worker.info().await).filter(|info| !info.error.is_empty()) };
    let info = eventually("the worker says that it is cut off", cut_off).await;
    assert!(info.error.starts_with("no session with a manager: "), "{}", info.error);
    assert_eq!(info.state(), LocalState::Active, "it still is in the swarm, and its containers run");
    manager.run();
    eventually("the worker is in session again", || async {
        Some(worker.info().await).filter(|info| info.error.is_empty())
    })
    .await;
}
