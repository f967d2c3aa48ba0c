//! A machine without a kernel: containers run at once and stop when told. It outlives its agent, as containers do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use skep_cluster::api::{ContainerStatus, LogMessage, NodeDescription, Platform, Resources, Task};
use skep_cluster::executor::{Configured, Controller, Executor, ExecutorError, LogOptions, NodeNetwork, Observed};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Created,
    Running,
    Ended,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Machine {
    name: String,
    containers: Arc<Mutex<BTreeMap<String, State>>>,
    changes: watch::Sender<u64>,
}

impl Machine {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), containers: Arc::default(), changes: watch::Sender::new(0) }
    }

    /// Tasks whose containers run.
    pub fn running(&self) -> Vec<String> {
        let containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        containers.iter().filter(|(_, state)| **state == State::Running).map(|(id, _)| id.clone()).collect()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, State>)) {
        change(&mut self.containers.lock().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|count| *count += 1);
    }
}

#[async_trait]
impl Executor for Machine {
    async fn describe(&self) -> Result<NodeDescription, ExecutorError> {
        Ok(NodeDescription {
            hostname: self.name.clone(),
            platform: Some(Platform { architecture: "x86_64".into(), os: "linux".into() }),
            resources: Some(Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30, ..Resources::default() }),
            engine_version: "0.1.0".into(),
            load_balancer: "nftables".into(),
            ..NodeDescription::default()
        })
    }

    async fn configure_network(&self, _network: &NodeNetwork) -> Result<Configured, ExecutorError> {
        Ok(Configured::default())
    }

    fn controller(&self, task: &Task) -> Arc<dyn Controller> {
        Arc::new(Container { id: task.id.clone(), machine: self.clone() })
    }

    async fn present_tasks(&self) -> Result<Vec<String>, ExecutorError> {
        Ok(self.containers.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect())
    }

    async fn leave(&self) -> Result<(), ExecutorError> {
        self.change(BTreeMap::clear);
        Ok(())
    }
}

struct Container {
    id: String,
    machine: Machine,
}

#[async_trait]
impl Controller for Container {
    async fn prepare(&self) -> Result<(), ExecutorError> {
        self.machine.change(|all| {
            all.entry(self.id.clone()).or_insert(State::Created);
        });
        Ok(())
    }

    async fn start(&self) -> Result<(), ExecutorError> {
        self.machine.change(|all| {
            all.insert(self.id.clone(), State::Running);
        });
        Ok(())
    }

    async fn observe(&self) -> Result<Observed, ExecutorError> {
        let state = self.machine.containers.lock().unwrap_or_else(PoisonError::into_inner).get(&self.id).copied();
        Ok(Observed {
            exists: state.is_some(),
            running: state == Some(State::Running),
            started: matches!(state, Some(State::Running | State::Ended)),
            container: ContainerStatus { container_id: self.id.clone(), pid: 1, exit_code: 0 },
            ..Observed::default()
        })
    }

    async fn changed(&self) {
        let _ = self.machine.changes.subscribe().changed().await;
    }

    async fn shutdown(&self) -> Result<(), ExecutorError> {
        self.machine.change(|all| {
            if let Some(state) = all.get_mut(&self.id) {
                *state = State::Ended;
            }
        });
        Ok(())
    }

    async fn remove(&self) -> Result<(), ExecutorError> {
        self.machine.change(|all| {
            all.remove(&self.id);
        });
        Ok(())
    }

    fn logs(&self, _options: &LogOptions) -> BoxStream<'static, Result<LogMessage, ExecutorError>> {
        stream::empty().boxed()
    }
}
