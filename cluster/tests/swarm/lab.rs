//! Nodes of a swarm in one process, each on a loopback address and a tokio runtime of its own: dropping the runtime
//! is as abrupt as `kill -9`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use skep_cluster::Error;
use skep_cluster::api::{
    Annotations, ClusterSpec, ContainerSpec, CreateServiceRequest, GetClusterRequest, GetServiceRequest, InfoRequest,
    InfoResponse, InitRequest, JoinRequest, LeaveRequest, ListNodesRequest, ListServicesRequest, Node, NodeRole,
    NodeSpec, NodeState, ReplicatedService, Service, ServiceSpec, TaskSpec, UpdateNodeRequest, service_spec,
};
use skep_cluster::client::Client;
use skep_cluster::node::{NodeConfig, NodeError, run_until, socket_path};
use skep_cluster::sim::Machine;
use skep_cluster::surroundings::{Clock, Surroundings};
use skep_cluster::timing::Timing;
use skep_common::ErrorKind;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Dispatch;

/// Longer than anything here may take, also on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

static NEXT: AtomicU32 = AtomicU32::new(1);

/// The system's clocks, the wall clock set forward by a test. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shifted(Arc<AtomicU64>);

impl Shifted {
    pub(crate) fn forward(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Shifted {
    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn sleep_until(&self, time: SystemTime) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            while clock.now() < time {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }
}

/// A node, running or not.
pub(crate) struct TestNode {
    pub machine: Machine,
    pub addr: String,
    pub clock: Shifted,
    directory: TempDir,
    running: Option<Running>,
    /// Hears what its agent logs.
    log: Option<Dispatch>,
}

struct Running {
    runtime: Runtime,
    stop: CancellationToken,
    task: JoinHandle<Result<(), NodeError>>,
}

impl TestNode {
    /// A machine that is in no swarm, with its agent running.
    pub(crate) fn start(name: &str) -> Self {
        Self::started(name, None)
    }

    /// The same, with what its agent logs.
    pub(crate) fn start_heard(name: &str, log: Dispatch) -> Self {
        Self::started(name, Some(log))
    }

    fn started(name: &str, log: Option<Dispatch>) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let ip = format!("127.{}.{}.{}", 1 + high % 200, low, 1 + number % 250);
        let directory = tempfile::tempdir().unwrap();
        let mut node = Self {
            machine: Machine::new(name),
            addr: format!("{ip}:2377"),
            clock: Shifted::default(),
            directory,
            running: None,
            log,
        };
        node.run();
        node
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn run_root(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub(crate) fn config(&self) -> NodeConfig {
        NodeConfig {
            root: self.root(),
            run_root: self.run_root(),
            executor: Arc::new(self.machine.clone()),
            idle_exit: false,
            timing: Timing::default(),
            surroundings: Surroundings { clock: Arc::new(self.clock.clone()), ..Surroundings::system() },
        }
    }

    /// Starts the agent.
    pub(crate) fn run(&mut self) {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all();
        if let Some(log) = self.log.clone() {
            // The threads are the agent's alone: they are heard until they end.
            builder.on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&log)));
        }
        let runtime = builder.build().unwrap();
        let stop = CancellationToken::new();
        let task = runtime.spawn(run_until(self.config(), stop.clone()));
        self.running = Some(Running { runtime, stop, task });
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Ends the agent as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.runtime.shutdown_background();
        }
        // Tasks that were on a thread at that moment end a little later, the lock with them.
        std::thread::sleep(Duration::from_millis(300));
    }

    /// Ends the agent as SIGTERM does.
    pub(crate) async fn stop(&mut self) -> Result<(), NodeError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.stop.cancel();
        let result = tokio::time::timeout(LIMIT, running.task).await.unwrap().unwrap();
        running.runtime.shutdown_background();
        result
    }

    /// Waits until the agent has ended by itself.
    pub(crate) async fn ended(&mut self) -> Result<(), NodeError> {
        let running = self.running.take().unwrap();
        let result = tokio::time::timeout(LIMIT, running.task).await.unwrap().unwrap();
        running.runtime.shutdown_background();
        result
    }

    pub(crate) async fn client(&self) -> Client {
        let socket = socket_path(&self.run_root());
        eventually("the agent's socket", || async { Client::connect(&socket).await.ok() }).await
    }

    pub(crate) async fn init(&self) {
        self.init_with(ClusterSpec::default()).await;
    }

    pub(crate) async fn init_with(&self, spec: ClusterSpec) {
        let request = InitRequest { listen_addr: self.addr.clone(), spec: Some(spec), ..InitRequest::default() };
        self.client().await.init(request).await.unwrap();
    }

    pub(crate) async fn join(&self, token: &str, remote: &TestNode) -> Result<NodeRole, Error> {
        let request = JoinRequest {
            listen_addr: self.addr.clone(),
            token: token.into(),
            remote_addrs: vec![remote.addr.clone()],
            ..JoinRequest::default()
        };
        self.client().await.join(request).await.map(|answer| answer.role())
    }

    /// The warning, if there is one.
    pub(crate) async fn leave(&self, force: bool) -> Result<Option<String>, Error> {
        let answer = self.client().await.leave(LeaveRequest { force }).await?;
        Ok(Some(answer.warning).filter(|warning| !warning.is_empty()))
    }

    pub(crate) async fn info(&self) -> InfoResponse {
        self.client().await.info(InfoRequest {}).await.unwrap()
    }

    pub(crate) async fn id(&self) -> String {
        self.info().await.node_id
    }

    pub(crate) async fn is_leader(&self) -> bool {
        self.client().await.info(InfoRequest {}).await.is_ok_and(|info| info.is_leader)
    }

    /// Worker's and manager's join token.
    pub(crate) async fn tokens(&self) -> (String, String) {
        let answer = self.client().await.get_cluster(GetClusterRequest {}).await.unwrap();
        let root = answer.cluster.unwrap().root_ca.unwrap();
        assert!(root.key_pem.is_empty(), "the root's key must never leave the managers");
        let tokens = root.join_tokens.unwrap();
        (tokens.worker, tokens.manager)
    }

    pub(crate) async fn nodes(&self) -> Result<Vec<Node>, Error> {
        Ok(self.client().await.list_nodes(ListNodesRequest {}).await?.nodes)
    }

    pub(crate) async fn node(&self, id: &str) -> Option<Node> {
        self.nodes().await.ok()?.into_iter().find(|node| node.id == id)
    }

    pub(crate) async fn create_service(&self, name: &str, replicas: u64) -> Result<Service, Error> {
        let request = CreateServiceRequest { spec: Some(service(name, replicas)) };
        Ok(self.client().await.create_service(request).await?.service.unwrap())
    }

    pub(crate) async fn service(&self, name: &str) -> Result<Service, Error> {
        let request = GetServiceRequest { r#ref: name.into() };
        Ok(self.client().await.get_service(request).await?.service.unwrap())
    }

    /// Running tasks of all services.
    pub(crate) async fn running_tasks(&self) -> Option<u64> {
        let answer = self.client().await.list_services(ListServicesRequest {}).await.ok()?;
        Some(answer.counts.iter().map(|counts| counts.running).sum())
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.runtime.shutdown_background();
        }
    }
}

pub(crate) fn service(name: &str, replicas: u64) -> ServiceSpec {
    ServiceSpec {
        annotations: Some(Annotations { name: name.into(), ..Annotations::default() }),
        task: Some(TaskSpec {
            container: Some(ContainerSpec { image: "nginx:latest".into(), ..ContainerSpec::default() }),
            ..TaskSpec::default()
        }),
        mode: Some(service_spec::Mode::Replicated(ReplicatedService { replicas })),
        ..ServiceSpec::default()
    }
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < LIMIT, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks for another role of a node.
pub(crate) async fn set_role(at: &TestNode, id: &str, role: NodeRole) -> Result<(), Error> {
    loop {
        // A manager that was demoted and promoted may answer as the one of old, and then not, before it begins anew.
        let node = at.nodes().await?.into_iter().find(|node| node.id == id).unwrap();
        let spec = NodeSpec { desired_role: role.into(), ..node.spec.unwrap() };
        let request = UpdateNodeRequest { r#ref: id.into(), version: node.meta.unwrap().version, spec: Some(spec) };
        match at.client().await.update_node(request).await {
            Err(error) if error.kind() == ErrorKind::OutOfSequence => {}
            result => return result.map(drop),
        }
    }
}

/// A swarm of managers, the first being the one that made it.
pub(crate) async fn swarm(names: &[&str]) -> Vec<TestNode> {
    let nodes: Vec<TestNode> = names.iter().map(|name| TestNode::start(name)).collect();
    nodes[0].init().await;
    let (_, token) = nodes[0].tokens().await;
    for node in &nodes[1..] {
        assert_eq!(node.join(&token, &nodes[0]).await.unwrap(), NodeRole::Manager);
    }
    nodes
}

pub(crate) fn is_ready(node: &Node) -> bool {
    node.status.as_ref().is_some_and(|status| status.state() == NodeState::Ready)
}

/// All regular files below a directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
