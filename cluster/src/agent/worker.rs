//! Turns assignments into task managers and into the network that the executor carries.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::AgentConfig;
use super::assigned::{Assigned, OutOfSequence};
use super::disk::Disk;
use super::network::{self, Carried};
use super::reporter::Reporter;
use super::task::{Shared, TaskManager, Wanted};
use crate::executor::{Executor, ExecutorError, NodeNetwork};
use crate::model::{Batch, DATA_PATH_PORT_DEFAULT, Task, TaskId};

/// The tasks on this node, for whoever has to find them by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct LocalTasks(Arc<Mutex<Local>>);

#[derive(Debug, Default)]
struct Local {
    assigned: BTreeMap<TaskId, Arc<Task>>,
    /// No longer assigned, and yet to be removed by their managers.
    leaving: BTreeSet<TaskId>,
}

impl LocalTasks {
    /// The task as assigned.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Task>> {
        self.lock().assigned.get(id).cloned()
    }

    /// Whether somebody here takes care of the task.
    fn is_managed(&self, id: &str) -> bool {
        let local = self.lock();
        local.assigned.contains_key(id) || local.leaving.contains(id)
    }

    fn set(&self, local: Local) {
        *self.lock() = local;
    }

    fn lock(&self) -> MutexGuard<'_, Local> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Managed {
    wanted: watch::Sender<Wanted>,
    task: AbortHandle,
}

/// The node's work. Stopping it leaves the containers.
pub(super) struct Worker {
    config: AgentConfig,
    assigned: Assigned,
    managed: BTreeMap<TaskId, Managed>,
    running: JoinSet<()>,
    shared: Arc<Shared>,
    network: watch::Sender<Option<Arc<NodeNetwork>>>,
    local: LocalTasks,
    /// Removes containers of unknown tasks.
    cleaner: Option<AbortHandle>,
    data_path_port: u32,
    stop: CancellationToken,
}

impl Worker {
    /// Takes up what the worker remembers: containers are adopted and the data plane is repaired at once.
    ///
    /// # Errors
    /// If the worker's directory cannot be used.
    pub(super) fn start(config: AgentConfig, stop: CancellationToken) -> io::Result<Self> {
        let disk = Disk::open(&config.state_dir)?;
        let tasks = disk.tasks()?;
        let tables = disk.tables()?;
        let (carried, carried_receiver) = watch::channel(Carried::default());
        let network = watch::Sender::new(None);
        let mut running = JoinSet::new();
        running.spawn(network::run(
            config.executor.clone(),
            config.surroundings.clock.clone(),
            network.subscribe(),
            carried,
            stop.clone(),
        ));
        let shared = Arc::new(Shared {
            disk,
            reporter: Reporter::default(),
            carried: carried_receiver,
            drain: config.drain,
            clock: config.surroundings.clock.clone(),
        });
        let mut worker = Self {
            assigned: Assigned::remembered(tasks, tables.clone().unwrap_or_default()),
            managed: BTreeMap::new(),
            running,
            shared,
            network,
            local: LocalTasks::default(),
            cleaner: None,
            data_path_port: tables.as_ref().map_or(DATA_PATH_PORT_DEFAULT, |t| t.data_path_port),
            config,
            stop,
        };
        if tables.is_some() {
            worker.reconcile_network();
        }
        worker.reconcile_tasks();
        Ok(worker)
    }

    /// Stops all work at once, and returns when the last of it is remembered.
    pub(super) async fn stop(mut self) {
        self.running.shutdown().await;
    }

    /// The way to the leader.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The tasks on this node.
    pub(super) fn local(&self) -> &LocalTasks {
        &self.local
    }

    /// The cluster's VXLAN port.
    pub(super) fn set_data_path_port(&mut self, port: u32) {
        let port = if port == 0 { DATA_PATH_PORT_DEFAULT } else { port };
        if self.data_path_port != port {
            self.data_path_port = port;
            if self.assigned.complete {
                self.reconcile_network();
            }
        }
    }

    /// New assignments.
    ///
    /// # Errors
    /// If it is an increment on another set than the one that is here.
    pub(super) fn apply(&mut self, batch: Batch) -> Result<(), OutOfSequence> {
        let complete = batch.complete;
        self.assigned.apply(batch)?;
        // First the network: tasks that start wait for it.
        self.reconcile_network();
        self.reconcile_tasks();
        if complete {
            self.remove_strangers();
        }
        Ok(())
    }

    fn reconcile_network(&mut self) {
        let network = NodeNetwork {
            node_id: self.config.node_id.clone(),
            data_path_addr: self.config.data_path_addr.clone(),
            tables: self.assigned.tables(self.data_path_port),
        };
        if self.network.borrow().as_deref() == Some(&network) {
            return;
        }
        self.shared.disk.put_tables(&network.tables);
        self.network.send_replace(Some(Arc::new(network)));
    }

    fn reconcile_tasks(&mut self) {
        while self.running.try_join_next().is_some() {}
        self.managed.retain(|_, managed| !managed.task.is_finished());
        let tasks: BTreeMap<TaskId, Arc<Task>> =
            self.assigned.tasks().map(|task| (task.id.clone(), task.clone())).collect();
        let leaving = self.managed.keys().filter(|id| !tasks.contains_key(*id)).cloned().collect();
        // Known before it is made: a container that nobody knows is removed.
        self.local.set(Local { assigned: tasks.clone(), leaving });
        for (id, managed) in &self.managed {
            let wanted = tasks.get(id).map_or(Wanted::Removed, |task| Wanted::Assigned(task.clone()));
            managed.wanted.send_if_modified(|present| {
                let differs = *present != wanted;
                *present = wanted;
                differs
            });
        }
        for (id, task) in &tasks {
            if !self.managed.contains_key(id) {
                self.manage(task.clone());
            }
        }
    }

    fn manage(&mut self, task: Arc<Task>) {
        self.shared.disk.put_task(&task);
        let (wanted, receiver) = watch::channel(Wanted::Assigned(task.clone()));
        let controller = self.config.executor.controller(&task);
        let manager = TaskManager::new(Task::clone(&task), receiver, controller, self.shared.clone());
        let span = tracing::info_span!("task", task.id = %task.id, service.id = %task.service_id);
        let handle = self.running.spawn(manager.run().instrument(span));
        self.managed.insert(task.id.clone(), Managed { wanted, task: handle });
    }

    /// Containers of tasks that nobody wants here, perhaps from before this agent lost its memory.
    fn remove_strangers(&mut self) {
        let cleaning = remove_strangers(self.config.clone(), self.local.clone(), self.stop.clone());
        if let Some(earlier) = self.cleaner.replace(self.running.spawn(cleaning)) {
            earlier.abort();
        }
    }
}

async fn remove_strangers(config: AgentConfig, local: LocalTasks, stop: CancellationToken) {
    let mut pause = Duration::from_secs(1);
    while !stop.is_cancelled() {
        match strangers(config.executor.as_ref(), &local).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "containers of unknown tasks could not be removed"),
        }
        config.surroundings.clock.sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(60));
    }
}

/// Tries all of them; the error of the last that could not be removed.
async fn strangers(executor: &dyn Executor, local: &LocalTasks) -> Result<(), ExecutorError> {
    let mut outcome = Ok(());
    for id in executor.present_tasks().await? {
        // Looked up now: tasks come while others are being removed.
        if local.is_managed(&id) {
            continue;
        }
        let span = tracing::info_span!("task", task.id = %id);
        if let Err(error) = remove_stranger(executor, id).instrument(span).await {
            outcome = Err(error);
        }
    }
    outcome
}

async fn remove_stranger(executor: &dyn Executor, id: TaskId) -> Result<(), ExecutorError> {
    tracing::info!("removing the container of a task that is not assigned");
    let controller = executor.controller(&Arc::new(Task { id, ..Task::default() }));
    controller.shutdown().await?;
    controller.remove().await
}
