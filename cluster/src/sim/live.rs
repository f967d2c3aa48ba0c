//! The real leader and real agents in one process, over real gRPC, with machines that only pretend.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use skep_common::ErrorKind;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request};

use super::{Fate, Machine, on_network, published, replicated, scale};
use crate::agent::{Agent, AgentConfig, ConnectError, ManagerLink};
use crate::api::dispatcher_client::DispatcherClient;
use crate::api::dispatcher_server::DispatcherServer;
use crate::api::log_broker_server::LogBrokerServer;
use crate::api::*;
use crate::dispatcher::Dispatcher;
use crate::leader::run_leader;
use crate::logs::LogBroker;
use crate::model::{
    Annotations, Cluster, ClusterSpec, LogOptions, Network, NetworkSpec, Node, NodeId, Service, ServiceSpec, Task,
    TaskId, TaskLine,
};
use crate::store::{MemoryStore, Store, View, create, remove, update};
use crate::surroundings::Surroundings;
use crate::timing::Timing;
use crate::wire::Caller;

/// A leader on a port of its own. Plain text: who calls stands in the user agent instead of a certificate.
struct Leader {
    addr: SocketAddr,
    logs: LogBroker,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Leader {
    async fn start(store: Arc<MemoryStore>) -> Self {
        let stop = CancellationToken::new();
        let dispatcher = Dispatcher::new(store.clone(), Surroundings::system(), stop.clone());
        let logs = LogBroker::new(store.clone(), Surroundings::system(), stop.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let identify = |mut request: Request<()>| {
            let agent = request.metadata().get("user-agent").unwrap().to_str().unwrap();
            let node_id = agent.split(' ').next().unwrap().into();
            let addr = request.remote_addr();
            let cluster_id = "cluster".into();
            request.extensions_mut().insert(Caller { node_id, role: NodeRole::Worker, cluster_id, addr });
            Ok(request)
        };
        let server = Server::builder()
            .add_service(DispatcherServer::with_interceptor(dispatcher.clone(), identify))
            .add_service(LogBrokerServer::with_interceptor(logs.clone(), identify));
        let serving = stop.clone();
        let tasks = vec![
            tokio::spawn(async move {
                let served = server.serve_with_incoming(TcpListenerStream::new(listener));
                tokio::select! {
                    () = serving.cancelled() => {}
                    result = served => result.unwrap(),
                }
            }),
            tokio::spawn(async move { dispatcher.run().await }),
            tokio::spawn(run_leader(store, Surroundings::system(), stop.clone())),
        ];
        Self { addr, logs, stop, tasks }
    }

    async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

struct Link {
    node_id: String,
    addr: watch::Receiver<SocketAddr>,
}

#[async_trait]
impl ManagerLink for Link {
    async fn channel(&self) -> Result<Channel, ConnectError> {
        let addr = *self.addr.borrow();
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
        let channel = endpoint.user_agent(self.node_id.clone()).unwrap().connect().await;
        channel.map_err(|error| ConnectError(error.to_string()))
    }

    fn failed(&self) {}
}

struct Swarm {
    store: Arc<MemoryStore>,
    leader: Option<Leader>,
    addr: watch::Sender<SocketAddr>,
    machines: BTreeMap<String, Machine>,
    agents: BTreeMap<String, (CancellationToken, JoinHandle<std::io::Result<()>>)>,
    state: tempfile::TempDir,
}

impl Swarm {
    async fn new(nodes: usize) -> Self {
        let store = Arc::new(MemoryStore::new());
        let spec =
            ClusterSpec { task_history_limit: Some(5), dispatcher_heartbeat_ns: 700_000_000, ..ClusterSpec::default() };
        let cluster = Cluster { id: "cluster".into(), spec, ..Cluster::default() };
        store.propose(vec![create(cluster)]).await.unwrap();
        let leader = Leader::start(store.clone()).await;
        let mut swarm = Self {
            store,
            addr: watch::Sender::new(leader.addr),
            leader: Some(leader),
            machines: BTreeMap::new(),
            agents: BTreeMap::new(),
            state: tempfile::tempdir().unwrap(),
        };
        swarm.add_network("ingress", true).await;
        swarm.add_network("app", false).await;
        for index in 0..nodes {
            let id = format!("node{index}");
            let node = Node { id: id.as_str().into(), ..Node::default() };
            swarm.store.propose(vec![create(node)]).await.unwrap();
            let machine = Machine::new("machine");
            machine.set_fate("missing", Fate::IsRejected);
            swarm.machines.insert(id.clone(), machine);
            swarm.start_agent(&id);
        }
        // A service that comes before its nodes is not spread over them.
        swarm
            .until("the nodes are ready", |view| {
                view.nodes().values().filter(|node| node.may_take_tasks()).count() == nodes
            })
            .await;
        swarm
    }

    async fn add_network(&self, id: &str, ingress: bool) {
        let annotations = Annotations { name: id.into(), ..Annotations::default() };
        let spec = NetworkSpec { annotations, driver: "overlay".into(), ingress, ..NetworkSpec::default() };
        let network = Network { id: id.into(), spec, ..Network::default() };
        self.store.propose(vec![create(network)]).await.unwrap();
    }

    fn start_agent(&mut self, id: &str) {
        let stop = CancellationToken::new();
        let agent = Agent::new(AgentConfig {
            node_id: id.into(),
            state_dir: self.state.path().join(id),
            executor: Arc::new(self.machines[id].clone()),
            managers: Arc::new(Link { node_id: id.into(), addr: self.addr.subscribe() }),
            data_path_addr: "192.168.1.1".into(),
            session: watch::Sender::new(None),
            trouble: watch::Sender::new(None),
            drain: Duration::from_millis(1),
            timing: Timing::default(),
            surroundings: Surroundings::system(),
        });
        let running = tokio::spawn(agent.run(stop.clone()));
        self.agents.insert(id.into(), (stop, running));
    }

    async fn stop_agent(&mut self, id: &str) {
        let (stop, running) = self.agents.remove(id).unwrap();
        stop.cancel();
        running.await.unwrap().unwrap();
    }

    async fn add_service(&self, id: &str, spec: ServiceSpec) {
        let version = self.store.view().version() + 1;
        let service = Service { id: id.into(), spec, spec_version: version, ..Service::default() };
        self.store.propose(vec![create(service)]).await.unwrap();
    }

    async fn change_spec(&self, id: &str, change: impl Fn(&mut ServiceSpec)) {
        loop {
            let mut service = Service::clone(&self.store.view().services()[id]);
            change(&mut service.spec);
            service.spec_version = self.store.view().version() + 1;
            if self.store.propose(vec![update(service)]).await.is_ok() {
                return;
            }
        }
    }

    async fn until(&self, what: &str, condition: impl Fn(&View) -> bool) {
        let mut watch = self.store.watch();
        let reached = async {
            while !condition(&watch.borrow_and_update().clone()) {
                watch.changed().await.unwrap();
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
        assert!(reached.is_ok(), "not reached: {what}\n{:#?}", self.store.view().tasks());
    }

    async fn until_machines(&self, what: &str, condition: impl Fn(&BTreeMap<String, Machine>) -> bool) {
        for _ in 0..6000 {
            if condition(&self.machines) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not reached: {what}");
    }
}

fn up(view: &View, service: &str) -> usize {
    let up = |t: &&Arc<Task>| t.state() == TaskState::Running && t.desired_state == TaskState::Running;
    view.tasks_of_service(service).filter(up).count()
}

fn live(machines: &BTreeMap<String, Machine>) -> usize {
    machines.values().map(|m| m.containers().values().filter(|c| c.running).count()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_comes_up_is_scaled_and_goes() {
    let swarm = Swarm::new(2).await;
    // A node that has its certificate and never came harms nobody.
    let absent = Node { id: "absent".into(), ..Node::default() };
    swarm.store.propose(vec![create(absent)]).await.unwrap();
    swarm.add_service("s", published(on_network(replicated(4, "x"), "app"), 8080)).await;
    swarm.until("four tasks run", |view| up(view, "s") == 4).await;
    let all_serving = |machines: &BTreeMap<String, Machine>| {
        machines.values().all(|machine| {
            let network = machine.network().unwrap_or_default().tables;
            let serving = network.endpoints.iter().filter(|e| e.serving && e.network_id == "ingress");
            let ports = network.services.iter().find(|s| s.network_id == "ingress").map(|s| s.ports.clone());
            serving.count() == 4 && ports.is_some_and(|p| p[0].published_port == 8080)
        })
    };
    swarm.until_machines("every node knows all four", all_serving).await;
    swarm.change_spec("s", scale(1)).await;
    swarm.until("one task is left", |view| view.tasks().size() == 1 && up(view, "s") == 1).await;
    let one = |machines: &BTreeMap<_, Machine>| machines.values().map(|m| m.containers().len()).sum::<usize>() == 1;
    swarm.until_machines("one container is left", one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_starts_again_adopts_what_runs_without_a_leader() {
    let mut swarm = Swarm::new(1).await;
    swarm.add_service("s", on_network(replicated(2, "x"), "app")).await;
    swarm.until("two tasks run", |view| up(view, "s") == 2).await;
    swarm.stop_agent("node0").await;
    swarm.leader.take().unwrap().stop().await;
    assert_eq!(live(&swarm.machines), 2);
    swarm.machines["node0"].forget_network();
    swarm.start_agent("node0");
    let repaired = |machines: &BTreeMap<String, Machine>| {
        machines["node0"].network().is_some_and(|n| n.tables.networks.len() == 2)
    };
    swarm.until_machines("the data plane is made again", repaired).await;
    assert_eq!(live(&swarm.machines), 2);
    // One ends meanwhile; the next leader hears of it.
    let victim = swarm.machines["node0"].containers().into_keys().next().unwrap();
    swarm.machines["node0"].with(&victim, |c| (c.running, c.exit_code) = (false, 9));
    let leader = Leader::start(swarm.store.clone()).await;
    swarm.addr.send_replace(leader.addr);
    swarm.leader = Some(leader);
    swarm
        .until("the end is known", |view| {
            view.tasks()
                .get(&victim)
                .is_some_and(|t| t.state() == TaskState::Failed && t.status.err == "task: non-zero exit (9)")
        })
        .await;
    swarm.until("it is replaced", |view| up(view, "s") == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_down_and_its_tasks_move_and_are_stopped_on_its_return() {
    let mut swarm = Swarm::new(2).await;
    swarm.add_service("s", replicated(4, "x")).await;
    swarm.until("four tasks run", |view| up(view, "s") == 4).await;
    swarm.stop_agent("node1").await;
    swarm
        .until("all run on the other node", |view| {
            view.nodes()["node1"].is_down()
                && up(view, "s") == 4
                && view.tasks_of_node("node1").all(|t| t.desired_state > TaskState::Running)
        })
        .await;
    let goes_on = |machines: &BTreeMap<String, Machine>| {
        let alone = machines["node1"].containers().values().filter(|c| c.running).count();
        alone == 2 && live(machines) == 6
    };
    swarm.until_machines("what the lost node has goes on", goes_on).await;
    swarm.start_agent("node1");
    swarm.until_machines("the old ones are stopped", |machines| live(machines) == 4).await;
    assert!(!swarm.machines["node1"].containers().values().any(|c| c.running));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unhealthy_task_gets_no_connections_while_it_is_being_stopped() {
    let swarm = Swarm::new(2).await;
    swarm.add_service("s", on_network(replicated(2, "x"), "app")).await;
    swarm.until("two tasks run", |view| up(view, "s") == 2).await;
    let victim = swarm.store.view().tasks_of_node("node0").next().unwrap().id.clone();
    let machine = &swarm.machines["node0"];
    machine.set_stubborn(true);
    machine.with(&victim, |c| c.sick = true);
    let drained = |machines: &BTreeMap<String, Machine>| {
        let network = machines["node1"].network().unwrap_or_default().tables;
        network.endpoints.iter().any(|e| victim == e.task_id && e.draining && !e.serving)
    };
    swarm.until_machines("the other node drains it", drained).await;
    assert!(machine.containers()[&victim].running);
    machine.set_stubborn(false);
    let failed = |t: &Arc<Task>| {
        t.state() == TaskState::Failed && t.status.err == "task: unhealthy container" && !t.status.draining
    };
    swarm.until("it has failed", |view| view.tasks().get(&victim).is_some_and(failed)).await;
    swarm.until("it is replaced", |view| up(view, "s") == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_does_not_exist_rejects_the_task_with_the_reason() {
    let swarm = Swarm::new(1).await;
    swarm.add_service("s", replicated(1, "missing")).await;
    let rejected = |t: &Arc<Task>| t.state() == TaskState::Rejected && t.status.err == "No such image: missing";
    swarm.until("the task is rejected", |view| view.tasks().values().any(rejected)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_forgotten_tasks_are_removed() {
    let mut swarm = Swarm::new(1).await;
    swarm.until("the node is ready", |view| view.nodes()["node0"].status.state == NodeState::Ready).await;
    swarm.stop_agent("node0").await;
    swarm.machines["node0"].with("stranger", |c| c.running = true);
    swarm.start_agent("node0");
    swarm.until_machines("the stranger is gone", |machines| machines["node0"].containers().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_clean_up_spares_the_tasks_that_came_meanwhile() {
    let mut swarm = Swarm::new(1).await;
    swarm.stop_agent("node0").await;
    swarm.machines["node0"].with("stranger", |c| c.running = true);
    swarm.machines["node0"].set_blind(true);
    swarm.start_agent("node0");
    swarm.add_service("s", replicated(2, "x")).await;
    swarm.until("both run", |view| up(view, "s") == 2).await;
    swarm.machines["node0"].set_blind(false);
    let gone = |machines: &BTreeMap<String, Machine>| !machines["node0"].containers().contains_key("stranger");
    swarm.until_machines("the stranger is gone", gone).await;
    assert_eq!(live(&swarm.machines), 2);
    assert_eq!(swarm.store.view().tasks().size(), 2, "none was replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_sees_and_reports_its_own_tasks_only() {
    let mut swarm = Swarm::new(2).await;
    swarm.add_service("s", replicated(2, "x")).await;
    swarm.until("both run", |view| up(view, "s") == 2).await;
    // The node's own agent would take its session back.
    swarm.stop_agent("node1").await;
    let view = swarm.store.view();
    let foreign = view.tasks_of_node("node0").next().unwrap().id.clone();
    let leader = swarm.leader.as_ref().unwrap();
    let link = Link { node_id: "node1".into(), addr: watch::Sender::new(leader.addr).subscribe() };
    let mut client = DispatcherClient::new(link.channel().await.unwrap());
    let mut session = client.session(SessionRequest::default()).await.unwrap().into_inner();
    let session_id = session.message().await.unwrap().unwrap().session_id;
    let request = AssignmentsRequest { session_id: session_id.clone() };
    let mut stream = client.assignments(request).await.unwrap().into_inner();
    for change in stream.message().await.unwrap().unwrap().changes {
        if let Some(assignment::Item::Task(task)) = change.assignment.unwrap().item {
            assert_eq!(task.node_id, "node1");
        }
    }
    let status = TaskStatus { state: TaskState::Failed.into(), ..TaskStatus::default() };
    let updates = vec![TaskStatusUpdate { task_id: foreign.into(), status: Some(status) }];
    let refused = client.update_task_status(UpdateTaskStatusRequest { session_id, updates }).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let other = client.heartbeat(HeartbeatRequest { session_id: "guessed".into() }).await.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition);
    let stranger = Link { node_id: "nobody".into(), addr: watch::Sender::new(leader.addr).subscribe() };
    let mut client = DispatcherClient::new(stranger.channel().await.unwrap());
    assert_eq!(client.session(SessionRequest::default()).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_registers_without_end_is_slowed_down() {
    let swarm = Swarm::new(0).await;
    let node = Node { id: "eager".into(), ..Node::default() };
    swarm.store.propose(vec![create(node)]).await.unwrap();
    let link = Link { node_id: "eager".into(), addr: swarm.addr.subscribe() };
    let mut client = DispatcherClient::new(link.channel().await.unwrap());
    for _ in 0..3 {
        client.session(SessionRequest::default()).await.unwrap();
    }
    assert_eq!(client.session(SessionRequest::default()).await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_path_that_no_node_could_use_is_refused() {
    let swarm = Swarm::new(0).await;
    let node = Node { id: "odd".into(), ..Node::default() };
    swarm.store.propose(vec![create(node)]).await.unwrap();
    let link = Link { node_id: "odd".into(), addr: swarm.addr.subscribe() };
    let mut client = DispatcherClient::new(link.channel().await.unwrap());
    for bad in ["fd00::1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "10.0.0.1:2377", "somewhere"] {
        let request = SessionRequest { data_path_addr: bad.into(), ..SessionRequest::default() };
        let refused = client.session(request).await.unwrap_err();
        assert_eq!(refused.message(), format!("data path address {bad:?} is not a node's IPv4 address"));
    }
    let request = SessionRequest { data_path_addr: "10.0.0.1".into(), ..SessionRequest::default() };
    client.session(request).await.unwrap();
}

fn all_lines(follow: bool) -> LogOptions {
    LogOptions { follow, tail: None, since_ns: 0, stdout: true, stderr: true }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_come_from_all_tasks_and_name_them() {
    let swarm = Swarm::new(2).await;
    swarm.add_service("s", replicated(2, "x")).await;
    swarm.until("both run", |view| up(view, "s") == 2).await;
    let leader = swarm.leader.as_ref().unwrap();
    let mut lines: BTreeMap<(TaskId, NodeId), Vec<String>> = BTreeMap::new();
    for attempt in 0..200 {
        lines.clear();
        let mut complete = true;
        let mut stream = leader.logs.service_logs("s", all_lines(false)).unwrap();
        while let Some(message) = stream.next().await {
            match message {
                Ok(said) => said.into_iter().for_each(|line| {
                    let text = String::from_utf8(line.line.data).unwrap();
                    lines.entry((line.task_id, line.node_id)).or_default().push(text);
                }),
                // The agents have not subscribed yet.
                Err(_) => complete = false,
            }
        }
        if complete {
            break;
        }
        assert!(attempt < 199, "the logs stay incomplete");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tasks: Vec<_> = swarm.store.view().tasks().values().map(|t| (t.id.clone(), t.node_id.clone())).collect();
    assert_eq!(lines.keys().cloned().collect::<Vec<_>>(), tasks);
    assert!(lines.values().all(|lines| lines == &["one", "two"]));
    let follow = leader.logs.service_logs("s", all_lines(true)).unwrap();
    let task = tasks[0].0.clone();
    let first = follow.take(2).collect::<Vec<_>>().await;
    assert!(first.iter().all(Result::is_ok));
    assert!(leader.logs.service_logs(&task, all_lines(false)).is_ok());
    assert_eq!(leader.logs.service_logs("none", all_lines(false)).err().unwrap().kind(), ErrorKind::NotFound);
}

/// The next so many lines.
async fn lines(stream: &mut BoxStream<'static, Result<Vec<TaskLine>, crate::Error>>, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < count {
        let said = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.unwrap().unwrap().unwrap();
        lines.extend(said.into_iter().map(|line| String::from_utf8(line.line.data).unwrap()));
    }
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followed_logs_go_on_with_a_new_agent_and_end_with_the_leader_aloud() {
    let mut swarm = Swarm::new(1).await;
    swarm.add_service("s", replicated(1, "x")).await;
    swarm.until("it runs", |view| up(view, "s") == 1).await;
    let mut stream = swarm.leader.as_ref().unwrap().logs.service_logs("s", all_lines(true)).unwrap();
    assert_eq!(lines(&mut stream, 2).await, ["one", "two"]);
    swarm.stop_agent("node0").await;
    swarm.machines["node0"].say("three");
    swarm.start_agent("node0");
    assert_eq!(lines(&mut stream, 1).await, ["three"], "from there on, and nothing twice");
    swarm.machines["node0"].say("four");
    assert_eq!(lines(&mut stream, 1).await, ["four"]);
    swarm.leader.take().unwrap().stop().await;
    let end = stream.next().await.unwrap().unwrap_err();
    assert!(end.message().contains("another leader"), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_follower_leaves_nothing_on_the_manager_and_on_the_worker() {
    let swarm = Swarm::new(1).await;
    swarm.add_service("s", replicated(2, "x")).await;
    swarm.until("both run", |view| up(view, "s") == 2).await;
    let logs = &swarm.leader.as_ref().unwrap().logs;
    for _ in 0..20 {
        let mut stream = logs.service_logs("s", all_lines(true)).unwrap();
        lines(&mut stream, 4).await;
        // From now on they are silent.
        assert_eq!((swarm.machines["node0"].readers(), logs.subscriptions()), (2, 1));
        drop(stream);
        swarm.until_machines("nobody reads", |machines| machines["node0"].readers() == 0).await;
        assert_eq!(logs.subscriptions(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_takes_no_orders_begins_anew_without_those_that_nobody_reads() {
    let mut swarm = Swarm::new(1).await;
    swarm.add_service("s", replicated(1, "x")).await;
    swarm.until("it runs", |view| up(view, "s") == 1).await;
    swarm.stop_agent("node0").await;
    let logs = swarm.leader.as_ref().unwrap().logs.clone();
    let mut request = Request::new(ListenSubscriptionsRequest {});
    let (node_id, cluster_id) = ("node0".into(), "cluster".into());
    request.extensions_mut().insert(Caller { node_id, role: NodeRole::Worker, cluster_id, addr: None });
    // Nobody takes what is ordered here; more readers than orders have room come and go.
    let orders = log_broker_server::LogBroker::listen_subscriptions(&logs, request).await.unwrap().into_inner();
    let readers: Vec<_> = (0..100).map(|_| logs.service_logs("s", all_lines(true)).unwrap()).collect();
    until_subscribed(&logs, |count| count >= 64).await;
    drop(readers);
    until_subscribed(&logs, |count| count == 0).await;
    let ended = tokio::time::timeout(Duration::from_secs(60), orders.count()).await;
    assert!(ended.expect("the stream of orders ends") >= 64);
}

async fn until_subscribed(logs: &LogBroker, enough: impl Fn(usize) -> bool) {
    let reached = async {
        while !enough(logs.subscriptions()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap();
}

/// A listener that never sends anything.
async fn silent(swarm: &Swarm, node: &str) -> tonic::Streaming<SubscriptionMessage> {
    let link = Link { node_id: node.into(), addr: swarm.addr.subscribe() };
    let mut client = crate::api::log_broker_client::LogBrokerClient::new(link.channel().await.unwrap());
    client.listen_subscriptions(ListenSubscriptionsRequest {}).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_end_when_the_asked_agent_was_replaced_at_once() {
    let mut swarm = Swarm::new(1).await;
    swarm.add_service("s", replicated(1, "x")).await;
    swarm.until("it runs", |view| up(view, "s") == 1).await;
    swarm.stop_agent("node0").await;
    let mut first = silent(&swarm, "node0").await;
    let mut stream = swarm.leader.as_ref().unwrap().logs.service_logs("s", all_lines(false)).unwrap();
    first.message().await.unwrap().unwrap();
    let _second = silent(&swarm, "node0").await;
    let end = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.unwrap().unwrap().unwrap_err();
    assert!(end.message().contains("node node0"), "{end:?}");
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_is_told() {
    let swarm = Swarm::new(1).await;
    swarm.add_service("s", replicated(1, "x")).await;
    swarm.until("it runs", |view| up(view, "s") == 1).await;
    swarm.store.propose(vec![remove(ObjectKind::Node, "node0")]).await.unwrap();
    swarm
        .until("its task is orphaned", |view| view.tasks_of_node("node0").all(|t| t.state() == TaskState::Orphaned))
        .await;
}
