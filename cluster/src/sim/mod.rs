//! A swarm in one thread: the real brains, nodes that obey, and a clock that the test turns.

mod faults;
mod live;
mod placement;
mod services;
mod update;

use std::collections::{BTreeMap, BTreeSet};

use crate::allocator::Allocator;
use crate::api::{StoreAction, StoreTransaction};
use crate::brain::Brain;
use crate::dispatcher::status::reported;
use crate::model::{
    Annotations, Cluster, ClusterSpec, ContainerSpec, Mode, Network, NetworkAttachmentSpec, NetworkSpec, Node,
    NodeAvailability, NodeDescription, NodeState, NodeStatus, Place, Platform, PortConfig, Resources, Service,
    ServiceSpec, Task, TaskSpec, TaskState, TaskStatus,
};
use crate::orchestrator::{Orchestrator, Reaper};
use crate::scheduler::Scheduler;
use crate::store::{TRANSACTION_ACTIONS_MAX, View, create, update};

pub(crate) const SECOND: i64 = 1_000_000_000;

/// What a node would do with a task, beyond obeying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fate {
    #[default]
    Runs,
    /// Ends with an error as soon as it runs.
    Fails,
    /// Never comes to run.
    FailsToStart,
    /// Cannot even be prepared.
    IsRejected,
    /// Ends well as soon as it runs.
    Completes,
}

pub(crate) struct World {
    pub(crate) view: View,
    pub(crate) now: i64,
    ids: u64,
    /// Nodes that nobody can reach; what they run goes on.
    pub(crate) cut_off: BTreeSet<String>,
    /// What really runs: task to node.
    pub(crate) running: BTreeMap<String, String>,
    /// Image to fate.
    pub(crate) fates: BTreeMap<String, Fate>,
    last_states: BTreeMap<String, TaskState>,
    /// Tasks that were together in a slot on nodes that answer.
    pub(crate) doubles: Vec<(String, String)>,
}

impl World {
    pub(crate) fn new(nodes: usize) -> Self {
        let mut world = Self {
            view: View::default(),
            now: 1_000 * SECOND,
            ids: 0,
            cut_off: BTreeSet::new(),
            running: BTreeMap::new(),
            fates: BTreeMap::new(),
            last_states: BTreeMap::new(),
            doubles: Vec::new(),
        };
        let spec = ClusterSpec { task_history_limit: Some(5), ..ClusterSpec::default() };
        let cluster = Cluster { id: "cluster".into(), spec, ..Cluster::default() };
        world.commit(vec![create(cluster)]);
        world.add_network("ingress", true);
        for index in 0..nodes {
            world.add_node(&format!("node{index}"));
        }
        world
    }

    pub(crate) fn commit(&mut self, actions: Vec<StoreAction>) {
        let version = self.view.version() + 1;
        self.view.apply(&StoreTransaction { actions, time_ns: self.now }, version).unwrap();
    }

    pub(crate) fn add_network(&mut self, name: &str, ingress: bool) {
        let annotations = Annotations { name: name.into(), ..Annotations::default() };
        let spec = NetworkSpec { annotations, driver: "overlay".into(), ingress, ..NetworkSpec::default() };
        let network = Network { id: name.into(), spec, ..Network::default() };
        self.commit(vec![create(network)]);
    }

    pub(crate) fn add_node(&mut self, id: &str) {
        let platform = Some(Platform { architecture: "x86_64".into(), os: "linux".into() });
        let resources = Some(Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30, ..Resources::default() });
        let node = Node {
            id: id.into(),
            description: Some(NodeDescription { hostname: id.into(), platform, resources, ..Default::default() }),
            status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
            data_path_addr: format!("192.168.1.{}", self.view.nodes().size() + 1),
            ..Node::default()
        };
        self.commit(vec![create(node)]);
    }

    pub(crate) fn change_node(&mut self, id: &str, change: impl Fn(&mut Node)) {
        let mut node = Node::clone(&self.view.nodes()[id]);
        change(&mut node);
        self.commit(vec![update(node)]);
    }

    pub(crate) fn set_availability(&mut self, id: &str, availability: NodeAvailability) {
        self.change_node(id, |node| node.spec.availability = availability);
    }

    pub(crate) fn set_node_state(&mut self, id: &str, state: NodeState) {
        let now = self.now;
        self.change_node(id, |node| {
            node.status.state = state;
            node.status.since_ns = now;
        });
    }

    pub(crate) fn add_service(&mut self, id: &str, spec: ServiceSpec) {
        let service = Service { id: id.into(), spec, spec_version: self.view.version() + 1, ..Service::default() };
        self.commit(vec![create(service)]);
    }

    /// As the control API does it.
    pub(crate) fn update_service(&mut self, id: &str, change: impl Fn(&mut ServiceSpec)) {
        let mut service = Service::clone(&self.view.services()[id]);
        let old = service.spec.clone();
        let mut spec = old.clone();
        change(&mut spec);
        if spec.task != old.task || spec.endpoint != old.endpoint {
            service.update_status = None;
        }
        service.spec = spec;
        service.previous_spec = Some(old);
        service.previous_spec_version = service.spec_version;
        service.spec_version = self.view.version() + 1;
        self.commit(vec![update(service)]);
    }

    /// One round of everything, and a second.
    pub(crate) fn tick(&mut self) {
        self.brains();
        self.nodes_act();
        self.check();
        self.now += SECOND;
    }

    pub(crate) fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    pub(crate) fn brains(&mut self) {
        self.decide(&Orchestrator);
        self.decide(&Allocator);
        self.decide(&Scheduler);
        self.decide(&Reaper);
    }

    fn decide(&mut self, brain: &dyn Brain) {
        let mut ids = self.ids;
        let decision = brain.decide(&self.view, self.now, &mut || {
            ids += 1;
            format!("t{ids:06}")
        });
        self.ids = ids;
        for unit in decision.changes {
            assert!(unit.len() <= TRANSACTION_ACTIONS_MAX);
            self.commit(unit);
        }
        let _ = decision.wake_at;
    }

    /// Every reachable node brings each of its tasks one step on.
    fn nodes_act(&mut self) {
        let view = self.view.clone();
        let mut changed = Vec::new();
        for task in view.tasks().values().filter(|t| t.state() >= TaskState::Assigned) {
            if self.cut_off.contains(task.node_id.as_str()) {
                continue;
            }
            if let Some(next) = self.next_state(task) {
                let status = TaskStatus { state: next, timestamp_ns: self.now, ..TaskStatus::default() };
                changed.extend(reported(task, &status, self.now));
            }
        }
        // What is not assigned any more goes.
        let cut_off = self.cut_off.clone();
        self.running.retain(|task, node| cut_off.contains(node) || view.tasks().contains_key(task.as_str()));
        for task in changed {
            self.commit(vec![update(task)]);
        }
    }

    fn next_state(&mut self, task: &Task) -> Option<TaskState> {
        let fate = self.fates.get(&task.spec.container.image).copied().unwrap_or_default();
        if task.state() > TaskState::Running || task.desired_state > TaskState::Running {
            self.running.remove(task.id.as_str());
            return (task.state() <= TaskState::Running).then_some(TaskState::Shutdown);
        }
        match task.state() {
            TaskState::Assigned => Some(TaskState::Preparing),
            TaskState::Preparing if fate == Fate::IsRejected => Some(TaskState::Rejected),
            TaskState::Preparing => Some(TaskState::Ready),
            TaskState::Ready if task.desired_state == TaskState::Running && fate == Fate::FailsToStart => {
                Some(TaskState::Failed)
            }
            TaskState::Ready if task.desired_state == TaskState::Running => {
                self.running.insert(task.id.to_string(), task.node_id.to_string());
                Some(TaskState::Running)
            }
            TaskState::Running => {
                let next = match fate {
                    Fate::Runs | Fate::FailsToStart | Fate::IsRejected => return None,
                    Fate::Fails => TaskState::Failed,
                    Fate::Completes => TaskState::Complete,
                };
                self.running.remove(task.id.as_str());
                Some(next)
            }
            _ => None,
        }
    }

    /// What must hold at every moment.
    fn check(&mut self) {
        let mut addresses = BTreeSet::new();
        let mut unique = |network: &str, address: &str, who: &str| {
            if !address.is_empty() {
                assert!(addresses.insert((network.to_owned(), address.to_owned())), "{address} twice, also for {who}");
            }
        };
        for node in self.view.nodes().values() {
            node.attachments.iter().for_each(|a| unique(&a.network_id, &a.address, &node.id));
        }
        let mut ports = BTreeSet::new();
        for service in self.view.services().values() {
            let endpoint = service.endpoint.clone().unwrap_or_default();
            endpoint.virtual_ips.iter().for_each(|v| unique(&v.network_id, &v.address, &service.id));
            if !service.pending_delete {
                for port in endpoint.ports {
                    assert!(ports.insert((port.protocol, port.published_port)), "port twice: {port:?}");
                }
            }
        }
        let mut slots: BTreeMap<(String, Place), String> = BTreeMap::new();
        for task in self.view.tasks().values() {
            if task.state() <= TaskState::Running {
                task.networks.iter().for_each(|n| unique(&n.network_id, &n.address, &task.id));
            }
            let last = self.last_states.insert(task.id.to_string(), task.state());
            assert!(last.is_none_or(|last| last <= task.state()), "{} went back from {last:?}", task.id);
            let answers = self.running.contains_key(task.id.as_str()) && !self.cut_off.contains(task.node_id.as_str());
            if answers
                && let Some(other) = slots.insert((task.service_id.to_string(), task.place()), task.id.to_string())
            {
                self.doubles.push((other, task.id.to_string()));
            }
        }
    }

    /// Tasks of the service that run and are meant to.
    pub(crate) fn up(&self, service: &str) -> Vec<&Task> {
        self.view
            .tasks_of_service(service)
            .filter(|t| t.state() == TaskState::Running && t.desired_state == TaskState::Running)
            .map(AsRef::as_ref)
            .collect()
    }

    pub(crate) fn images(&self, service: &str) -> BTreeMap<String, usize> {
        let mut images = BTreeMap::new();
        for task in self.up(service) {
            *images.entry(task.spec.container.image.clone()).or_default() += 1;
        }
        images
    }
}

pub(crate) fn replicated(replicas: u64, image: &str) -> ServiceSpec {
    ServiceSpec {
        annotations: Annotations { name: "web".into(), ..Annotations::default() },
        task: TaskSpec {
            container: ContainerSpec { image: image.into(), ..ContainerSpec::default() },
            ..TaskSpec::default()
        },
        mode: Mode::Replicated(replicas),
        ..ServiceSpec::default()
    }
}

pub(crate) fn scale(replicas: u64) -> impl Fn(&mut ServiceSpec) {
    move |spec| spec.mode = Mode::Replicated(replicas)
}

pub(crate) fn image(name: &'static str) -> impl Fn(&mut ServiceSpec) {
    move |spec| name.clone_into(&mut spec.task.container.image)
}

pub(crate) fn on_network(mut spec: ServiceSpec, network: &str) -> ServiceSpec {
    let attachment = NetworkAttachmentSpec { target: network.into(), ..NetworkAttachmentSpec::default() };
    spec.task.networks.push(attachment);
    spec
}

pub(crate) fn published(mut spec: ServiceSpec, port: u32) -> ServiceSpec {
    let port = PortConfig { target_port: 80, published_port: port, ..PortConfig::default() };
    spec.endpoint.ports.push(port);
    spec
}
