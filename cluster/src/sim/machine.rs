//! A machine without a kernel: containers run at once and stop when told. It outlives its agent, as containers do.
//!
//! The simulated [`World`](super::World) drives it step by step; a real agent drives it as its [`Executor`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;

use crate::executor::{Configured, Controller, Executor, ExecutorError, NodeNetwork, Observed};
use crate::model::{
    ContainerStatus, LogLine, LogOptions, LogStream, NodeDescription, Platform, Resources, Task, TaskId,
};

/// What becomes of the containers of an image, beyond obeying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// They run until they are stopped.
    #[default]
    Runs,
    /// They end with an error as soon as they run.
    Fails,
    /// They never come to run.
    FailsToStart,
    /// There is no such image.
    IsRejected,
    /// They end well as soon as they run.
    Completes,
}

/// A task's container.
#[derive(Debug, Clone, Default)]
pub struct Container {
    /// Of what it was made.
    pub image: String,
    /// Its process runs.
    pub running: bool,
    /// Its process ran once.
    pub started: bool,
    /// How its process ended.
    pub exit_code: i32,
    /// Its health check fails.
    pub sick: bool,
}

/// The machine. Clones are the same machine.
#[derive(Debug, Clone)]
pub struct Machine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    containers: Mutex<BTreeMap<TaskId, Container>>,
    fates: Mutex<BTreeMap<String, Fate>>,
    network: Mutex<Option<NodeNetwork>>,
    /// What each of its containers has said, one nanosecond apart.
    lines: Mutex<Vec<Vec<u8>>>,
    /// Held by everybody who reads what its containers say.
    readers: Arc<()>,
    /// It cannot be looked at for strangers.
    blind: AtomicBool,
    /// Its containers do not stop.
    stubborn: watch::Sender<bool>,
    changes: watch::Sender<u64>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// A machine without containers; its host name is `name`.
    pub fn new(name: &str) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            containers: Mutex::default(),
            fates: Mutex::default(),
            network: Mutex::default(),
            lines: Mutex::new(vec![b"one".to_vec(), b"two".to_vec()]),
            readers: Arc::default(),
            blind: AtomicBool::default(),
            stubborn: watch::Sender::new(false),
            changes: watch::Sender::new(0),
        }))
    }

    /// All containers, by task.
    pub fn containers(&self) -> BTreeMap<TaskId, Container> {
        lock(&self.0.containers).clone()
    }

    /// Tasks whose containers run.
    pub fn running(&self) -> Vec<TaskId> {
        lock(&self.0.containers).iter().filter(|(_, found)| found.running).map(|(id, _)| id.clone()).collect()
    }

    /// Says what becomes of an image's containers.
    pub fn set_fate(&self, image: &str, fate: Fate) {
        lock(&self.0.fates).insert(image.to_owned(), fate);
    }

    fn fate(&self, image: &str) -> Fate {
        lock(&self.0.fates).get(image).copied().unwrap_or_default()
    }

    /// Changes a task's container behind everybody's back; makes it if there is none.
    pub fn with(&self, task: &str, work: impl FnOnce(&mut Container)) {
        work(lock(&self.0.containers).entry(task.into()).or_default());
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Its containers say a line more.
    pub fn say(&self, text: &str) {
        lock(&self.0.lines).push(text.into());
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// How many read what its containers say.
    pub fn readers(&self) -> usize {
        Arc::strong_count(&self.0.readers) - 1
    }

    /// Whether it refuses to be looked at for strangers.
    pub fn set_blind(&self, blind: bool) {
        self.0.blind.store(blind, Ordering::Relaxed);
    }

    /// Whether its containers refuse to stop.
    pub fn set_stubborn(&self, stubborn: bool) {
        self.0.stubborn.send_replace(stubborn);
    }

    /// The data plane that it was told to make, if any.
    pub fn network(&self) -> Option<NodeNetwork> {
        lock(&self.0.network).clone()
    }

    /// Its data plane is gone, as after a boot.
    pub fn forget_network(&self) {
        *lock(&self.0.network) = None;
    }

    /// Containers whose fate is to end by themselves do so.
    pub fn fates_come_true(&self) {
        for (task, container) in self.containers().into_iter().filter(|(_, found)| found.running) {
            match self.fate(&container.image) {
                Fate::Fails => self.with(&task, |found| (found.running, found.exit_code) = (false, 1)),
                Fate::Completes => self.with(&task, |found| found.running = false),
                Fate::Runs | Fate::FailsToStart | Fate::IsRejected => {}
            }
        }
    }

    /// Makes a task's container.
    ///
    /// # Errors
    /// If that is the fate of its image.
    pub fn prepare(&self, task: &str, image: &str) -> Result<(), ExecutorError> {
        if self.fate(image) == Fate::IsRejected {
            return Err(ExecutorError::Fatal(format!("No such image: {image}")));
        }
        self.with(task, |found| image.clone_into(&mut found.image));
        Ok(())
    }

    /// Starts a task's container.
    ///
    /// # Errors
    /// If that is the fate of its image.
    pub fn start(&self, task: &str) -> Result<(), ExecutorError> {
        let image = lock(&self.0.containers).get(task).map(|found| found.image.clone()).unwrap_or_default();
        if self.fate(&image) == Fate::FailsToStart {
            return Err(ExecutorError::Fatal("the container does not start".into()));
        }
        self.with(task, |found| (found.running, found.started) = (true, true));
        Ok(())
    }

    /// How a task's container stands.
    pub fn observe(&self, task: &str) -> Observed {
        let container = lock(&self.0.containers).get(task).cloned();
        let known = container.clone().unwrap_or_default();
        Observed {
            exists: container.is_some(),
            running: known.running,
            started: known.started,
            has_health_check: true,
            healthy: Some(!known.sick),
            container: ContainerStatus { container_id: format!("c-{task}"), pid: 7, exit_code: known.exit_code },
            ..Observed::default()
        }
    }

    /// Stops a task's container, if there is one.
    pub fn stop(&self, task: &str) {
        if lock(&self.0.containers).contains_key(task) {
            self.with(task, |found| found.running = false);
        }
    }

    /// Removes a task's container, if there is one.
    pub fn remove(&self, task: &str) {
        lock(&self.0.containers).remove(task);
        self.0.changes.send_modify(|count| *count += 1);
    }
}

#[async_trait]
impl Executor for Machine {
    async fn describe(&self) -> Result<NodeDescription, ExecutorError> {
        Ok(description(&self.0.name))
    }

    async fn configure_network(&self, network: &NodeNetwork) -> Result<Configured, ExecutorError> {
        if network.tables.endpoints.iter().any(|endpoint| endpoint.node_addr.is_empty()) {
            return Err(ExecutorError::Fatal("an endpoint is nowhere".into()));
        }
        *lock(&self.0.network) = Some(network.clone());
        Ok(Configured::default())
    }

    fn controller(&self, task: &Arc<Task>) -> Arc<dyn Controller> {
        Arc::new(MachineController { machine: self.clone(), task: task.clone() })
    }

    async fn present_tasks(&self) -> Result<Vec<TaskId>, ExecutorError> {
        match self.0.blind.load(Ordering::Relaxed) {
            true => Err(ExecutorError::Temporary("busy".into())),
            false => Ok(self.containers().into_keys().collect()),
        }
    }

    async fn leave(&self) -> Result<(), ExecutorError> {
        lock(&self.0.containers).clear();
        self.0.changes.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// What a simulated machine tells of itself.
pub(super) fn description(hostname: &str) -> NodeDescription {
    NodeDescription {
        hostname: hostname.to_owned(),
        platform: Some(Platform { architecture: "x86_64".into(), os: "linux".into() }),
        resources: Some(Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30, ..Resources::default() }),
        engine_version: "0.1.0".into(),
        load_balancer: "nftables".into(),
        ..NodeDescription::default()
    }
}

struct MachineController {
    machine: Machine,
    task: Arc<Task>,
}

#[async_trait]
impl Controller for MachineController {
    async fn prepare(&self) -> Result<(), ExecutorError> {
        self.machine.prepare(&self.task.id, &self.task.spec.container.image)
    }

    async fn start(&self) -> Result<(), ExecutorError> {
        let carried = self.machine.network().unwrap_or_default();
        for network in self.task.networks.iter().filter(|network| !network.address.is_empty()) {
            if !carried.tables.networks.iter().any(|known| known.id == network.network_id) {
                return Err(ExecutorError::Fatal(format!("started before its network {}", network.network_id)));
            }
        }
        self.machine.start(&self.task.id)
    }

    async fn observe(&self) -> Result<Observed, ExecutorError> {
        Ok(self.machine.observe(&self.task.id))
    }

    async fn changed(&self) {
        let mut changes = self.machine.0.changes.subscribe();
        changes.mark_unchanged();
        // The machine lives as long as its controllers.
        let _ = changes.changed().await;
    }

    async fn shutdown(&self) -> Result<(), ExecutorError> {
        // The machine lives as long as its controllers.
        let _ = self.machine.0.stubborn.subscribe().wait_for(|stubborn| !stubborn).await;
        self.machine.stop(&self.task.id);
        Ok(())
    }

    async fn remove(&self) -> Result<(), ExecutorError> {
        self.machine.remove(&self.task.id);
        Ok(())
    }

    fn logs(&self, options: &LogOptions) -> BoxStream<'static, Result<LogLine, ExecutorError>> {
        let (machine, follow, since) = (self.machine.clone(), options.follow, options.since_ns);
        let line = |(data, timestamp_ns)| LogLine { timestamp_ns, stream: LogStream::Stdout, data };
        let reading = self.machine.0.readers.clone();
        futures::stream::unfold((0_usize, reading), move |(next, reading)| {
            let machine = machine.clone();
            async move {
                let mut changes = machine.0.changes.subscribe();
                loop {
                    changes.mark_unchanged();
                    if let Some(text) = lock(&machine.0.lines).get(next) {
                        let time = i64::try_from(next).unwrap_or(i64::MAX).saturating_add(1);
                        return Some(((text.clone(), time), (next + 1, reading)));
                    }
                    if !follow {
                        return None;
                    }
                    // The machine lives as long as this stream.
                    let _ = changes.changed().await;
                }
            }
        })
        .filter(move |(_, time)| futures::future::ready(*time >= since))
        .map(move |numbered| Ok(line(numbered)))
        .boxed()
    }
}
