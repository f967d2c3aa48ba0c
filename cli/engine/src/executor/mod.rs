//! This machine, as the swarm's agent drives it: `cluster`'s [`Executor`] over `runtime`, `net` and `image`.
//!
//! Everything that touches the machine blocks and runs on tokio's blocking threads. Nothing here forks: containers
//! are started by re-executing this program as their shim, just as `skep start` does, so that they never depend on
//! the agent's life.

mod container;
mod controller;
#[cfg(test)]
mod log_tests;
mod logs;
mod network;
#[cfg(test)]
mod pull_tests;
mod pulls;
mod template;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use skep_cluster::executor::{Configured, Controller, Executor, ExecutorError, NodeNetwork};
use skep_cluster::model::{NetworkId, NodeDescription, Platform, Resources, Task, TaskId};
use skep_common::limits::NANO_CPUS_PER_CPU;
use skep_common::procfs::processor_count;
use skep_runtime::{RemoveOptions, Runtime};

pub use pulls::Registries;

use crate::VERSION;
use crate::error::chain_of;
use crate::host::{hostname, load_balancer, memory_bytes};

/// The label by which a task's container is found.
pub(crate) const TASK_LABEL: &str = "com.docker.swarm.task.id";

/// One machine.
pub(crate) struct NodeExecutor {
    machine: Arc<Machine>,
}

/// What all controllers share.
struct Machine {
    runtime: Runtime,
    /// The networks assigned to this node.
    networks: Mutex<Networks>,
    /// Wakes those who wait for containers to change.
    watcher: watch::Watcher,
    /// The images of tasks.
    pulls: pulls::Pulls,
}

/// What a task's container has to know of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Assigned {
    name: String,
    ingress: bool,
}

/// The networks assigned to this node, by id.
#[derive(Debug, Default)]
struct Networks {
    /// Those that are here.
    here: HashMap<NetworkId, Assigned>,
    /// Those that cannot be, and why.
    refused: HashMap<NetworkId, String>,
    /// Those that could not be made when that was tried last, and why.
    failed: HashMap<NetworkId, String>,
    /// Why the data plane as a whole could not be made when that was tried last.
    error: Option<String>,
}

impl NodeExecutor {
    /// The machine of a runtime; `registries` says anew for each pull how registries are to be asked.
    ///
    /// # Errors
    /// When the kernel has no inotify instance left.
    pub(crate) fn new(runtime: Runtime, registries: Registries) -> std::io::Result<Self> {
        let watcher = watch::Watcher::new()?;
        let pulls = pulls::Pulls::new(runtime.images().clone(), registries);
        let machine = Machine { runtime, networks: Mutex::default(), watcher, pulls };
        Ok(Self { machine: Arc::new(machine) })
    }
}

impl Machine {
    fn networks(&self) -> MutexGuard<'_, Networks> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assigned(&self, network: &str) -> Option<Assigned> {
        self.networks().here.get(network).cloned()
    }

    /// The container of a task, if there is one.
    fn container_of(&self, task: &Task) -> Result<Option<String>, ExecutorError> {
        // By name it is one look at the disk; the label finds it when somebody renamed it.
        match self.runtime.resolve(&container::name(task)) {
            Ok(id) => Ok(Some(id)),
            Err(error) if error.is_not_found() => {
                Ok(self.runtime.find_by_label(TASK_LABEL, Some(&task.id)).map_err(of_runtime)?.into_iter().next())
            }
            Err(error) => Err(of_runtime(error)),
        }
    }
}

fn of_runtime(error: skep_runtime::Error) -> ExecutorError {
    match error.is_retryable() {
        true => ExecutorError::Temporary(chain_of(&error)),
        false => ExecutorError::Fatal(chain_of(&error)),
    }
}

fn of_engine(error: crate::Error) -> ExecutorError {
    match error.is_retryable() {
        true => ExecutorError::Temporary(chain_of(&error)),
        false => ExecutorError::Fatal(chain_of(&error)),
    }
}

fn of_net(error: skep_net::Error) -> ExecutorError {
    match error.is_retryable() {
        true => ExecutorError::Temporary(chain_of(&error)),
        false => ExecutorError::Fatal(chain_of(&error)),
    }
}

/// Runs what blocks on a thread of its own, in the span of who asks: the log then names the task there, too.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExecutorError> + Send + 'static,
) -> Result<T, ExecutorError> {
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(result) => result,
        Err(failure) => Err(ExecutorError::Temporary(format!("the work on this machine was interrupted: {failure}"))),
    }
}

#[async_trait]
impl Executor for NodeExecutor {
    async fn describe(&self) -> Result<NodeDescription, ExecutorError> {
        let machine = Arc::clone(&self.machine);
        blocking(move || {
            let cpus = i64::try_from(processor_count()).unwrap_or(i64::MAX);
            Ok(NodeDescription {
                hostname: hostname(),
                platform: Some(Platform { architecture: std::env::consts::ARCH.to_owned(), os: "linux".to_owned() }),
                resources: Some(Resources {
                    nano_cpus: cpus.saturating_mul(NANO_CPUS_PER_CPU),
                    memory_bytes: i64::try_from(memory_bytes()).unwrap_or(i64::MAX),
                    ..Resources::default()
                }),
                engine_version: VERSION.to_owned(),
                load_balancer: load_balancer(machine.runtime.net()).to_owned(),
                ..NodeDescription::default()
            })
        })
        .await
    }

    async fn configure_network(&self, network: &NodeNetwork) -> Result<Configured, ExecutorError> {
        let (machine, network) = (Arc::clone(&self.machine), network.clone());
        blocking(move || {
            let result = network::configure(&machine, &network);
            machine.networks().error = result.as_ref().err().map(ToString::to_string);
            result
        })
        .await
    }

    fn controller(&self, task: &Arc<Task>) -> Arc<dyn Controller> {
        Arc::new(controller::TaskController::new(Arc::clone(&self.machine), Arc::clone(task)))
    }

    async fn present_tasks(&self) -> Result<Vec<TaskId>, ExecutorError> {
        let machine = Arc::clone(&self.machine);
        blocking(move || {
            let mut tasks = Vec::new();
            for id in machine.runtime.find_by_label(TASK_LABEL, None).map_err(of_runtime)? {
                match machine.runtime.record(&id) {
                    Ok((record, _)) => {
                        tasks.extend(record.resolved.labels.get(TASK_LABEL).map(|id| TaskId::from(id.as_str())));
                    }
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(of_runtime(error)),
                }
            }
            Ok(tasks)
        })
        .await
    }

    async fn leave(&self) -> Result<(), ExecutorError> {
        let machine = Arc::clone(&self.machine);
        blocking(move || {
            for id in machine.runtime.find_by_label(TASK_LABEL, None).map_err(of_runtime)? {
                remove(&machine.runtime, &id)?;
            }
            *machine.networks() = Networks::default();
            machine.runtime.net().teardown_node().map_err(of_net)
        })
        .await
    }
}

/// Removes a container with its anonymous volumes; one that is gone already is removed.
fn remove(runtime: &Runtime, id: &str) -> Result<(), ExecutorError> {
    match runtime.remove(id, &RemoveOptions { force: true, volumes: true }) {
        Ok(()) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(of_runtime(error)),
    }
}
