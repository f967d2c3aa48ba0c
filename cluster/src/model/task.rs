//! What is told of a task: its states, its place, and how its status goes on.

use std::collections::BTreeMap;

use skep_common::duration::SECOND_NS;

use super::{
    Annotations, ContainerSpec, ContainerStatus, Endpoint, LogDriver, Meta, NetworkId, NodeId, Placement, PortConfig,
    PortProtocol, PublishMode, Resources, RestartCondition, ServiceId, TaskId, TaskState,
};

/// Delay before a replacement runs, where the policy names none.
pub(crate) const RESTART_DELAY_DEFAULT_NS: i64 = 5 * SECOND_NS;
/// Time between the stop signal and the end by force, where the specification names none.
pub const GRACE_DEFAULT_NS: i64 = 10 * SECOND_NS;

/// Which place in its service a task fills.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Of a replicated service: the slot, from 1.
    Slot(u64),
    /// Of a global service: the node.
    Node(NodeId),
}

/// What a task may use, and what is kept free for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceRequirements {
    /// At most.
    pub limits: Resources,
    /// At least.
    pub reservations: Resources,
    /// Processes at most; 0: no limit.
    pub limit_pids: i64,
}

/// When a task that ended is made again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestartPolicy {
    /// After which ends.
    pub condition: RestartCondition,
    /// Nanoseconds before the new one runs; `None`: `RESTART_DELAY_DEFAULT_NS`.
    pub delay_ns: Option<i64>,
    /// 0: without limit.
    pub max_attempts: u64,
    /// Nanoseconds in which attempts count; 0: the whole life of the service.
    pub window_ns: i64,
}

/// A network that a task is to join.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkAttachmentSpec {
    /// Which; in what a user asks for it may be a name.
    pub target: NetworkId,
    /// Further names on it.
    pub aliases: Vec<String>,
    /// For the network's driver.
    pub driver_opts: BTreeMap<String, String>,
}

/// What a task is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskSpec {
    /// What runs; the swarm only passes it on.
    pub container: ContainerSpec,
    /// What it may use.
    pub resources: ResourceRequirements,
    /// When it is made again; `None` where the user said nothing.
    pub restart: Option<RestartPolicy>,
    /// Where it may go.
    pub placement: Placement,
    /// Networks to join.
    pub networks: Vec<NetworkAttachmentSpec>,
    /// What keeps its output; `None`: the node's own.
    pub log_driver: Option<LogDriver>,
    /// Counter of `service update --force`.
    pub force_update: u64,
}

impl TaskSpec {
    /// When a task is made again.
    pub(crate) fn restart_policy(&self) -> RestartPolicy {
        self.restart.unwrap_or_default()
    }

    /// Nanoseconds between the stop signal and the end by force.
    pub(crate) fn grace_ns(&self) -> i64 {
        self.container.stop_grace_period_ns.unwrap_or(GRACE_DEFAULT_NS)
    }
}

/// Ports of its node as a task bound them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PortStatus {
    /// Of host mode.
    pub ports: Vec<PortConfig>,
}

/// How a task stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskStatus {
    /// It only grows.
    pub state: TaskState,
    /// When that was reached, nanoseconds since the epoch (clock of who reports it).
    pub timestamp_ns: i64,
    /// "started", "preparing", …
    pub message: String,
    /// Error, "" when there is none.
    pub err: String,
    /// Its container; `None` before there is one.
    pub container: Option<ContainerStatus>,
    /// Host-mode ports as they were bound; `None` before.
    pub port_status: Option<PortStatus>,
    /// When this state was committed, nanoseconds since the epoch (leader's clock).
    pub applied_at_ns: i64,
    /// When it ran first (leader's clock); 0 if it never did.
    pub running_at_ns: i64,
    /// Still in its state, but about to be stopped by its node: new connections go elsewhere.
    pub draining: bool,
}

/// One network of a task, with the address that it was given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkAttachment {
    /// Which.
    pub network_id: NetworkId,
    /// With prefix length; "" on a predefined network.
    pub address: String,
    /// Further names on it.
    pub aliases: Vec<String>,
}

/// One run of a container in a place of its service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Task {
    /// Which.
    pub id: TaskId,
    /// What the system keeps of every object.
    pub meta: Meta,
    /// A copy: a later update of the service never changes an existing task.
    pub spec: TaskSpec,
    /// `spec_version` of the service from which the copy was taken.
    pub spec_version: u64,
    /// Whose it is.
    pub service_id: ServiceId,
    /// 1..n for replicated services; 0 for global ones, whose place is the node.
    pub slot: u64,
    /// Where it is; empty before it was placed.
    pub node_id: NodeId,
    /// Its container's name.
    pub annotations: Annotations,
    /// A copy of the service's.
    pub service_annotations: Annotations,
    /// How it stands.
    pub status: TaskStatus,
    /// How it should.
    pub desired_state: TaskState,
    /// Its addresses.
    pub networks: Vec<NetworkAttachment>,
    /// Copy of the service's endpoint when the task was allocated (ports to open).
    pub endpoint: Endpoint,
    /// Of this place: restarts so far within the policy's window (nanoseconds since the epoch).
    pub restarts_ns: Vec<i64>,
    /// Not to be made RUNNING before this time (nanoseconds since the epoch), 0 when at once.
    pub not_before_ns: i64,
}

impl Task {
    /// The place that it fills.
    pub fn place(&self) -> Place {
        if self.slot == 0 { Place::Node(self.node_id.clone()) } else { Place::Slot(self.slot) }
    }

    /// The state that was observed.
    pub fn state(&self) -> TaskState {
        self.status.state
    }

    /// Whether it is meant to run, now or soon.
    pub fn is_wanted(&self) -> bool {
        self.desired_state <= TaskState::Running
    }

    /// Whether it runs, and is meant to.
    pub(crate) fn is_up(&self) -> bool {
        self.state() == TaskState::Running && self.is_wanted()
    }

    /// Whether it is its node's business: assigned to it, and not over.
    pub(crate) fn is_on_its_node(&self) -> bool {
        (TaskState::Assigned..=TaskState::Running).contains(&self.state())
    }

    /// Whether it has an address on the network, or had one.
    pub(crate) fn is_on(&self, network_id: &str) -> bool {
        self.networks.iter().any(|network| network.network_id == *network_id)
    }

    /// When its present state was committed, in nanoseconds since the epoch (leader's clock).
    pub(crate) fn applied_at_ns(&self) -> i64 {
        if self.status.applied_at_ns == 0 { self.status.timestamp_ns } else { self.status.applied_at_ns }
    }

    /// Its container's name.
    pub(crate) fn name(&self) -> &str {
        &self.annotations.name
    }

    /// The certain ports of its node that it occupies: (protocol, port).
    pub(crate) fn host_ports(&self) -> impl Iterator<Item = (PortProtocol, u32)> + '_ {
        let ports = self.endpoint.ports.iter();
        ports
            .filter(|port| port.publish_mode == PublishMode::Host && port.published_port != 0)
            .map(|port| (port.protocol, port.published_port))
    }

    /// The task in a later state; `None` if that would not be later.
    pub(crate) fn advanced(&self, state: TaskState, message: &str, now_ns: i64) -> Option<Self> {
        Some(Self { status: self.status.advance(state, message, now_ns)?, ..self.clone() })
    }
}

impl TaskStatus {
    /// Of a task that was just made.
    pub(crate) fn created(now_ns: i64) -> Self {
        Self { timestamp_ns: now_ns, applied_at_ns: now_ns, message: "created".into(), ..Self::default() }
    }

    /// The status in a later state, without an error; `None` if that would not be later: a state never goes back.
    /// What is known of the container stays. `now_ns` is in nanoseconds since the epoch.
    pub(crate) fn advance(&self, state: TaskState, message: &str, now_ns: i64) -> Option<Self> {
        if state <= self.state {
            return None;
        }
        Some(Self {
            state,
            timestamp_ns: now_ns,
            applied_at_ns: now_ns,
            running_at_ns: self.running_at_after(state, now_ns),
            message: message.to_owned(),
            err: String::new(),
            ..self.clone()
        })
    }

    /// The status with what its node reports, or `None` if that is no news, or nothing that a node may say.
    /// `now_ns` is the leader's clock in nanoseconds since the epoch.
    pub(crate) fn reported(&self, report: &Self, now_ns: i64) -> Option<Self> {
        if !(TaskState::Accepted..=TaskState::Rejected).contains(&report.state) {
            return None;
        }
        let next = match self.advance(report.state, &report.message, now_ns) {
            Some(next) => {
                Self { applied_at_ns: next.applied_at_ns, running_at_ns: next.running_at_ns, ..report.clone() }
            }
            // A report in the same state is about details: the time stays that of the state.
            None if report.state == self.state && self.state <= TaskState::Running => Self {
                applied_at_ns: self.applied_at_ns,
                running_at_ns: self.running_at_after(report.state, now_ns),
                timestamp_ns: self.timestamp_ns,
                ..report.clone()
            },
            None => return None,
        };
        (next != *self).then_some(next)
    }

    fn running_at_after(&self, state: TaskState, now_ns: i64) -> i64 {
        if state == TaskState::Running && self.running_at_ns == 0 { now_ns } else { self.running_at_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: TaskState) -> TaskStatus {
        TaskStatus { state, ..TaskStatus::default() }
    }

    #[test]
    fn a_state_only_goes_on_and_remembers_when_it_ran() {
        let created = TaskStatus { err: "no address".into(), ..TaskStatus::created(1) };
        let pending = created.advance(TaskState::Pending, "pending", 2).unwrap();
        assert_eq!((pending.state, pending.applied_at_ns, pending.err.as_str()), (TaskState::Pending, 2, ""));
        assert_eq!(pending.advance(TaskState::Pending, "again", 3), None);
        assert_eq!(pending.advance(TaskState::New, "back", 3), None);
        let running = pending.advance(TaskState::Running, "started", 4).unwrap();
        let failed = running.advance(TaskState::Failed, "failed", 5).unwrap();
        assert_eq!((failed.running_at_ns, failed.applied_at_ns), (4, 5));
    }

    #[test]
    fn a_report_only_grows_and_the_end_is_final() {
        let running = status(TaskState::Starting).reported(&status(TaskState::Running), 5).unwrap();
        assert_eq!(running.running_at_ns, 5);
        assert_eq!(running.reported(&status(TaskState::Starting), 6), None);
        let ended = running.reported(&status(TaskState::Failed), 7).unwrap();
        assert_eq!((ended.running_at_ns, ended.applied_at_ns), (5, 7));
        let again = TaskStatus { message: "again".into(), ..status(TaskState::Failed) };
        assert_eq!(ended.reported(&again, 8), None);
    }

    #[test]
    fn a_node_can_neither_assign_nor_orphan() {
        assert_eq!(status(TaskState::Assigned).reported(&status(TaskState::Assigned), 1), None);
        assert_eq!(status(TaskState::Running).reported(&status(TaskState::Orphaned), 1), None);
        // REMOVE lies between REJECTED and ORPHANED, and is no observed state.
        assert_eq!(status(TaskState::Running).reported(&status(TaskState::Remove), 1), None);
    }
}
