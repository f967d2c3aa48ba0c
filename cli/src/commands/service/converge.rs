//! Waiting for a service to be as it was asked for, and showing how it gets there, as docker does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use skep_cluster::api::{
    Node, NodeAvailability, NodeState, Service, Task, TaskState, UpdateState, WatchServiceRequest,
    WatchServiceResponse, service_spec,
};
use skep_cluster::client::Client;

use crate::format::human;
use crate::format::output;
use crate::swarm::said;

/// Above it, single tasks are not shown.
const BARS_MAX: usize = 20;
const MONITOR: Duration = Duration::from_secs(5);
const STATE_WIDTH: usize = 9;
const STEPS: usize = 9;

/// Waits until every task runs and has done so for the update's monitor time.
pub async fn wait(client: &Client, service: &str, quiet: bool) -> Result<()> {
    let request = WatchServiceRequest { r#ref: service.to_owned() };
    let mut stream = client.control().watch_service(request).await.map_err(said)?.into_inner();
    let mut state = Convergence::new(Screen::new(quiet));
    let mut newest: Option<WatchServiceResponse> = None;
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            // Cancel-safe: a message is either taken whole or still in the stream.
            message = stream.message() => match message.map_err(said)? {
                Some(message) => newest = Some(message),
                None => bail!("the manager ended the connection; use `skep service ps {service}` to check progress"),
            },
            _ = tick.tick() => {}
            // Polled again where it was.
            _ = &mut interrupt => {
                output::line(format!(
                    "Operation continuing in background.\nUse `skep service ps {service}` to check progress."
                ))?;
                return Ok(());
            }
        }
        if let Some(message) = &newest
            && state.step(message, Instant::now())?
        {
            return Ok(());
        }
    }
}

struct Convergence {
    screen: Screen,
    converged_at: Option<Instant>,
    rolling_back: bool,
    /// What is said at the end, of an update that was rolled back.
    last_word: Option<String>,
    /// Numbers of slots or nodes, as they were seen first.
    places: BTreeMap<String, usize>,
    done: bool,
}

impl Convergence {
    fn new(screen: Screen) -> Self {
        Self { screen, converged_at: None, rolling_back: false, last_word: None, places: BTreeMap::new(), done: false }
    }

    /// Looks at one state of the service; true at the end.
    fn step(&mut self, message: &WatchServiceResponse, now: Instant) -> Result<bool> {
        let Some(service) = message.service.as_ref().filter(|_| !message.removed) else {
            bail!("the service was removed");
        };
        if self.follow_update(service)? {
            return Ok(true);
        }
        let monitor = monitor(service, self.rolling_back);
        if let Some(since) = self.converged_at
            && now.duration_since(since) >= monitor
        {
            self.screen.say("verify", &format!("Service {} converged", service.id));
            if let Some(last_word) = self.last_word.take() {
                self.screen.say("rollback", &last_word);
            }
            return Ok(true);
        }
        let converged = self.show(service, message);
        match (converged, self.converged_at) {
            (true, since) => {
                let since = *self.converged_at.insert(since.unwrap_or(now));
                let left = monitor.saturating_sub(now.duration_since(since)).as_secs_f64().ceil().max(1.0);
                self.screen.say("verify", &format!("Waiting {left} seconds to verify that tasks are stable..."));
            }
            (false, Some(_)) => {
                self.screen.say("verify", "Detected task failure");
                self.converged_at = None;
            }
            (false, None) => {}
        }
        Ok(false)
    }

    /// What the updater says; true when it is done already.
    fn follow_update(&mut self, service: &Service) -> Result<bool> {
        let Some(status) = &service.update_status else { return Ok(false) };
        match status.state() {
            UpdateState::Updating => self.rolling_back = false,
            UpdateState::Completed if self.converged_at.is_none() && !self.done => {}
            UpdateState::Paused => bail!("service update paused: {}", status.message),
            UpdateState::RollbackStarted => {
                if !self.rolling_back && !status.message.is_empty() {
                    self.screen.say("rollback", &status.message);
                }
                self.rolling_back = true;
            }
            UpdateState::RollbackPaused => bail!("service rollback paused: {}", status.message),
            UpdateState::RollbackCompleted => {
                if self.converged_at.is_none() {
                    self.last_word = Some(status.message.clone());
                }
                self.rolling_back = true;
            }
            UpdateState::Unknown | UpdateState::Completed => {}
        }
        Ok(false)
    }

    /// Shows the tasks; true when all that should run do.
    fn show(&mut self, service: &Service, message: &WatchServiceResponse) -> bool {
        let active: BTreeSet<&str> =
            message.nodes.iter().filter(|node| is_active(node)).map(|node| node.id.as_str()).collect();
        let newest = newest_by_place(service, &message.tasks, &active);
        let expected = match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
            Some(service_spec::Mode::Replicated(replicated)) => {
                usize::try_from(replicated.replicas).unwrap_or(usize::MAX)
            }
            // Nobody but the orchestrator knows on which nodes there should be one: it makes all of them at once.
            _ => newest.len(),
        };
        let running = newest
            .values()
            .filter(|task| !is_terminal(task.desired_state()) && state_of(task) == TaskState::Running)
            .count();
        let global = !matches!(
            service.spec.as_ref().and_then(|spec| spec.mode.as_ref()),
            Some(service_spec::Mode::Replicated(_))
        );
        if global && newest.is_empty() {
            self.screen.say("overall progress", "waiting for new tasks");
            return false;
        }
        let settled = settled(service);
        if expected <= BARS_MAX {
            self.show_tasks(&newest, expected, &message.nodes, global);
        }
        let overall = match self.rolling_back {
            true => format!("rolling back update: {running} out of {expected} tasks"),
            false => format!("{running} out of {expected} tasks"),
        };
        self.screen.say("overall progress", &overall);
        self.done = running == expected && settled;
        self.done
    }

    fn show_tasks(&mut self, newest: &BTreeMap<String, &Task>, expected: usize, nodes: &[Node], global: bool) {
        if !global {
            for number in 1..=expected {
                self.screen.reserve(&format!("{number}/{expected}"));
            }
        }
        for (place, task) in newest {
            let next = self.places.len() + 1;
            let number = *self.places.entry(place.clone()).or_insert(next);
            if number > expected {
                // A slot went away (scaled down): the numbers begin anew.
                self.places.clear();
                return;
            }
            let name = match global {
                true => {
                    let node = nodes.iter().find(|node| node.id == *place);
                    node.and_then(|node| node.description.as_ref())
                        .map_or(place.clone(), |found| found.hostname.clone())
                }
                false => format!("{number}/{expected}"),
            };
            let status = task.status.clone().unwrap_or_default();
            if !status.err.is_empty() {
                self.screen.say(&name, &human::ellipsis(&status.err.replace('\n', " "), 75));
            } else if !is_terminal(task.desired_state()) && !is_terminal(state_of(task)) {
                let state = state_of(task);
                self.screen.progress(&name, state_name(state), step_of(state));
            }
        }
    }
}

/// The task that counts in each slot (or on each node): of this specification, the one wanted most, the newest.
fn newest_by_place<'a>(service: &Service, tasks: &'a [Task], active: &BTreeSet<&str>) -> BTreeMap<String, &'a Task> {
    let mut newest: BTreeMap<String, &Task> = BTreeMap::new();
    for task in tasks.iter().filter(|task| is_up_to_date(service, task)) {
        let gone = !task.node_id.is_empty() && !active.contains(task.node_id.as_str());
        if gone || task.desired_state() == TaskState::Remove {
            continue;
        }
        let place = if task.slot == 0 { task.node_id.clone() } else { format!("{:020}", task.slot) };
        let created = |task: &Task| task.meta.unwrap_or_default().created_at_ns;
        let older = newest.get(&place).is_some_and(|other| {
            let rank = |task: &Task| (std::cmp::Reverse(task.desired_state() as i32), created(task));
            rank(other) > rank(task)
        });
        if !older {
            newest.insert(place, task);
        }
    }
    newest
}

/// Whether a task is as the service now wants it. Where it may run and with which credentials it was pulled does not
/// make a running task another one.
fn is_up_to_date(service: &Service, task: &Task) -> bool {
    if task.spec_version == service.spec_version {
        return true;
    }
    let comparable = |spec: Option<&skep_cluster::api::TaskSpec>| {
        let mut spec = spec.cloned().unwrap_or_default();
        spec.placement = None;
        if let Some(container) = &mut spec.container {
            container.registry_auth.clear();
        }
        spec
    };
    let wanted = service.spec.as_ref().and_then(|spec| spec.task.as_ref());
    comparable(task.spec.as_ref()) == comparable(wanted)
}

/// No update or rollback is under way.
fn settled(service: &Service) -> bool {
    let state = service.update_status.as_ref().map(|status| status.state()).unwrap_or_default();
    !matches!(state, UpdateState::Updating | UpdateState::RollbackStarted)
}

fn monitor(service: &Service, rolling_back: bool) -> Duration {
    let spec = service.spec.as_ref();
    let config =
        if rolling_back { spec.and_then(|s| s.rollback.as_ref()) } else { spec.and_then(|s| s.update.as_ref()) };
    match config.and_then(|config| config.monitor_ns) {
        Some(nanoseconds) if nanoseconds > 0 => Duration::from_nanos(nanoseconds.unsigned_abs()),
        _ => MONITOR,
    }
}

fn is_active(node: &Node) -> bool {
    let drained = node.spec.as_ref().is_some_and(|spec| spec.availability() == NodeAvailability::Drain);
    let down = node.status.as_ref().is_some_and(|status| status.state() == NodeState::Down);
    !drained && !down
}

fn state_of(task: &Task) -> TaskState {
    task.status.as_ref().map(|status| status.state()).unwrap_or_default()
}

fn is_terminal(state: TaskState) -> bool {
    state > TaskState::Running
}

/// The state in a word, as docker prints it.
pub fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::New => "new",
        TaskState::Pending => "pending",
        TaskState::Assigned => "assigned",
        TaskState::Accepted => "accepted",
        TaskState::Preparing => "preparing",
        TaskState::Ready => "ready",
        TaskState::Starting => "starting",
        TaskState::Running => "running",
        TaskState::Complete => "complete",
        TaskState::Shutdown => "shutdown",
        TaskState::Failed => "failed",
        TaskState::Rejected => "rejected",
        TaskState::Remove => "remove",
        TaskState::Orphaned => "orphaned",
    }
}

fn step_of(state: TaskState) -> usize {
    match state {
        TaskState::New => 1,
        TaskState::Pending => 3,
        TaskState::Assigned => 4,
        TaskState::Accepted => 5,
        TaskState::Preparing => 6,
        TaskState::Ready => 7,
        TaskState::Starting => 8,
        _ => STEPS,
    }
}

/// Lines by name: redrawn in place on a terminal, printed when they change elsewhere.
struct Screen {
    terminal: bool,
    quiet: bool,
    lines: Vec<(String, String)>,
}

impl Screen {
    fn new(quiet: bool) -> Self {
        Self { terminal: std::io::stdout().is_terminal(), quiet, lines: Vec::new() }
    }

    fn reserve(&mut self, name: &str) {
        if self.terminal && !self.lines.iter().any(|(other, _)| other == name) {
            self.say(name, " ");
        }
    }

    fn progress(&mut self, name: &str, state: &str, step: usize) {
        if !self.terminal {
            return self.say(name, state);
        }
        let filled = 50 * step / STEPS;
        let bar = format!("[{}>{}]", "=".repeat(filled), " ".repeat(50 - filled));
        self.say(name, &format!("{state:STATE_WIDTH$} {bar}"));
    }

    fn say(&mut self, name: &str, text: &str) {
        if self.quiet {
            return;
        }
        let position = self.lines.iter().position(|(other, _)| other == name);
        match position.and_then(|position| self.lines.get_mut(position)) {
            Some((_, old)) if old == text => return,
            Some((_, old)) => text.clone_into(old),
            None => self.lines.push((name.to_owned(), text.to_owned())),
        }
        let mut out = std::io::stdout().lock();
        let written = match (self.terminal, position) {
            (true, Some(position)) => {
                let up = self.lines.len() - position;
                write!(out, "\x1b[{up}A\r\x1b[2K{name}: {text}\x1b[{up}B\r")
            }
            _ => writeln!(out, "{name}: {text}"),
        };
        // Whoever reads may have gone away; the service converges all the same.
        written.and_then(|()| out.flush()).ok();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use skep_cluster::api::{ReplicatedService, ServiceSpec, TaskSpec, TaskStatus, UpdateStatus};

    fn quiet() -> Convergence {
        Convergence::new(Screen { terminal: false, quiet: true, lines: Vec::new() })
    }

    fn service(replicas: u64) -> Service {
        Service {
            id: "s".to_owned(),
            spec_version: 7,
            spec: Some(ServiceSpec {
                mode: Some(service_spec::Mode::Replicated(ReplicatedService { replicas })),
                task: Some(TaskSpec { force_update: 1, ..TaskSpec::default() }),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    fn task(slot: u64, state: TaskState, spec_version: u64) -> Task {
        Task {
            id: format!("t{slot}"),
            slot,
            spec_version,
            desired_state: TaskState::Running.into(),
            status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
            ..Task::default()
        }
    }

    fn message(service: Service, tasks: Vec<Task>) -> WatchServiceResponse {
        WatchServiceResponse { service: Some(service), tasks, nodes: Vec::new(), removed: false }
    }

    #[test]
    fn converges_after_the_monitor_time() {
        let (mut state, start) = (quiet(), Instant::now());
        let starting = message(service(2), vec![task(1, TaskState::Running, 7), task(2, TaskState::Starting, 7)]);
        assert!(!state.step(&starting, start).unwrap());
        assert_eq!(state.converged_at, None);
        let running = message(service(2), vec![task(1, TaskState::Running, 7), task(2, TaskState::Running, 7)]);
        assert!(!state.step(&running, start).unwrap());
        assert!(!state.step(&running, start + Duration::from_secs(4)).unwrap());
        assert!(state.step(&running, start + Duration::from_secs(5)).unwrap());
    }

    #[test]
    fn a_failure_starts_the_time_anew() {
        let (mut state, start) = (quiet(), Instant::now());
        let running = message(service(1), vec![task(1, TaskState::Running, 7)]);
        let failed = message(service(1), vec![task(1, TaskState::Failed, 7)]);
        state.step(&running, start).unwrap();
        state.step(&failed, start + Duration::from_secs(3)).unwrap();
        assert_eq!(state.converged_at, None);
        state.step(&running, start + Duration::from_secs(4)).unwrap();
        assert!(!state.step(&running, start + Duration::from_secs(6)).unwrap());
    }

    #[test]
    fn tasks_of_an_older_specification_do_not_count() {
        let mut state = quiet();
        state.step(&message(service(1), vec![task(1, TaskState::Running, 3)]), Instant::now()).unwrap();
        assert_eq!(state.converged_at, None);
    }

    #[test]
    fn nothing_wanted_is_converged() {
        let (mut state, start) = (quiet(), Instant::now());
        state.step(&message(service(0), Vec::new()), start).unwrap();
        assert!(state.converged_at.is_some());
    }

    #[test]
    fn a_paused_update_is_an_error() {
        let paused =
            UpdateStatus { state: UpdateState::Paused.into(), message: "why".to_owned(), ..UpdateStatus::default() };
        let service = Service { update_status: Some(paused), ..service(1) };
        let error = quiet().step(&message(service, Vec::new()), Instant::now()).unwrap_err();
        assert_eq!(error.to_string(), "service update paused: why");
    }
}
