//! The next thing to do for a task, from what is wanted, what was reached and what is observed. Pure.

use crate::executor::Observed;
use crate::model::{ContainerStatus, PortStatus, Task, TaskState, TaskStatus};

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// The task has reached a new state.
    Advance(TaskStatus),
    /// Get image and container.
    Prepare,
    /// Start the container.
    Start,
    /// Stop the container, then look again; `drain` when it may have connections.
    Stop {
        /// It served until now.
        drain: bool,
    },
    /// Stop it because it is unhealthy, then it has FAILED.
    StopUnhealthy,
    /// Nothing until the container or the assignment changes.
    Wait,
    /// Nothing until this node carries the task's networks.
    WaitNetwork,
    /// It is over.
    Done,
}

/// Decides the next step of `task` (its status: what this node reached).
pub(crate) fn step(task: &Task, observed: &Observed, network_ready: bool, now_ns: i64) -> Action {
    let state = task.state();
    let desired = task.desired_state;
    let to = |state, message: &str, err: String| {
        advance(task, observed, state, message, err, now_ns).map_or(Action::Wait, Action::Advance)
    };
    if state > TaskState::Running {
        // Given up by the managers while they did not hear from this node.
        return if observed.running { Action::Stop { drain: false } } else { Action::Done };
    }
    if desired > TaskState::Running {
        return if observed.running {
            Action::Stop { drain: state == TaskState::Running }
        } else {
            to(TaskState::Shutdown, "shutdown", String::new())
        };
    }
    match state {
        TaskState::Running | TaskState::Starting if observed.started && !observed.running => {
            ended(task, observed, now_ns)
        }
        TaskState::Running if !observed.exists => {
            to(TaskState::Failed, "failed", "task: its container no longer exists".into())
        }
        // Others were told that it stops: it no longer matters if it recovers.
        TaskState::Running if observed.healthy == Some(false) || task.status.draining => Action::StopUnhealthy,
        TaskState::Running => Action::Wait,
        TaskState::Starting if !observed.running => {
            if network_ready {
                Action::Start
            } else {
                Action::WaitNetwork
            }
        }
        TaskState::Starting => match observed.healthy {
            Some(false) => Action::StopUnhealthy,
            None if observed.has_health_check => Action::Wait,
            _ => to(TaskState::Running, "started", String::new()),
        },
        TaskState::Ready if desired < TaskState::Running => Action::Wait,
        TaskState::Ready if !network_ready => Action::WaitNetwork,
        TaskState::Ready => to(TaskState::Starting, "starting", String::new()),
        // The container is made for the networks that are here.
        TaskState::Preparing if !network_ready => Action::WaitNetwork,
        TaskState::Preparing => Action::Prepare,
        TaskState::Accepted => to(TaskState::Preparing, "preparing", String::new()),
        _ => to(TaskState::Accepted, "accepted", String::new()),
    }
}

/// The end of a container that ended by itself.
fn ended(task: &Task, observed: &Observed, now_ns: i64) -> Action {
    let code = observed.container.exit_code;
    let (state, message, err) = match (&observed.error, code) {
        (None, 0) => (TaskState::Complete, "finished", String::new()),
        (None, code) => (TaskState::Failed, "failed", format!("task: non-zero exit ({code})")),
        (Some(error), code) => (TaskState::Failed, "failed", format!("task: non-zero exit ({code}): {error}")),
    };
    advance(task, observed, state, message, err, now_ns).map_or(Action::Wait, Action::Advance)
}

/// The status in a later state, with what is seen of the container; `None` if the state would not be later.
pub(crate) fn advance(
    task: &Task,
    observed: &Observed,
    state: TaskState,
    message: &str,
    err: String,
    now_ns: i64,
) -> Option<TaskStatus> {
    let mut next = task.status.advance(state, message, now_ns)?;
    next.err = err;
    next.draining = false;
    if observed.container != ContainerStatus::default() {
        next.container = Some(observed.container.clone());
    }
    if !observed.ports.is_empty() {
        next.port_status = Some(PortStatus { ports: observed.ports.clone() });
    }
    Some(next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(state: TaskState, desired: TaskState) -> Task {
        let mut task = Task { status: TaskStatus { state, ..TaskStatus::default() }, ..Task::default() };
        task.desired_state = desired;
        task
    }

    fn check(state: TaskState, desired: TaskState, observed: &Observed, expect: &str) {
        let text = match step(&task(state, desired), observed, true, 1) {
            Action::Advance(status) => format!("{:?} {}", status.state, status.err).trim_end().to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(text, expect);
    }

    const RUNNING: TaskState = TaskState::Running;

    #[test]
    fn a_task_goes_its_way() {
        let nothing = Observed::default();
        let made = Observed { exists: true, ..Observed::default() };
        let up = Observed { running: true, started: true, ..made.clone() };
        check(TaskState::Assigned, RUNNING, &nothing, "Accepted");
        check(TaskState::Accepted, RUNNING, &nothing, "Preparing");
        check(TaskState::Preparing, RUNNING, &nothing, "Prepare");
        check(TaskState::Ready, TaskState::Ready, &made, "Wait");
        check(TaskState::Ready, RUNNING, &made, "Starting");
        check(TaskState::Starting, RUNNING, &made, "Start");
        check(TaskState::Starting, RUNNING, &up, "Running");
        check(RUNNING, RUNNING, &up, "Wait");
        check(RUNNING, TaskState::Shutdown, &up, "Stop { drain: true }");
        check(RUNNING, TaskState::Shutdown, &made, "Shutdown");
        check(TaskState::Preparing, TaskState::Remove, &nothing, "Shutdown");
        check(TaskState::Failed, RUNNING, &made, "Done");
        check(TaskState::Orphaned, TaskState::Shutdown, &up, "Stop { drain: false }");
    }

    #[test]
    fn it_ends_as_its_container_did() {
        let mut gone = Observed { exists: true, started: true, ..Observed::default() };
        check(RUNNING, RUNNING, &gone, "Complete");
        gone.container.exit_code = 3;
        check(RUNNING, RUNNING, &gone, "Failed task: non-zero exit (3)");
        check(TaskState::Starting, RUNNING, &gone, "Failed task: non-zero exit (3)");
        gone.error = Some("out of memory".into());
        check(RUNNING, RUNNING, &gone, "Failed task: non-zero exit (3): out of memory");
        check(RUNNING, RUNNING, &Observed::default(), "Failed task: its container no longer exists");
    }

    #[test]
    fn with_a_health_check_it_runs_once_healthy() {
        let mut up =
            Observed { exists: true, started: true, running: true, has_health_check: true, ..Observed::default() };
        check(TaskState::Starting, RUNNING, &up, "Wait");
        up.healthy = Some(true);
        check(TaskState::Starting, RUNNING, &up, "Running");
        up.healthy = Some(false);
        check(TaskState::Starting, RUNNING, &up, "StopUnhealthy");
        check(RUNNING, RUNNING, &up, "StopUnhealthy");
    }

    #[test]
    fn it_is_made_and_started_only_on_a_node_that_carries_its_networks() {
        let made = Observed { exists: true, ..Observed::default() };
        let nothing = Observed::default();
        assert_eq!(step(&task(TaskState::Preparing, RUNNING), &nothing, false, 1), Action::WaitNetwork);
        assert_eq!(step(&task(TaskState::Ready, RUNNING), &made, false, 1), Action::WaitNetwork);
        assert_eq!(step(&task(TaskState::Starting, RUNNING), &made, false, 1), Action::WaitNetwork);
    }

    const STATES: [TaskState; 11] = [
        TaskState::New,
        TaskState::Assigned,
        TaskState::Accepted,
        TaskState::Preparing,
        TaskState::Ready,
        TaskState::Starting,
        TaskState::Running,
        TaskState::Complete,
        TaskState::Shutdown,
        TaskState::Failed,
        TaskState::Rejected,
    ];

    proptest! {
        #[test]
        fn a_state_never_goes_back(state in 0..11_usize, desired in 0..4_usize, bits in 0..32_u8, code in 0..2_i32) {
            let desired = [TaskState::Ready, RUNNING, TaskState::Shutdown, TaskState::Remove][desired];
            let observed = Observed {
                exists: bits & 1 != 0,
                running: bits & 2 != 0,
                started: bits & 4 != 0,
                healthy: (bits & 8 != 0).then_some(bits & 16 != 0),
                container: ContainerStatus { exit_code: code, ..ContainerStatus::default() },
                ..Observed::default()
            };
            if let Action::Advance(next) = step(&task(STATES[state], desired), &observed, true, 1) {
                prop_assert!(next.state > STATES[state]);
            }
        }
    }
}
