//! What is told of a task: its states, its place, and how its status goes on.

use crate::api::{
    NetworkAttachmentSpec, Placement, PublishMode, Resources, RestartPolicy, Task, TaskSpec, TaskState, TaskStatus,
};

/// Delay before a replacement runs, where the policy names none.
pub const RESTART_DELAY_DEFAULT_NS: i64 = 5_000_000_000;
/// Time between the stop signal and the end by force, where the specification names none.
pub const GRACE_DEFAULT_NS: i64 = 10_000_000_000;

/// Which place in its service a task fills.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Of a replicated service: the slot, from 1.
    Slot(u64),
    /// Of a global service: the node.
    Node(String),
}

impl Task {
    /// The place that it fills.
    pub fn place(&self) -> Place {
        if self.slot == 0 { Place::Node(self.node_id.clone()) } else { Place::Slot(self.slot) }
    }

    /// The state that was observed.
    pub fn state(&self) -> TaskState {
        self.status.as_ref().map_or(TaskState::New, |status| status.state())
    }

    /// Whether it is meant to run, now or soon.
    pub fn is_wanted(&self) -> bool {
        self.desired_state() <= TaskState::Running
    }

    /// Whether it runs, and is meant to.
    pub fn is_up(&self) -> bool {
        self.state() == TaskState::Running && self.is_wanted()
    }

    /// Whether it is its node's business: assigned to it, and not over.
    pub fn is_on_its_node(&self) -> bool {
        (TaskState::Assigned..=TaskState::Running).contains(&self.state())
    }

    /// Whether its node will stop it, though it still runs.
    pub fn is_draining(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.draining)
    }

    /// Whether it has an address on the network, or had one.
    pub fn is_on(&self, network_id: &str) -> bool {
        self.networks.iter().any(|network| network.network_id == network_id)
    }

    /// When it was committed first, in nanoseconds since the epoch.
    pub fn created_at_ns(&self) -> i64 {
        self.meta.as_ref().map_or(0, |meta| meta.created_at_ns)
    }

    /// When its present state was committed, in nanoseconds since the epoch (leader's clock).
    pub fn applied_at_ns(&self) -> i64 {
        let status = self.status.as_ref();
        status.map_or(0, |s| if s.applied_at_ns == 0 { s.timestamp_ns } else { s.applied_at_ns })
    }

    /// When it ran first, in nanoseconds since the epoch (leader's clock); 0 if it never did.
    pub fn running_at_ns(&self) -> i64 {
        self.status.as_ref().map_or(0, |status| status.running_at_ns)
    }

    /// Its error, "" when there is none.
    pub fn error(&self) -> &str {
        self.status.as_ref().map_or("", |status| &status.err)
    }

    /// Its container's name.
    pub fn name(&self) -> &str {
        self.annotations.as_ref().map_or("", |annotations| &annotations.name)
    }

    /// Its image, as pinned.
    pub fn image(&self) -> &str {
        self.spec.as_ref().and_then(|spec| spec.container.as_ref()).map_or("", |container| &container.image)
    }

    /// Networks that it is to join.
    pub fn asked_networks(&self) -> &[NetworkAttachmentSpec] {
        self.spec.as_ref().map_or(&[], TaskSpec::networks)
    }

    /// What its node has to meet.
    pub fn constraints(&self) -> &[String] {
        self.placement().map_or(&[], |placement| &placement.constraints)
    }

    /// Where it may go.
    pub fn placement(&self) -> Option<&Placement> {
        self.spec.as_ref()?.placement.as_ref()
    }

    /// What it reserves of its node, if anything.
    pub fn reservations(&self) -> Option<&Resources> {
        self.spec.as_ref()?.resources.as_ref()?.reservations.as_ref()
    }

    /// When it is replaced.
    pub fn restart_policy(&self) -> RestartPolicy {
        self.spec.as_ref().and_then(|spec| spec.restart).unwrap_or_default()
    }

    /// Time between its stop signal and the end by force.
    pub fn grace_ns(&self) -> i64 {
        let container = self.spec.as_ref().and_then(|spec| spec.container.as_ref());
        container.and_then(|container| container.stop_grace_period_ns).unwrap_or(GRACE_DEFAULT_NS)
    }

    /// The certain ports of its node that it occupies: (protocol, port).
    pub fn host_ports(&self) -> impl Iterator<Item = (i32, u32)> + '_ {
        let ports = self.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        ports
            .filter(|port| port.publish_mode() == PublishMode::Host && port.published_port != 0)
            .map(|port| (port.protocol, port.published_port))
    }

    /// The task in a later state; `None` if that would not be later.
    pub fn advanced(&self, state: TaskState, message: &str, now_ns: i64) -> Option<Self> {
        let status = self.status.clone().unwrap_or_default().advance(state, message, now_ns)?;
        Some(Self { status: Some(status), ..self.clone() })
    }
}

impl TaskStatus {
    /// Of a task that was just made.
    pub fn created(now_ns: i64) -> Self {
        Self { timestamp_ns: now_ns, applied_at_ns: now_ns, message: "created".into(), ..Self::default() }
    }

    /// The status in a later state, without an error; `None` if that would not be later: a state never goes back.
    /// What is known of the container stays. `now_ns` is in nanoseconds since the epoch.
    pub fn advance(&self, state: TaskState, message: &str, now_ns: i64) -> Option<Self> {
        if state <= self.state() {
            return None;
        }
        Some(Self {
            state: state.into(),
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
    pub fn reported(&self, report: &Self, now_ns: i64) -> Option<Self> {
        if !(TaskState::Accepted..=TaskState::Rejected).contains(&report.state()) {
            return None;
        }
        let next = match self.advance(report.state(), &report.message, now_ns) {
            Some(next) => {
                Self { applied_at_ns: next.applied_at_ns, running_at_ns: next.running_at_ns, ..report.clone() }
            }
            // A report in the same state is about details: the time stays that of the state.
            None if report.state() == self.state() && self.state() <= TaskState::Running => Self {
                applied_at_ns: self.applied_at_ns,
                running_at_ns: self.running_at_after(report.state(), now_ns),
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
        TaskStatus { state: state.into(), ..TaskStatus::default() }
    }

    #[test]
    fn a_state_only_goes_on_and_remembers_when_it_ran() {
        let created = TaskStatus { err: "no address".into(), ..TaskStatus::created(1) };
        let pending = created.advance(TaskState::Pending, "pending", 2).unwrap();
        assert_eq!((pending.state(), pending.applied_at_ns, pending.err.as_str()), (TaskState::Pending, 2, ""));
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
