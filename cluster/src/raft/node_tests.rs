//! Members over loopback TLS, with real files.

use std::sync::atomic::AtomicU32;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::*;
use crate::api::RaftMessage;
use crate::api::ca_server::CaServer;
use crate::api::raft_membership_server::RaftMembershipServer;
use crate::api::raft_server::{Raft as Rpc, RaftServer};
use crate::ca::{CaService, NODE_VALIDITY, NodeKey, RootKey, new_root, sign_node};
use crate::model::{Cluster, ClusterSpec, NodeRole, Task};
use crate::raft::MembershipService;
use crate::store::create;
use crate::surroundings::Surroundings;
use crate::wire::{Caller, Credentials, Tls};

const LIMIT: Duration = Duration::from_secs(60);

struct TestMember {
    node: Arc<RaftNode>,
    served: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    stop: CancellationToken,
    /// While it is set, this member answers heartbeats, and takes no entries.
    takes_nothing: Arc<AtomicBool>,
}

/// The member's service, which can be told to take no entries.
struct Choosy {
    inner: RaftService,
    takes_nothing: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl Rpc for Choosy {
    async fn append_entries(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        let message: serde_json::Value = serde_json::from_slice(&request.get_ref().payload).unwrap();
        let is_heartbeat = message["entries"].as_array().is_none_or(Vec::is_empty);
        if self.takes_nothing.load(Ordering::Relaxed) && !is_heartbeat {
            return Err(Status::unavailable("not now"));
        }
        self.inner.append_entries(request).await
    }

    async fn vote(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        self.inner.vote(request).await
    }

    async fn install_snapshot(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        self.inner.install_snapshot(request).await
    }
}

async fn member(directory: &TempDir, root: &RootKey, name: &str, listener: TcpListener) -> TestMember {
    let key = NodeKey::generate().unwrap();
    let caller = Caller { node_id: name.into(), role: NodeRole::Manager, cluster_id: "c".into(), addr: None };
    let chain = sign_node(root, &key.request_pem, &caller, NODE_VALIDITY, SystemTime::now()).unwrap();
    let root_pem = root.cert_pem.as_bytes();
    let credentials =
        Credentials::from_pem(root_pem, chain.as_bytes(), key.key_pem.as_bytes(), &Surroundings::system().clock)
            .unwrap();
    let tls = Arc::new(Tls::new(credentials));
    let node = RaftNode::start(RaftSettings {
        dir: directory.path().join(name),
        key: Arc::new(DiskKey::new(&[9; 32]).unwrap()),
        node_id: name.into(),
        addr: listener.local_addr().unwrap().to_string(),
        peers: Arc::new(Peers::new(tls.clone(), Timing::default(), Surroundings::system().clock)),
        timing: Timing::default(),
        surroundings: Surroundings::system(),
        snapshot_interval: 20,
    })
    .await
    .unwrap();
    let takes_nothing = Arc::new(AtomicBool::new(false));
    let service = Choosy { inner: node.service(), takes_nothing: takes_nothing.clone() };
    let routes = Routes::new(RaftServer::new(service))
        .add_service(CaServer::new(CaService::new(node.clone(), Surroundings::system(), root_pem.to_vec())))
        .add_service(RaftMembershipServer::new(MembershipService::new(node.clone())))
        .prepare();
    let stop = CancellationToken::new();
    let served = tokio::spawn(crate::wire::serve(
        listener,
        tls,
        Timing::default(),
        Surroundings::system().clock,
        routes,
        stop.clone(),
    ));
    TestMember { node, served, stop, takes_nothing }
}

impl TestMember {
    async fn leads(&self) {
        let mut leadership = self.node.leadership();
        tokio::time::timeout(LIMIT, leadership.wait_for(|now| now.leading)).await.unwrap().unwrap();
    }

    async fn has_tasks(&self, count: usize) {
        let mut views = self.node.watch();
        tokio::time::timeout(LIMIT, views.wait_for(|view| view.tasks().size() == count)).await.unwrap().unwrap();
    }

    async fn write(&self, ids: std::ops::Range<u32>) {
        for id in ids {
            let task = Task { id: format!("t{id:04}").into(), ..Task::default() };
            self.node.propose(vec![create(task)]).await.unwrap();
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.node.shutdown().await;
        // Its address is free from here on.
        tokio::time::timeout(LIMIT, self.served).await.unwrap().unwrap().unwrap();
    }
}

async fn listener() -> TcpListener {
    // An address of its own: a member that comes back finds its port again, which on 127.0.0.1 may have become that of
    // somebody's outgoing connection.
    static MEMBERS: AtomicU32 = AtomicU32::new(1);
    let number = MEMBERS.fetch_add(1, Ordering::Relaxed);
    let [.., high, low] = number.to_be_bytes();
    let process = 32 + std::process::id() % 200;
    TcpListener::bind(format!("127.{process}.{high}.{low}:0")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_member_catches_up_by_snapshot_and_takes_over() {
    let directory = tempfile::tempdir().unwrap();
    let root = new_root(SystemTime::now()).unwrap();
    let first = member(&directory, &root, "a", listener().await).await;
    assert!(first.node.is_pristine());
    first.node.initialize().await.unwrap();
    first.leads().await;
    first.write(0..100).await;
    let purged = first.node.raft.wait(Some(LIMIT));
    purged.metrics(|metrics| metrics.purged.is_some(), "old entries are dropped").await.unwrap();

    let second = member(&directory, &root, "b", listener().await).await;
    let node = Node { node_id: "b".into(), addr: second.node.settings.addr.clone() };
    first.node.add_member(second.node.id(), node).await.unwrap();
    second.has_tasks(100).await;
    let snapshot = second.node.raft.metrics().borrow().snapshot;
    assert!(snapshot.is_some(), "the first entries are gone: only a snapshot can have brought them");
    assert!(first.node.members().iter().all(|member| member.voter));

    first.node.hand_over().await.unwrap();
    second.leads().await;
    second.node.read_barrier().await.unwrap();
    second.write(100..110).await;
    first.has_tasks(110).await;
    let refused = first.node.propose(vec![]).await.unwrap_err();
    assert!(matches!(refused, ProposeError::NotLeader { leader: Some(_) }), "{refused}");

    second.node.remove_node("a").await.unwrap();
    assert_eq!(second.node.members().len(), 1);
    second.write(110..111).await;
    let last = second.node.remove_node("b").await.unwrap_err();
    assert_eq!(last.to_string(), "the last manager cannot be removed");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_finds_its_state_in_snapshot_and_log() {
    let directory = tempfile::tempdir().unwrap();
    let root = new_root(SystemTime::now()).unwrap();
    let first = member(&directory, &root, "a", listener().await).await;
    first.node.initialize().await.unwrap();
    first.leads().await;
    first.write(0..55).await;
    let (id, view) = (first.node.id(), first.node.view());
    first.stop().await;

    let again = member(&directory, &root, "a", listener().await).await;
    assert_eq!(again.node.id(), id);
    assert!(!again.node.is_pristine());
    again.leads().await;
    again.node.read_barrier().await.unwrap();
    assert_eq!(again.node.view().tasks(), view.tasks());
    again.stop().await;
}

/// What a leader has to get round before it acts: restarted, openraft goes on leading without an election, and its read
/// barrier then lets through a state that has nothing of the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_restarted_knows_its_state_by_an_entry_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let root = new_root(SystemTime::now()).unwrap();
    let first = member(&directory, &root, "a", listener().await).await;
    first.node.initialize().await.unwrap();
    first.leads().await;
    let second = member(&directory, &root, "b", listener().await).await;
    let addr = second.node.settings.addr.clone();
    let node = Node { node_id: "b".into(), addr: addr.clone() };
    first.node.add_member(second.node.id(), node).await.unwrap();
    first.write(0..50).await;
    second.has_tasks(50).await;
    let own = first.node.settings.addr.clone();
    first.stop().await;
    second.stop().await;

    let second = member(&directory, &root, "b", TcpListener::bind(addr).await.unwrap()).await;
    second.takes_nothing.store(true, Ordering::Relaxed);
    let first = member(&directory, &root, "a", TcpListener::bind(own).await.unwrap()).await;
    let barrier = async { while first.node.read_barrier().await.is_err() {} };
    tokio::time::timeout(LIMIT, barrier).await.unwrap();
    assert!(
        first.node.view().tasks().size() < 50,
        "openraft has learnt it: the leader's own entry is not needed any more"
    );
    let refused = first.node.propose(Vec::new()).await.unwrap_err();
    assert!(matches!(refused, ProposeError::NoQuorum), "{refused}");

    second.takes_nothing.store(false, Ordering::Relaxed);
    let entry = async { while first.node.propose(Vec::new()).await.is_err() {} };
    tokio::time::timeout(LIMIT, entry).await.unwrap();
    assert_eq!(first.node.view().tasks().size(), 50);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_swarm_sets_how_often_snapshots_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let root = new_root(SystemTime::now()).unwrap();
    let first = member(&directory, &root, "a", listener().await).await;
    first.node.initialize().await.unwrap();
    first.leads().await;
    let spec = ClusterSpec { snapshot_interval: 5, ..ClusterSpec::default() };
    let cluster = Cluster { id: "c".into(), spec, ..Cluster::default() };
    first.node.propose(vec![create(cluster)]).await.unwrap();
    first.write(0..6).await;
    let written = first.node.raft.wait(Some(LIMIT));
    written.metrics(|metrics| metrics.snapshot.is_some(), "after 5 entries, not after 20").await.unwrap();
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_refused_before_it_counts() {
    let directory = tempfile::tempdir().unwrap();
    let root = new_root(SystemTime::now()).unwrap();
    let first = member(&directory, &root, "a", listener().await).await;
    first.node.initialize().await.unwrap();
    first.leads().await;
    let nobody = listener().await.local_addr().unwrap().to_string();
    let node = Node { node_id: "b".into(), addr: nobody.clone() };
    let refused = first.node.add_member(5, node).await.unwrap_err().to_string();
    assert!(refused.starts_with("could not connect to prospective new cluster member"), "{refused}");
    assert!(refused.contains(&nobody), "{refused}");
    first.write(0..1).await;
    assert_eq!(first.node.members().len(), 1);
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_member_has_no_vote_before_it_has_caught_up() {
    let directory = tempfile::tempdir().unwrap();
    let root = new_root(SystemTime::now()).unwrap();
    let first = member(&directory, &root, "a", listener().await).await;
    first.node.initialize().await.unwrap();
    first.leads().await;
    // It can be reached, but raft does not run there.
    let listener = listener().await;
    let addr = listener.local_addr().unwrap().to_string();
    let key = NodeKey::generate().unwrap();
    let caller = Caller { node_id: "b".into(), role: NodeRole::Manager, cluster_id: "c".into(), addr: None };
    let chain = sign_node(&root, &key.request_pem, &caller, NODE_VALIDITY, SystemTime::now()).unwrap();
    let root_pem = root.cert_pem.as_bytes();
    let tls = Arc::new(Tls::new(
        Credentials::from_pem(root_pem, chain.as_bytes(), key.key_pem.as_bytes(), &Surroundings::system().clock)
            .unwrap(),
    ));
    let routes =
        Routes::new(CaServer::new(CaService::new(first.node.clone(), Surroundings::system(), root_pem.to_vec())))
            .prepare();
    let stop = CancellationToken::new();
    tokio::spawn(crate::wire::serve(
        listener,
        tls,
        Timing::default(),
        Surroundings::system().clock,
        routes,
        stop.clone(),
    ));

    let (node, target) = (first.node.clone(), Node { node_id: "b".into(), addr });
    let adding = tokio::spawn(async move { node.add_member(5, target).await });
    let mut metrics = first.node.raft.metrics();
    let known = |now: &RaftMetrics<RaftId, Node>| members(now).iter().any(|member| member.raft_id == 5);
    tokio::time::timeout(LIMIT, metrics.wait_for(known)).await.unwrap().unwrap();
    // One vote of one is a majority: a second voter that does not answer would stop this.
    first.write(0..20).await;
    let votes = |id| first.node.members().iter().any(|member| member.raft_id == id && member.voter);
    assert!(votes(first.node.id()) && !votes(5), "{:?}", first.node.members());
    assert!(!adding.is_finished());
    adding.abort();
    stop.cancel();
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_vote_yet_is_not_shown_as_a_manager() {
    let directory = tempfile::tempdir().unwrap();
    let root = new_root(SystemTime::now()).unwrap();
    let first = member(&directory, &root, "a", listener().await).await;
    first.node.initialize().await.unwrap();
    first.leads().await;
    let noted = |id: &str, raft_id| {
        let manager_status = Some(crate::model::ManagerStatus { raft_id, ..Default::default() });
        create(crate::model::Node { id: id.into(), manager_status, ..Default::default() })
    };
    let unnoted = create(crate::model::Node { id: "c".into(), ..Default::default() });
    first.node.propose(vec![noted("a", first.node.id()), noted("b", 7), unnoted]).await.unwrap();
    // Nobody answers there, so that it never catches up.
    let addr = listener().await.local_addr().unwrap().to_string();
    for (raft_id, node_id) in [(7, "b"), (8, "c")] {
        let node = Node { node_id: node_id.into(), addr: addr.clone() };
        let learner = openraft::ChangeMembers::AddNodes([(raft_id, node)].into());
        first.node.raft.change_membership(learner, false).await.unwrap();
    }
    assert_eq!(first.node.members().len(), 3);
    let (given, stop) = (Surroundings::system(), CancellationToken::new());
    let logs = crate::logs::LogBroker::new(first.node.clone(), given.clone(), stop.clone());
    let (store, raft) = (first.node.clone(), Some(first.node.clone()));
    let control = crate::control::ControlService::new(store, raft, logs, Timing::default(), given, stop);
    let request = Request::new(crate::api::ListNodesRequest {});
    let listed = crate::api::control_server::Control::list_nodes(&control, request).await.unwrap().into_inner().nodes;
    let shown = |id: &str| listed.iter().find(|node| node.id == id).unwrap().manager_status.is_some();
    assert!(shown("a") && !shown("b") && !shown("c"), "{listed:?}");
    first.stop().await;
}
