//! A swarm in one thread: the real control API and the real brains over a store without raft, machines that follow the
//! real worker's steps, and a clock that is turned by hand. The same calls and the same seed give the same world.
//!
//! **Invariant:** after every round no address and no port is given twice, and no task's state has gone back; the world
//! stops at the first that is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::machine::{Fate, Machine, description};
use crate::agent::step::{Action, advance, step};
use crate::allocator::Allocator;
use crate::api::control_server::Control;
use crate::api::{CreateServiceRequest, RemoveServiceRequest, StoreAction, UpdateNodeRequest, UpdateServiceRequest};
use crate::brain::Brain;
use crate::control::ControlService;
use crate::dispatcher::status::reported;
use crate::logs::LogBroker;
use crate::model::{
    Annotations, Cluster, ClusterSpec, Network, NetworkSpec, Node, NodeAvailability, NodeState, NodeStatus, Place,
    ServiceSpec, Task, TaskState, TaskStatus,
};
use crate::orchestrator::{Orchestrator, Reaper};
use crate::scheduler::Scheduler;
use crate::store::{MemoryStore, Store, TRANSACTION_ACTIONS_MAX, View, create, update};
use crate::surroundings::{Chance, Clock, HandClock, Surroundings};
use crate::timing::Timing;

/// A second in nanoseconds.
pub const SECOND: i64 = 1_000_000_000;
/// When every world begins, in nanoseconds since the epoch.
const BEGINNING_NS: u64 = 1_000_000_000_000;
/// Steps of one task in a round; none has more to do before it waits for something.
const STEPS_MAX: usize = 8;

/// Numbers from a seed (splitmix64), and ids in the order in which they are asked for, unless the next is given.
#[derive(Debug)]
struct Seeded(Mutex<Source>);

#[derive(Debug)]
struct Source {
    state: u64,
    ids: u64,
    given: VecDeque<String>,
}

impl Seeded {
    fn with<T>(&self, work: impl FnOnce(&mut Source) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Chance for Seeded {
    fn number(&self) -> u64 {
        self.with(|source| {
            source.state = source.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (source.state ^ (source.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        })
    }

    fn id(&self) -> String {
        self.with(|source| {
            source.given.pop_front().unwrap_or_else(|| {
                source.ids += 1;
                format!("t{:06}", source.ids)
            })
        })
    }
}

/// The world.
pub struct World {
    /// The committed state.
    pub(crate) view: Arc<View>,
    /// By node. A removed node's machine goes on.
    pub machines: BTreeMap<String, Machine>,
    /// Nodes that nobody can reach; what they run goes on.
    pub cut_off: BTreeSet<String>,
    /// Tasks that were together in a place on nodes that answer.
    pub doubles: Vec<(String, String)>,
    store: Arc<MemoryStore>,
    control: ControlService,
    clock: HandClock,
    chance: Arc<Seeded>,
    fates: BTreeMap<String, Fate>,
    last_states: BTreeMap<String, TaskState>,
}

impl World {
    /// A swarm of so many nodes, with an ingress network. Chance is the same for the same seed.
    pub fn new(nodes: usize, seed: u64) -> Self {
        let clock = HandClock::at(BEGINNING_NS);
        let source = Source { state: seed, ids: 0, given: VecDeque::new() };
        let chance = Arc::new(Seeded(Mutex::new(source)));
        let surroundings = Surroundings { clock: Arc::new(clock.clone()), chance: chance.clone() };
        let store = Arc::new(MemoryStore::new().timed_by(surroundings.clock.clone()));
        let stop = CancellationToken::new();
        let logs = LogBroker::new(store.clone(), surroundings.clone(), stop.clone());
        let control = ControlService::new(store.clone(), None, logs, Timing::default(), surroundings, stop);
        let mut world = Self {
            view: store.view(),
            machines: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            doubles: Vec::new(),
            store,
            control,
            clock,
            chance,
            fates: BTreeMap::new(),
            last_states: BTreeMap::new(),
        };
        let spec = ClusterSpec { task_history_limit: Some(5), ..ClusterSpec::default() };
        world.commit(vec![create(Cluster { id: "cluster".into(), spec, ..Cluster::default() })]);
        world.add_network("ingress", true);
        for index in 0..nodes {
            world.add_node(&format!("node{index}"));
        }
        world
    }

    /// Nanoseconds since the epoch.
    pub fn now_ns(&self) -> i64 {
        self.clock.now_ns()
    }

    /// So much time passes, in nanoseconds, and nobody does anything.
    pub fn pass(&self, nanoseconds: i64) {
        self.clock.advance(Duration::from_nanos(nanoseconds.unsigned_abs()));
    }

    /// Some number below `limit`.
    pub fn below(&self, limit: usize) -> usize {
        usize::try_from(self.chance.number() % (limit.max(1) as u64)).unwrap_or(0)
    }

    /// Commits what nobody asked the control API for.
    pub fn commit(&mut self, actions: Vec<StoreAction>) {
        let committed = self.store.propose(actions).now_or_never();
        assert!(matches!(committed, Some(Ok(_))), "not committed: {committed:?}");
        self.view = self.store.view();
    }

    /// Makes a network with its name for its id. Not by the control API, which waits for the allocator.
    pub fn add_network(&mut self, name: &str, ingress: bool) {
        let annotations = Annotations { name: name.into(), ..Annotations::default() };
        let spec = NetworkSpec { annotations, driver: "overlay".into(), ingress, ..NetworkSpec::default() };
        self.commit(vec![create(Network { id: name.into(), spec, ..Network::default() })]);
    }

    /// A machine joins, as the authority and the dispatcher write it down.
    pub fn add_node(&mut self, id: &str) {
        let machine = Machine::new(id);
        self.fates.iter().for_each(|(image, fate)| machine.set_fate(image, *fate));
        self.machines.insert(id.to_owned(), machine);
        let node = Node {
            id: id.into(),
            description: Some(description(id)),
            status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
            data_path_addr: format!("192.168.1.{}", self.view.nodes().size() % 250 + 1),
            ..Node::default()
        };
        self.commit(vec![create(node)]);
    }

    /// Changes a node's object.
    pub fn change_node(&mut self, id: &str, change: impl Fn(&mut Node)) {
        let Some(mut node) = self.view.nodes().get(id).map(|node| Node::clone(node)) else { return };
        change(&mut node);
        self.commit(vec![update(node)]);
    }

    /// Says what becomes of an image's containers, everywhere.
    pub fn set_fate(&mut self, image: &str, fate: Fate) {
        self.fates.insert(image.to_owned(), fate);
        self.machines.values().for_each(|machine| machine.set_fate(image, fate));
    }

    /// The node's connections are lost, and the leader notices.
    pub fn cut(&mut self, node: &str) {
        self.cut_off.insert(node.to_owned());
        self.set_node_state(node, NodeState::Down);
    }

    /// The node is in touch again.
    pub fn heal(&mut self, node: &str) {
        self.cut_off.remove(node);
        self.set_node_state(node, NodeState::Ready);
    }

    fn set_node_state(&mut self, id: &str, state: NodeState) {
        let now = self.now_ns();
        self.change_node(id, |node| {
            node.status.state = state;
            node.status.since_ns = now;
        });
    }

    /// `node update --availability`.
    ///
    /// # Errors
    /// As the control API says.
    pub fn set_availability(&mut self, id: &str, availability: NodeAvailability) -> Result<(), Status> {
        let node = self.view.nodes().get(id).cloned().unwrap_or_default();
        let mut spec = node.spec.clone();
        spec.availability = availability;
        let request = UpdateNodeRequest { r#ref: id.into(), version: node.meta.version, spec: Some(spec.into()) };
        self.asked(|control| Control::update_node(control, Request::new(request)).now_or_never())
    }

    /// `service create`; the service's id and name are `id`.
    ///
    /// # Errors
    /// As the control API says.
    pub fn add_service(&mut self, id: &str, mut spec: ServiceSpec) -> Result<(), Status> {
        id.clone_into(&mut spec.annotations.name);
        self.chance.with(|source| source.given.push_back(id.to_owned()));
        let request = CreateServiceRequest { spec: Some(spec.into()) };
        let answer = self.asked(|control| Control::create_service(control, Request::new(request)).now_or_never());
        self.chance.with(|source| source.given.clear());
        answer
    }

    /// `service update`.
    ///
    /// # Errors
    /// As the control API says.
    pub fn update_service(&mut self, id: &str, change: impl Fn(&mut ServiceSpec)) -> Result<(), Status> {
        let service = self.view.services().get(id).cloned().unwrap_or_default();
        let mut spec = service.spec.clone();
        change(&mut spec);
        let request = UpdateServiceRequest {
            r#ref: id.into(),
            version: service.meta.version,
            spec: Some(spec.into()),
            ..UpdateServiceRequest::default()
        };
        self.asked(|control| Control::update_service(control, Request::new(request)).now_or_never())
    }

    /// `service rm`.
    ///
    /// # Errors
    /// As the control API says.
    pub fn remove_service(&mut self, id: &str) -> Result<(), Status> {
        let request = RemoveServiceRequest { r#ref: id.into() };
        self.asked(|control| Control::remove_service(control, Request::new(request)).now_or_never())
    }

    /// The store commits at once, so that no call has to wait.
    fn asked<T>(&mut self, call: impl FnOnce(&ControlService) -> Option<Result<T, Status>>) -> Result<(), Status> {
        let answer = call(&self.control).unwrap_or_else(|| Err(Status::internal("the control API waits")));
        self.view = self.store.view();
        answer.map(drop)
    }

    /// One round of everything, and a second.
    pub fn tick(&mut self) {
        self.brains();
        self.nodes_act();
        self.check();
        self.pass(SECOND);
    }

    /// So many rounds.
    pub fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    /// Every brain decides once, and what it decides is committed.
    pub fn brains(&mut self) {
        self.decide(&Orchestrator);
        self.decide(&Allocator);
        self.decide(&Scheduler);
        self.decide(&Reaper);
    }

    fn decide(&mut self, brain: &dyn Brain) {
        let chance = self.chance.clone();
        let decision = brain.decide(&self.view, self.now_ns(), &mut || chance.id());
        for unit in decision.changes {
            assert!(unit.len() <= TRANSACTION_ACTIONS_MAX, "{} decided a unit of {} actions", brain.name(), unit.len());
            self.commit(unit);
        }
    }

    /// Every reachable node brings each of its tasks on, and removes what is no longer assigned.
    fn nodes_act(&mut self) {
        self.machines.values().for_each(Machine::fates_come_true);
        let view = self.view.clone();
        let now = self.now_ns();
        let mut changed = Vec::new();
        for task in view.tasks().values().filter(|task| task.state() >= TaskState::Assigned) {
            let reachable = Some(task.node_id.as_str()).filter(|node| !self.cut_off.contains(*node));
            if let Some(machine) = reachable.and_then(|node| self.machines.get(node))
                && let Some(status) = act(machine, Task::clone(task), now)
            {
                changed.extend(reported(task, &status, now));
            }
        }
        for (_, machine) in self.machines.iter().filter(|(node, _)| !self.cut_off.contains(*node)) {
            let containers = machine.containers().into_keys();
            containers.filter(|task| !view.tasks().contains_key(task)).for_each(|task| machine.remove(&task));
        }
        for task in changed {
            self.commit(vec![update(task)]);
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
            service.virtual_ips().iter().for_each(|v| unique(&v.network_id, &v.address, &service.id));
            for port in service.allocated_ports().iter().filter(|_| !service.pending_delete) {
                assert!(ports.insert((port.protocol, port.published_port)), "port twice: {port:?}");
            }
        }
        let running = self.running();
        let mut places: BTreeMap<(String, Place), String> = BTreeMap::new();
        for task in self.view.tasks().values() {
            if task.state() <= TaskState::Running {
                task.networks.iter().for_each(|n| unique(&n.network_id, &n.address, &task.id));
            }
            let last = self.last_states.insert(task.id.to_string(), task.state());
            assert!(last.is_none_or(|last| last <= task.state()), "{} went back from {last:?}", task.id);
            let answers = running.contains_key(task.id.as_str()) && !self.cut_off.contains(task.node_id.as_str());
            if answers
                && let Some(other) = places.insert((task.service_id.to_string(), task.place()), task.id.to_string())
            {
                self.doubles.push((other, task.id.to_string()));
            }
        }
    }

    /// What really runs: task to node.
    pub fn running(&self) -> BTreeMap<String, String> {
        let on = |(node, machine): (&String, &Machine)| {
            machine.running().into_iter().map(|task| (task.to_string(), node.clone())).collect::<Vec<_>>()
        };
        self.machines.iter().flat_map(on).collect()
    }

    /// Tasks of the service that run and are meant to.
    pub fn up(&self, service: &str) -> Vec<&Task> {
        let running = |task: &&Task| task.state() == TaskState::Running && task.desired_state == TaskState::Running;
        self.view.tasks_of_service(service).map(AsRef::as_ref).filter(running).collect()
    }

    /// How many tasks are wanted and do not run yet.
    pub fn waiting(&self) -> usize {
        self.view.tasks().values().filter(|task| task.is_wanted() && !task.is_up()).count()
    }

    /// How many transactions there have been.
    pub fn transactions(&self) -> u64 {
        self.view.version()
    }

    /// How many tasks of the service are up, by image.
    pub fn images(&self, service: &str) -> BTreeMap<String, usize> {
        let mut images = BTreeMap::new();
        for task in self.up(service) {
            *images.entry(task.spec.container.image.clone()).or_default() += 1;
        }
        images
    }
}

/// What the worker does with a task in one round: until it has to wait for the managers or its container.
fn act(machine: &Machine, mut task: Task, now_ns: i64) -> Option<TaskStatus> {
    let before = task.state();
    for _ in 0..STEPS_MAX {
        let observed = machine.observe(&task.id);
        let reach = |task: &Task, state, message: &str, err: String| {
            advance(task, &machine.observe(&task.id), state, message, err, now_ns)
        };
        let reached = match step(&task, &observed, true, now_ns) {
            Action::Advance(status) => Some(status),
            Action::Prepare => match machine.prepare(&task.id, &task.spec.container.image) {
                Ok(()) => reach(&task, TaskState::Ready, "prepared", String::new()),
                Err(error) => reach(&task, TaskState::Rejected, "preparing", error.to_string()),
            },
            Action::Start => match machine.start(&task.id) {
                Ok(()) => continue,
                Err(error) => reach(&task, TaskState::Failed, "starting", error.to_string()),
            },
            Action::Stop { .. } => {
                machine.stop(&task.id);
                continue;
            }
            Action::StopUnhealthy => {
                machine.stop(&task.id);
                reach(&task, TaskState::Failed, "unhealthy", "task: unhealthy container".into())
            }
            Action::Wait | Action::WaitNetwork | Action::Done => None,
        };
        let Some(status) = reached else { break };
        task.status = status;
        if !matches!(task.state(), TaskState::Accepted | TaskState::Starting) {
            break;
        }
    }
    (task.state() > before).then_some(task.status)
}
