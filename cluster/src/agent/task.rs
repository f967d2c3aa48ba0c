//! One task on this node: does what [`step`] says until the task is over, and removes its container when it is no
//! longer assigned. Cancelled, it leaves everything as it is; the next agent goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::disk::Disk;
use super::network::Carried;
use super::reporter::Reporter;
use super::step::{Action, advance, step};
use crate::executor::{Controller, ExecutorError, Observed};
use crate::model::{PREDEFINED_NETWORKS, Task, TaskState, TaskStatus};
use crate::surroundings::Clock;

const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// A container is looked at so often at least, should a notice of its change be missed.
const LOOK: Duration = Duration::from_secs(10);

/// An unhealthy task is stopped even if no manager takes the report that it will be.
const REPORTED_MAX: Duration = Duration::from_secs(2);

/// An executor that claims a change which cannot be seen must not make this a busy loop.
const BREATH: Duration = Duration::from_millis(10);

/// What the managers want of a task.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    /// As assigned.
    Assigned(Arc<Task>),
    /// No longer assigned: its container goes.
    Removed,
}

/// What all tasks of a node share.
pub(super) struct Shared {
    /// The worker's memory.
    pub disk: Disk,
    /// The way to the leader.
    pub reporter: Reporter,
    /// Networks that are ready.
    pub carried: watch::Receiver<Carried>,
    /// Pause between the end of load balancing and the stop signal.
    pub drain: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// The manager of one task.
pub(super) struct TaskManager {
    task: Task,
    wanted: watch::Receiver<Wanted>,
    controller: Arc<dyn Controller>,
    shared: Arc<Shared>,
    retry: Duration,
}

impl TaskManager {
    /// For `task`, of which the status is what this node reached before, or what the managers know.
    pub(super) fn new(
        task: Task,
        wanted: watch::Receiver<Wanted>,
        controller: Arc<dyn Controller>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { task, wanted, controller, shared, retry: RETRY_MIN }
    }

    /// Works until the task is no longer assigned and its container is gone.
    pub(super) async fn run(mut self) {
        self.shared.reporter.report(&self.task.id, self.task.status.clone());
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            match wanted {
                Wanted::Removed => return self.remove().await,
                Wanted::Assigned(task) => self.adopt(&task),
            }
            if !self.act().await {
                return;
            }
        }
    }

    /// The managers' word on everything but the status; there the greater state counts.
    fn adopt(&mut self, wanted: &Task) {
        let own = self.task.status.clone();
        let changed = self.task.desired_state != wanted.desired_state;
        self.task = wanted.clone();
        if own.state >= self.task.state() {
            self.task.status = own;
        }
        if changed {
            self.shared.disk.put_task(&self.task);
        }
    }

    fn state(&self) -> TaskState {
        self.task.state()
    }

    fn network_ready(&self) -> bool {
        let carried = self.shared.carried.borrow();
        let networks = self.task.networks.iter().map(|n| n.network_id.as_str());
        networks.filter(|id| !PREDEFINED_NETWORKS.contains(id)).all(|id| carried.networks.contains(id))
    }

    /// One step; false when the agent ends.
    async fn act(&mut self) -> bool {
        // Before it was prepared there is nothing to see.
        let observed = if self.state() < TaskState::Preparing && self.task.is_wanted() {
            Ok(Observed::default())
        } else {
            self.controller.observe().await
        };
        let observed = match observed {
            Ok(observed) => observed,
            Err(error) => return self.pause("cannot look at the container", &error).await,
        };
        match step(&self.task, &observed, self.network_ready(), self.shared.clock.now_ns()) {
            Action::Advance(status) => {
                self.reach(status);
                true
            }
            Action::Prepare => self.prepare(&observed).await,
            Action::Start => {
                let outcome = self.controller.start().await;
                self.shared.clock.sleep(BREATH).await;
                self.after(outcome, &observed).await
            }
            Action::Stop { drain } => self.stop(drain).await,
            Action::StopUnhealthy => self.stop_unhealthy(&observed).await,
            Action::Wait => self.wait(true).await,
            Action::WaitNetwork => self.wait_network().await,
            Action::Done => self.wait(false).await,
        }
    }

    /// Goes on to a later state, with what is seen of the container.
    fn advance(&mut self, seen: &Observed, state: TaskState, message: &str, err: String) {
        if let Some(status) = advance(&self.task, seen, state, message, err, self.shared.clock.now_ns()) {
            self.reach(status);
        }
    }

    fn reach(&mut self, status: TaskStatus) {
        let state = status.state;
        tracing::info!(state = ?state, err = status.err, "task");
        self.retry = RETRY_MIN;
        self.task.status = status.clone();
        // The states before are cheap to go through again.
        if state >= TaskState::Starting {
            self.shared.disk.put_task(&self.task);
        }
        self.shared.reporter.report(&self.task.id, status);
    }

    /// A pull may last: it is given up when the task is no longer wanted.
    async fn prepare(&mut self, observed: &Observed) -> bool {
        let controller = self.controller.clone();
        let outcome = tokio::select! {
            outcome = controller.prepare() => outcome,
            unwanted = until_unwanted(&mut self.wanted) => return unwanted,
        };
        if outcome.is_ok() {
            let seen = self.controller.observe().await.unwrap_or_else(|_| observed.clone());
            self.advance(&seen, TaskState::Ready, "prepared", String::new());
            return true;
        }
        self.after(outcome, observed).await
    }

    /// Goes on after success, ends the task after a fatal failure, and tries again after another.
    async fn after(&mut self, outcome: Result<(), ExecutorError>, observed: &Observed) -> bool {
        match outcome {
            Ok(()) => true,
            Err(error) if error.is_retryable() => self.pause("trying again", &error).await,
            Err(error) => {
                let (state, message) = if self.state() < TaskState::Starting {
                    (TaskState::Rejected, "preparing")
                } else {
                    (TaskState::Failed, "starting")
                };
                self.advance(observed, state, message, error.to_string());
                true
            }
        }
    }

    /// Shows the reason, and waits a little longer each time.
    async fn pause(&mut self, what: &str, error: &ExecutorError) -> bool {
        tracing::warn!(%error, what, "task");
        self.tell(error.to_string());
        let pause = self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
        tokio::select! {
            () = self.shared.clock.sleep(pause) => true,
            changed = self.wanted.changed() => changed.is_ok(),
        }
    }

    /// Shows why the task does not get on.
    fn tell(&mut self, reason: String) {
        if self.task.status.err != reason {
            self.task.status.err = reason;
            self.shared.reporter.report(&self.task.id, self.task.status.clone());
        }
    }

    async fn stop(&mut self, drain: bool) -> bool {
        if drain && self.on_overlay() {
            // Every node hears of the desired state at the same time, and sends new connections elsewhere.
            self.shared.clock.sleep(self.shared.drain).await;
        }
        match self.controller.shutdown().await {
            Ok(()) => {
                self.shared.clock.sleep(BREATH).await;
                true
            }
            Err(error) => self.pause("the container does not stop", &error).await,
        }
    }

    fn on_overlay(&self) -> bool {
        self.task.networks.iter().any(|n| !n.address.is_empty())
    }

    async fn stop_unhealthy(&mut self, observed: &Observed) -> bool {
        if self.state() == TaskState::Running && self.on_overlay() {
            self.drain_first().await;
        }
        if let Err(error) = self.controller.shutdown().await {
            return self.pause("the container does not stop", &error).await;
        }
        let err = "task: unhealthy container".to_owned();
        let seen = self.controller.observe().await.unwrap_or_else(|_| observed.clone());
        self.advance(&seen, TaskState::Failed, "unhealthy", err);
        true
    }

    /// Nobody but this node knows that the task is to stop: it is told, and until it is known elsewhere the task answers.
    async fn drain_first(&mut self) {
        if self.task.status.draining {
            return;
        }
        self.task.status.draining = true;
        self.shared.disk.put_task(&self.task);
        self.shared.reporter.report(&self.task.id, self.task.status.clone());
        let told = self.shared.reporter.delivered(&self.task.id);
        if self.shared.clock.limit(REPORTED_MAX, told).await.is_err() {
            tracing::debug!("stopping without a manager's knowledge");
        }
        self.shared.clock.sleep(self.shared.drain).await;
    }

    async fn wait(&mut self, for_container: bool) -> bool {
        let controller = self.controller.clone();
        tokio::select! {
            changed = self.wanted.changed() => changed.is_ok(),
            () = controller.changed(), if for_container => {
                self.shared.clock.sleep(BREATH).await;
                true
            }
            () = self.shared.clock.sleep(LOOK), if for_container => true,
        }
    }

    async fn wait_network(&mut self) -> bool {
        let mut carried = self.shared.carried.clone();
        carried.mark_unchanged();
        if self.network_ready() {
            return true;
        }
        let trouble = {
            let carried = carried.borrow();
            let own = self.task.networks.iter().find_map(|n| carried.missing.get(n.network_id.as_str()));
            own.or(carried.trouble.as_ref()).cloned()
        };
        if let Some(reason) = trouble {
            self.tell(reason);
        }
        tokio::select! {
            changed = self.wanted.changed() => changed.is_ok(),
            changed = carried.changed() => changed.is_ok(),
        }
    }

    async fn remove(mut self) {
        loop {
            let outcome = match self.controller.shutdown().await {
                Ok(()) => self.controller.remove().await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%error, "the container could not be removed");
                    self.shared.clock.sleep(self.retry).await;
                    self.retry = (self.retry * 2).min(RETRY_MAX);
                }
            }
        }
        self.shared.disk.remove_task(&self.task.id);
        self.shared.reporter.forget(&self.task.id);
    }
}

/// Returns when the task is to stop (true), or the agent ends (false).
async fn until_unwanted(wanted: &mut watch::Receiver<Wanted>) -> bool {
    let unwanted = |wanted: &Wanted| match wanted {
        Wanted::Removed => true,
        Wanted::Assigned(task) => !task.is_wanted(),
    };
    wanted.wait_for(unwanted).await.is_ok()
}
