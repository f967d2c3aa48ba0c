//! How a service gets to be as it was asked for, as a stream of events that whoever waits can show.
//!
//! What a task is worth is the managers' own word ([`skep_cluster::model`]). Pure but for [`Swarm::follow_service`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde::{Deserialize, Serialize};
use skep_cluster::api::{WatchServiceRequest, WatchServiceResponse};
use skep_cluster::model::{MONITOR_DEFAULT_NS, Mode, Node, Place, Service, Task, TaskState, UpdateState, is_dirty};
use tokio::time::{Instant, Interval, interval};

use super::words::Word;
use crate::ErrorKind;
use crate::error::{Error, Result};
use crate::swarm::Swarm;

/// How often the remaining seconds are told anew.
const TICK: Duration = Duration::from_millis(200);

/// Steps on the way of a task until it runs.
pub const STEPS: usize = 9;

/// Something to show about a service that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The update failed and is undone: why.
    RollingBack(String),
    /// A global service has no tasks yet.
    NoTasks,
    /// How each task stands.
    Tasks(Tasks),
    /// So many of the tasks that should run do.
    Overall {
        /// How many run.
        running: usize,
        /// How many should.
        expected: usize,
        /// They are those of before the update.
        rolling_back: bool,
    },
    /// All run; for so many seconds more they must not fail.
    Verifying(u64),
    /// One failed in that time.
    Unstable,
    /// It is as it was asked for. The last but one event of an update that was undone, else the last.
    Converged(String),
    /// The update was undone: what the managers say.
    RolledBack(String),
}

/// The tasks that count, one for each place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tasks {
    /// How many should run.
    pub expected: usize,
    /// Their places are nodes.
    pub on_nodes: bool,
    /// By place.
    pub tasks: Vec<Progress>,
}

/// How one task stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of its slot, so that they sort, or the id of its node.
    pub place: String,
    /// The name of its node, where its place is one.
    pub node: Option<String>,
    /// Its state in docker's word; none while it is neither on its way nor running.
    pub state: Option<String>,
    /// How far that is, of [`STEPS`].
    pub step: usize,
    /// Why it failed or waits; empty where it does not.
    pub error: String,
}

/// Events until the service has converged; an error where it never will.
pub type Progresses = BoxStream<'static, Result<Event>>;

impl Swarm {
    /// Follows a service until every task runs and has done so for the update's monitor time.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]. The stream ends with an error when the update is paused, the service is removed or the
    /// managers go away.
    pub async fn follow_service(&self, service: &str) -> Result<Progresses> {
        let request = WatchServiceRequest { r#ref: service.to_owned() };
        let watched = self.client().watch_service(request).await?;
        let follower = Follower {
            service: service.to_owned(),
            watched: watched.map(|message| message.map_err(Error::from)).boxed(),
            newest: None,
            tick: interval(TICK),
            convergence: Convergence::default(),
            events: VecDeque::new(),
            failure: None,
            ended: false,
        };
        Ok(stream::unfold(follower, |mut follower| async move {
            let event = follower.next().await?;
            Some((event, follower))
        })
        .boxed())
    }
}

/// What the managers tell of a service, in the model's terms.
struct Seen {
    /// None once it was removed.
    service: Option<Service>,
    tasks: Vec<Task>,
    nodes: Vec<Node>,
}

impl From<WatchServiceResponse> for Seen {
    fn from(message: WatchServiceResponse) -> Self {
        Self {
            service: message.service.filter(|_| !message.removed).map(Service::from),
            tasks: message.tasks.into_iter().map(Task::from).collect(),
            nodes: message.nodes.into_iter().map(Node::from).collect(),
        }
    }
}

/// What a stream of events holds between two of them.
struct Follower {
    service: String,
    watched: BoxStream<'static, Result<WatchServiceResponse>>,
    newest: Option<Seen>,
    tick: Interval,
    convergence: Convergence,
    events: VecDeque<Event>,
    failure: Option<Error>,
    ended: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            // What was seen before is told before.
            if let Some(failure) = self.failure.take() {
                self.ended = true;
                return Some(Err(failure));
            }
            self.failure = self.look().await.err();
        }
    }

    async fn look(&mut self) -> Result<()> {
        tokio::select! {
            // Cancel-safe: a message is either taken whole or still in the stream.
            message = self.watched.next() => match message {
                Some(message) => self.newest = Some(Seen::from(message?)),
                None => return Err(Error::new(ErrorKind::Unavailable, format!(
                    "the manager ended the connection; use `skep service ps {}` to check progress", self.service
                ))),
            },
            // Cancel-safe: says so itself.
            _ = self.tick.tick() => {}
        }
        if let Some(newest) = &self.newest {
            self.ended = self.convergence.step(newest, Instant::now(), &mut self.events)?;
        }
        Ok(())
    }
}

/// What has to be remembered between two looks at a service.
#[derive(Debug, Default)]
struct Convergence {
    converged_at: Option<Instant>,
    rolling_back: bool,
    /// What is said at the end, of an update that was rolled back.
    last_word: Option<String>,
}

impl Convergence {
    /// Looks at one state of the service; true at the end.
    fn step(&mut self, seen: &Seen, now: Instant, events: &mut VecDeque<Event>) -> Result<bool> {
        let Some(service) = &seen.service else {
            return Err(Error::not_found("the service was removed"));
        };
        self.follow_update(service, events)?;
        let monitor = monitor(service, self.rolling_back);
        if let Some(since) = self.converged_at
            && now.duration_since(since) >= monitor
        {
            events.push_back(Event::Converged(service.id.to_string()));
            events.extend(self.last_word.take().map(Event::RolledBack));
            return Ok(true);
        }
        match (self.show(service, seen, events), self.converged_at) {
            (true, since) => {
                let since = *self.converged_at.insert(since.unwrap_or(now));
                events.push_back(Event::Verifying(seconds(monitor.saturating_sub(now.duration_since(since)))));
            }
            (false, Some(_)) => {
                events.push_back(Event::Unstable);
                self.converged_at = None;
            }
            (false, None) => {}
        }
        Ok(false)
    }

    /// What the updater says.
    fn follow_update(&mut self, service: &Service, events: &mut VecDeque<Event>) -> Result<()> {
        let Some(status) = &service.update_status else { return Ok(()) };
        let paused = |what: &str| Err(Error::conflict(format!("service {what} paused: {}", status.message)));
        match status.state {
            UpdateState::Updating => self.rolling_back = false,
            UpdateState::Paused => return paused("update"),
            UpdateState::RollbackStarted => {
                if !self.rolling_back && !status.message.is_empty() {
                    events.push_back(Event::RollingBack(status.message.clone()));
                }
                self.rolling_back = true;
            }
            UpdateState::RollbackPaused => return paused("rollback"),
            UpdateState::RollbackCompleted => {
                if self.converged_at.is_none() {
                    self.last_word = Some(status.message.clone());
                }
                self.rolling_back = true;
            }
            UpdateState::Unknown | UpdateState::Completed => {}
        }
        Ok(())
    }

    /// Shows the tasks; true when all that should run do.
    fn show(&self, service: &Service, seen: &Seen, events: &mut VecDeque<Event>) -> bool {
        let newest = newest_by_place(service, &seen.tasks, &seen.nodes);
        let replicas = match service.spec.mode {
            Mode::Replicated(replicas) => Some(replicas),
            Mode::Global => None,
        };
        // Nobody but the orchestrator knows on which nodes there should be one: it makes all of them at once.
        let expected = replicas.map_or(newest.len(), |replicas| usize::try_from(replicas).unwrap_or(usize::MAX));
        let running = newest.values().filter(|task| task.is_wanted() && task.state() == TaskState::Running).count();
        let on_nodes = replicas.is_none();
        if on_nodes && newest.is_empty() {
            events.push_back(Event::NoTasks);
            return false;
        }
        let tasks = newest.iter().map(|(place, task)| progress(place, task, &seen.nodes)).collect();
        events.push_back(Event::Tasks(Tasks { expected, on_nodes, tasks }));
        events.push_back(Event::Overall { running, expected, rolling_back: self.rolling_back });
        running == expected && !service.phase().is_active()
    }
}

fn progress(place: &Place, task: &Task, nodes: &[Node]) -> Progress {
    let (place, node) = match place {
        Place::Slot(slot) => (format!("{slot:020}"), None),
        Place::Node(id) => {
            let node = nodes.iter().find(|node| node.id == *id && node.description.is_some());
            (id.to_string(), Some(node.map_or(id.to_string(), |node| node.hostname().to_owned())))
        }
    };
    let on_its_way = task.is_wanted() && task.state() <= TaskState::Running;
    Progress {
        place,
        node,
        state: on_its_way.then(|| task.state().word().to_owned()),
        step: step_of(task.state()),
        error: task.status.err.clone(),
    }
}

/// The task that counts in each place: of this specification, the one wanted most, the newest.
fn newest_by_place<'a>(service: &Service, tasks: &'a [Task], nodes: &[Node]) -> BTreeMap<Place, &'a Task> {
    let active: BTreeSet<&str> = nodes.iter().filter(|node| node.may_keep_tasks()).map(|node| &*node.id).collect();
    let mut newest: BTreeMap<Place, &Task> = BTreeMap::new();
    for task in tasks {
        let node = nodes.iter().find(|node| node.id == task.node_id);
        let gone = !task.node_id.is_empty() && !active.contains(&*task.node_id);
        if gone || task.desired_state == TaskState::Remove || is_dirty(service, task, node) {
            continue;
        }
        let rank = |task: &Task| (std::cmp::Reverse(task.desired_state as i32), task.meta.created_at_ns);
        let older = newest.get(&task.place()).is_some_and(|other| rank(other) > rank(task));
        if !older {
            newest.insert(task.place(), task);
        }
    }
    newest
}

fn monitor(service: &Service, rolling_back: bool) -> Duration {
    let config = if rolling_back { service.spec.rollback } else { service.spec.update };
    let asked = config.and_then(|config| config.monitor_ns);
    Duration::from_nanos(asked.filter(|asked| *asked > 0).unwrap_or(MONITOR_DEFAULT_NS).unsigned_abs())
}

/// Whole seconds, rounded up, at least one.
fn seconds(left: Duration) -> u64 {
    (left.as_secs() + u64::from(left.subsec_nanos() > 0)).max(1)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use skep_cluster::api::{
        ReplicatedService, Service, ServiceSpec, Task, TaskSpec, TaskStatus, UpdateConfig, UpdateStatus, service_spec,
    };

    use super::*;

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

    /// A convergence, and what it said of the last look.
    #[derive(Default)]
    struct Looks(Convergence, VecDeque<Event>);

    impl Looks {
        fn at(&mut self, message: &WatchServiceResponse, now: Instant) -> bool {
            self.1.clear();
            self.0.step(&Seen::from(message.clone()), now, &mut self.1).unwrap()
        }
    }

    #[test]
    fn converges_after_the_monitor_time() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        let starting = message(service(2), vec![task(1, TaskState::Running, 7), task(2, TaskState::Starting, 7)]);
        assert!(!looks.at(&starting, start));
        assert_eq!(looks.1.back(), Some(&Event::Overall { running: 1, expected: 2, rolling_back: false }));
        let running = message(service(2), vec![task(1, TaskState::Running, 7), task(2, TaskState::Running, 7)]);
        assert!(!looks.at(&running, start));
        assert_eq!(looks.1.back(), Some(&Event::Verifying(5)));
        assert!(!looks.at(&running, start + Duration::from_millis(3900)));
        assert_eq!(looks.1.back(), Some(&Event::Verifying(2)));
        assert!(looks.at(&running, start + Duration::from_secs(5)));
        assert_eq!(looks.1.back(), Some(&Event::Converged("s".to_owned())));
    }

    #[test]
    fn a_failure_starts_the_time_anew() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        let running = message(service(1), vec![task(1, TaskState::Running, 7)]);
        looks.at(&running, start);
        looks.at(&message(service(1), vec![task(1, TaskState::Failed, 7)]), start + Duration::from_secs(3));
        assert_eq!(looks.1.back(), Some(&Event::Unstable));
        looks.at(&running, start + Duration::from_secs(4));
        assert!(!looks.at(&running, start + Duration::from_secs(6)));
    }

    #[test]
    fn tasks_of_an_older_specification_do_not_count() {
        let mut looks = Looks::default();
        looks.at(&message(service(1), vec![task(1, TaskState::Running, 3)]), Instant::now());
        assert_eq!(looks.1.back(), Some(&Event::Overall { running: 0, expected: 1, rolling_back: false }));
    }

    #[test]
    fn nothing_wanted_is_converged() {
        let mut looks = Looks::default();
        looks.at(&message(service(0), Vec::new()), Instant::now());
        assert_eq!(looks.1.back(), Some(&Event::Verifying(5)));
    }

    #[test]
    fn a_rollback_is_told_at_the_beginning_and_at_the_end() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        let with = |state: UpdateState, words: &str| {
            let status = UpdateStatus { state: state.into(), message: words.to_owned(), ..UpdateStatus::default() };
            let service = Service { update_status: Some(status), ..service(1) };
            message(service, vec![task(1, TaskState::Running, 7)])
        };
        looks.at(&with(UpdateState::RollbackStarted, "why"), start);
        assert_eq!(looks.1.front(), Some(&Event::RollingBack("why".to_owned())));
        looks.at(&with(UpdateState::RollbackStarted, "why"), start);
        assert_ne!(looks.1.front(), Some(&Event::RollingBack("why".to_owned())), "once");
        looks.at(&with(UpdateState::RollbackCompleted, "done"), start);
        assert!(looks.at(&with(UpdateState::RollbackCompleted, "done"), start + Duration::from_secs(5)));
        assert_eq!(looks.1.back(), Some(&Event::RolledBack("done".to_owned())));
    }

    #[test]
    fn a_paused_update_is_an_error() {
        let paused =
            UpdateStatus { state: UpdateState::Paused.into(), message: "why".to_owned(), ..UpdateStatus::default() };
        let service = Service { update_status: Some(paused), ..service(1) };
        let step = Convergence::default().step(
            &Seen::from(message(service, Vec::new())),
            Instant::now(),
            &mut VecDeque::new(),
        );
        assert_eq!(step.unwrap_err().to_string(), "service update paused: why");
    }

    #[tokio::test]
    async fn the_stream_ends_when_the_service_has_converged() {
        let mut brief = service(1);
        let update = UpdateConfig { monitor_ns: Some(1), ..UpdateConfig::default() };
        brief.spec.get_or_insert_default().update = Some(update);
        let running = message(brief, vec![task(1, TaskState::Running, 7)]);
        let mut follower = Follower {
            service: "s".to_owned(),
            watched: stream::once(async { Ok(running) }).chain(stream::pending()).boxed(),
            newest: None,
            tick: interval(TICK),
            convergence: Convergence::default(),
            events: VecDeque::new(),
            failure: None,
            ended: false,
        };
        let mut last = None;
        while let Some(event) = follower.next().await {
            last = Some(event.unwrap());
        }
        assert_eq!(last, Some(Event::Converged("s".to_owned())));
    }

    #[tokio::test]
    async fn a_manager_that_goes_away_is_an_error() {
        let mut follower = Follower {
            service: "s".to_owned(),
            watched: stream::empty().boxed(),
            newest: None,
            tick: interval(TICK),
            convergence: Convergence::default(),
            events: VecDeque::new(),
            failure: None,
            ended: false,
        };
        assert_eq!(follower.next().await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(follower.next().await.is_none());
    }
}
