//! Which nodes a task may go to, and the sentence that tells why it can go nowhere.

use super::nodes::NodeInfo;
use crate::model::constraints::{Constraint, architecture, parse};
use crate::model::{Platform, PortProtocol, Resources, ServiceId, Task};

/// The reasons to refuse a node, in the order in which they are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// Down, paused or drained.
    NotReady,
    /// Reservations exceed what is left.
    Resources,
    /// A constraint is not met.
    Constraint,
    /// Not the image's architecture or operating system.
    Platform,
    /// A host-mode port is taken.
    HostPort,
    /// `max_replicas_per_node` is reached.
    MaxReplicas,
}

const REFUSALS: [Refusal; 6] = [
    Refusal::NotReady,
    Refusal::Resources,
    Refusal::Constraint,
    Refusal::Platform,
    Refusal::HostPort,
    Refusal::MaxReplicas,
];

impl Refusal {
    fn explain(self, nodes: usize) -> String {
        let on = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
        match self {
            Self::NotReady => format!("{on} not available for new tasks"),
            Self::Resources => format!("insufficient resources on {on}"),
            Self::Constraint => format!("scheduling constraints not satisfied on {on}"),
            Self::Platform => format!("unsupported platform on {on}"),
            Self::HostPort => format!("host-mode port already in use on {on}"),
            Self::MaxReplicas => "max replicas per node limit exceed".to_owned(),
        }
    }
}

/// What all tasks of one service version ask of a node.
#[derive(Debug)]
pub(crate) struct Filter {
    service: ServiceId,
    reserved: Resources,
    constraints: Vec<Constraint>,
    platforms: Vec<Platform>,
    host_ports: Vec<(PortProtocol, u32)>,
    max_replicas: usize,
}

impl Filter {
    /// The requirements of `task`.
    pub(crate) fn new(task: &Task) -> Self {
        let placement = &task.spec.placement;
        Self {
            service: task.service_id.clone(),
            reserved: task.spec.resources.reservations.clone(),
            constraints: parse(&placement.constraints).unwrap_or_default(),
            platforms: placement.platforms.clone(),
            host_ports: task.host_ports().collect(),
            max_replicas: usize::try_from(placement.max_replicas_per_node).unwrap_or(usize::MAX),
        }
    }

    /// The first reason against `info`, if any.
    pub(crate) fn refuse(&self, info: &NodeInfo) -> Option<Refusal> {
        let refused = |refusal: &Refusal| match refusal {
            Refusal::NotReady => !info.is_ready(),
            Refusal::Resources => !self.fits(&info.available),
            Refusal::Constraint => !self.constraints.iter().all(|c| c.matches(&info.node)),
            Refusal::Platform => !self.runs_on(info),
            Refusal::HostPort => self.host_ports.iter().any(|p| info.host_ports.contains(p)),
            Refusal::MaxReplicas => self.max_replicas > 0 && info.tasks_of(&self.service) >= self.max_replicas,
        };
        REFUSALS.into_iter().find(refused)
    }

    fn fits(&self, available: &Resources) -> bool {
        let enough = |wanted: i64, left: i64| wanted == 0 || wanted <= left;
        enough(self.reserved.nano_cpus, available.nano_cpus)
            && enough(self.reserved.memory_bytes, available.memory_bytes)
            && self
                .reserved
                .generic
                .iter()
                .all(|(kind, count)| enough(*count, available.generic.get(kind).copied().unwrap_or(0)))
    }

    fn runs_on(&self, info: &NodeInfo) -> bool {
        let Some(node) = info.node.platform() else { return true };
        let same = |a: &str, b: &str| a.is_empty() || b.is_empty() || a.eq_ignore_ascii_case(b);
        self.platforms.is_empty()
            || self.platforms.iter().any(|p| {
                same(&p.os, &node.os) && same(&architecture(&p.architecture), &architecture(&node.architecture))
            })
    }
}

/// "no suitable node (…)": the most frequent reason first.
pub(crate) fn explain(refusals: impl IntoIterator<Item = Refusal>) -> String {
    let mut counts = [0_usize; REFUSALS.len()];
    for refusal in refusals {
        counts[refusal as usize] += 1;
    }
    let mut reasons: Vec<(usize, Refusal)> =
        REFUSALS.into_iter().map(|r| (counts[r as usize], r)).filter(|(count, _)| *count > 0).collect();
    reasons.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let reasons: Vec<String> = reasons.into_iter().map(|(count, refusal)| refusal.explain(count)).collect();
    if reasons.is_empty() {
        "no suitable node".to_owned()
    } else {
        format!("no suitable node ({})", reasons.join("; "))
    }
}
