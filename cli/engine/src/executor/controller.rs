//! One task's container. Every call is idempotent: an agent that was restarted goes on where the last one ended.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use skep_cluster::executor::{Controller, ExecutorError, Observed};
use skep_cluster::model::{ContainerStatus, LogLine, LogOptions, PREDEFINED_NETWORKS, PortConfig, PublishMode, Task};
use skep_net::SandboxId;
use skep_runtime::state::{ContainerState, HealthStatus, Status};
use skep_runtime::{Error, Runtime, StopOptions};

use super::watch::Watched;
use super::{Machine, blocking, container, logs, of_runtime, remove};
use crate::host::hostname;
use crate::ports::api_protocol;

/// How long one wait for a change lasts at most; the agent then looks anyway.
const WAIT: Duration = Duration::from_secs(5);

/// How long a task waits in silence for its networks.
const NETWORK_PATIENCE: Duration = Duration::from_secs(20);

/// How long until a look at what cannot be watched.
const PAUSE: Duration = Duration::from_millis(500);

/// The handle of one task's container.
pub(super) struct TaskController {
    machine: Arc<Machine>,
    task: Arc<Task>,
    /// Kept between waits, so that nothing that happens in between is missed.
    watched: tokio::sync::Mutex<Option<Arc<Watched>>>,
}

impl TaskController {
    pub(super) fn new(machine: Arc<Machine>, task: Arc<Task>) -> Self {
        Self { machine, task, watched: tokio::sync::Mutex::default() }
    }

    /// Does something that blocks with the runtime and, if there is one, the container's id.
    async fn with_container<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Machine, Option<String>) -> Result<T, ExecutorError> + Send + 'static,
    ) -> Result<T, ExecutorError> {
        let (machine, task) = (Arc::clone(&self.machine), Arc::clone(&self.task));
        blocking(move || {
            let id = machine.container_of(&task)?;
            work(&machine, id)
        })
        .await
    }

    /// Has the image here.
    async fn have_image(&self) -> Result<(), ExecutorError> {
        let container = &self.task.spec.container;
        self.machine.pulls.have(&container.image, &container.registry_auth).await
    }

    /// The task's networks are assigned with it: they are here in a moment, or it is known why they cannot be made, or
    /// [`container::config`] says which is not here.
    async fn have_networks(&self) -> Result<(), ExecutorError> {
        let deadline = tokio::time::Instant::now() + NETWORK_PATIENCE;
        let wanted = || {
            let ids = self.task.networks.iter().map(|network| &network.network_id);
            ids.filter(|id| !PREDEFINED_NETWORKS.contains(&id.as_str()))
        };
        loop {
            let reason = {
                let known = self.machine.networks();
                if let Some(reason) = wanted().find_map(|id| known.refused.get(id)) {
                    return Err(ExecutorError::Fatal(reason.clone()));
                }
                if wanted().all(|id| known.here.contains_key(id)) {
                    return Ok(());
                }
                wanted().find_map(|id| known.failed.get(id)).or(known.error.as_ref()).cloned()
            };
            if tokio::time::Instant::now() >= deadline {
                return reason.map_or(Ok(()), |reason| Err(ExecutorError::Fatal(reason)));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[async_trait]
impl Controller for TaskController {
    async fn prepare(&self) -> Result<(), ExecutorError> {
        if self.with_container(|_, id| Ok(id.is_some())).await? {
            return Ok(());
        }
        self.have_image().await?;
        self.have_networks().await?;
        let (machine, task) = (Arc::clone(&self.machine), Arc::clone(&self.task));
        blocking(move || {
            let config = container::config(&task, &hostname(), |network| machine.assigned(network))?;
            let created = machine.runtime.create(&config).map_err(of_runtime)?;
            tracing::debug!(container.id = %created.id, "created");
            Ok(())
        })
        .await
    }

    async fn start(&self) -> Result<(), ExecutorError> {
        self.with_container(|machine, id| {
            let id = id.ok_or_else(|| ExecutorError::Fatal("the task's container is gone".to_owned()))?;
            let (_, state) = machine.runtime.record(&id).map_err(of_runtime)?;
            if state.status.is_active() || state.started_at.is_some() {
                return Ok(());
            }
            for warning in machine.runtime.start(&id).map_err(of_runtime)? {
                tracing::warn!(container.id = %id, warning);
            }
            tracing::debug!(container.id = %id, "started");
            Ok(())
        })
        .await
    }

    async fn observe(&self) -> Result<Observed, ExecutorError> {
        self.with_container(|machine, id| {
            let Some(id) = id else { return Ok(Observed::default()) };
            let (record, state) = match machine.runtime.record(&id) {
                Ok(found) => found,
                Err(error) if error.is_not_found() => return Ok(Observed::default()),
                Err(error) => return Err(of_runtime(error)),
            };
            let has_health_check = record.resolved.health.is_some();
            Ok(observed(&id, &state, has_health_check, ports(&machine.runtime, &id)))
        })
        .await
    }

    async fn changed(&self) {
        let mut watched = self.watched.lock().await;
        if let Some(current) = watched.as_ref().map(Arc::clone) {
            drop(watched);
            tokio::time::timeout(WAIT, current.changed()).await.ok();
            return;
        }
        // What happened before the first watch began is for the next look: this returns early.
        if let Ok(Some(id)) = self.with_container(|_, id| Ok(id)).await {
            let directory = self.machine.runtime.roots().root.join("containers").join(id);
            if let Ok(new) = self.machine.watcher.watch(&directory) {
                *watched = Some(Arc::new(new));
                return;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }

    async fn shutdown(&self) -> Result<(), ExecutorError> {
        self.with_container(|machine, id| {
            let Some(id) = id else { return Ok(()) };
            // Signal and grace period are the container's own.
            match machine.runtime.stop(&id, &StopOptions { signal: None, timeout: None }) {
                Ok(()) | Err(Error::NotRunning(_)) => Ok(()),
                Err(error) if error.is_not_found() => Ok(()),
                Err(error) => Err(of_runtime(error)),
            }
        })
        .await
    }

    async fn remove(&self) -> Result<(), ExecutorError> {
        self.with_container(|machine, id| match id {
            Some(id) => remove(&machine.runtime, &id),
            None => Ok(()),
        })
        .await
    }

    fn logs(&self, options: &LogOptions) -> BoxStream<'static, Result<LogLine, ExecutorError>> {
        logs::stream(Arc::clone(&self.machine), Arc::clone(&self.task), options.clone())
    }
}

fn observed(id: &str, state: &ContainerState, has_health_check: bool, ports: Vec<PortConfig>) -> Observed {
    let healthy = state.health.as_ref().and_then(|health| match health.status {
        HealthStatus::Starting => None,
        HealthStatus::Healthy => Some(true),
        HealthStatus::Unhealthy => Some(false),
    });
    let error = match (state.oom_killed, state.error.is_empty()) {
        (true, _) => Some("out of memory".to_owned()),
        (false, false) => Some(state.error.clone()),
        (false, true) => None,
    };
    Observed {
        exists: true,
        running: matches!(state.status, Status::Running | Status::Paused),
        started: state.started_at.is_some(),
        healthy,
        has_health_check,
        container: ContainerStatus {
            container_id: id.to_owned(),
            pid: state.init.map_or(0, |init| init.pid.into()),
            exit_code: state.exit_code,
        },
        ports,
        error,
    }
}

/// The host-mode ports as they were bound.
fn ports(runtime: &Runtime, id: &str) -> Vec<PortConfig> {
    let Ok(id) = SandboxId::new(id) else { return Vec::new() };
    let sandbox = runtime.net().sandbox(&id).ok().flatten();
    let bound = sandbox.map(|sandbox| sandbox.ports).unwrap_or_default();
    bound
        .iter()
        .map(|port| PortConfig {
            protocol: api_protocol(port.protocol),
            target_port: port.container_port.into(),
            published_port: port.host_port.into(),
            publish_mode: PublishMode::Host,
            ..PortConfig::default()
        })
        .collect()
}
