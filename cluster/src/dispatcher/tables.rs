//! Who answers for what on each network, computed once for each version of the store and shared by all nodes.

use crate::api::{
    AssignedNetwork, Assignment, EndpointMode, Network, NetworkEndpoint, NetworkService, Node, NodeState, PublishMode,
    Service, Task, TaskState, assignment::Item,
};
use crate::orchestrator::slots::state;
use crate::store::View;
use std::collections::{BTreeMap, BTreeSet};

/// Identifies an assignment within a node's set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// By id.
    Network(String),
    /// By network and service.
    Service(String, String),
    /// By network and address.
    Endpoint(String, String),
    /// By id.
    Task(String),
}

impl Key {
    /// The key of an assignment; `None` for an empty one (of a newer release).
    pub fn of(assignment: &Assignment) -> Option<Self> {
        Some(match assignment.item.as_ref()? {
            Item::Task(task) => Self::Task(task.id.clone()),
            Item::Network(network) => Self::Network(network.id.clone()),
            Item::Endpoint(endpoint) => Self::Endpoint(endpoint.network_id.clone(), endpoint.address.clone()),
            Item::Service(service) => Self::Service(service.network_id.clone(), service.service_id.clone()),
        })
    }
}

/// A node's assignments.
pub type Assignments = BTreeMap<Key, Assignment>;

/// Endpoints and services of every network.
#[derive(Debug, Default)]
pub struct Tables {
    version: u64,
    by_network: BTreeMap<String, Assignments>,
}

fn item(item: Item) -> Assignment {
    Assignment { item: Some(item) }
}

fn bare(address: &str) -> String {
    address.split('/').next().unwrap_or_default().to_owned()
}

impl Tables {
    /// The tables at the version of `view`.
    pub fn new(view: &View) -> Self {
        let mut tables = Self { version: view.version(), by_network: BTreeMap::new() };
        for service in view.services().values().filter(|s| !s.pending_delete) {
            tables.add_service(service);
        }
        for node in view.nodes().values() {
            for attachment in &node.attachments {
                let endpoint = NetworkEndpoint {
                    network_id: attachment.network_id.clone(),
                    address: bare(&attachment.address),
                    node_id: node.id.clone(),
                    node_addr: data_path(node),
                    ..NetworkEndpoint::default()
                };
                tables.put(
                    Key::Endpoint(endpoint.network_id.clone(), endpoint.address.clone()),
                    item(Item::Endpoint(endpoint)),
                );
            }
        }
        for task in view.tasks().values() {
            tables.add_task(view, task);
        }
        for attachment in view.attachments().values().filter(|a| a.address.contains('/')) {
            let names = std::iter::once(&attachment.container_name).chain(&attachment.aliases);
            let endpoint = NetworkEndpoint {
                network_id: attachment.network_id.clone(),
                address: bare(&attachment.address),
                node_id: attachment.node_id.clone(),
                node_addr: view.nodes().get(&attachment.node_id).map(|n| data_path(n)).unwrap_or_default(),
                serving: true,
                names: names.filter(|n| !n.is_empty()).cloned().collect(),
                ..NetworkEndpoint::default()
            };
            tables.put(
                Key::Endpoint(endpoint.network_id.clone(), endpoint.address.clone()),
                item(Item::Endpoint(endpoint)),
            );
        }
        tables
    }

    /// The version of the view from which they were made.
    pub fn version(&self) -> u64 {
        self.version
    }

    fn put(&mut self, key: Key, assignment: Assignment) {
        let (Key::Endpoint(network, _) | Key::Service(network, _)) = &key else { return };
        self.by_network.entry(network.clone()).or_default().insert(key, assignment);
    }

    fn add_service(&mut self, service: &Service) {
        let Some(spec) = &service.spec else { return };
        let name = spec.annotations.as_ref().map_or("", |a| &a.name);
        let networks = spec.task.as_ref().map(|t| t.networks.as_slice()).unwrap_or_default();
        let endpoint = service.endpoint.clone().unwrap_or_default();
        let vip_on = |network: &str| {
            let vip = endpoint.virtual_ips.iter().find(|v| v.network_id == network);
            vip.filter(|_| endpoint.mode() == EndpointMode::Vip).map(|v| bare(&v.address)).unwrap_or_default()
        };
        let mut add = |network: &str, aliases: Vec<String>, ports| {
            let entry = NetworkService {
                network_id: network.to_owned(),
                service_id: service.id.clone(),
                name: name.to_owned(),
                vip: vip_on(network),
                aliases,
                ports,
            };
            self.put(Key::Service(network.to_owned(), service.id.clone()), item(Item::Service(entry)));
        };
        for network in networks {
            add(&network.target, network.aliases.clone(), Vec::new());
        }
        // A virtual address that the specification does not name is the one on the ingress network.
        for vip in &endpoint.virtual_ips {
            if !networks.iter().any(|n| n.target == vip.network_id) {
                let ports = endpoint.ports.iter().filter(|p| p.publish_mode() == PublishMode::Ingress).cloned();
                add(&vip.network_id, Vec::new(), ports.collect());
            }
        }
    }

    fn add_task(&mut self, view: &View, task: &Task) {
        if !(TaskState::Assigned..=TaskState::Running).contains(&state(task)) {
            return;
        }
        let Some(node) = view.nodes().get(&task.node_id) else { return };
        let down = node.status.as_ref().is_some_and(|s| s.state() == NodeState::Down);
        let running = state(task) == TaskState::Running && !down;
        let wanted = task.desired_state() <= TaskState::Running;
        for network in task.networks.iter().filter(|n| !n.address.is_empty()) {
            let mut names: Vec<String> = task.annotations.iter().map(|a| a.name.clone()).collect();
            names.retain(|name| !name.is_empty());
            let endpoint = NetworkEndpoint {
                network_id: network.network_id.clone(),
                address: bare(&network.address),
                node_id: task.node_id.clone(),
                node_addr: data_path(node),
                service_id: task.service_id.clone(),
                task_id: task.id.clone(),
                serving: running && wanted,
                draining: running && !wanted,
                names,
            };
            self.put(
                Key::Endpoint(endpoint.network_id.clone(), endpoint.address.clone()),
                item(Item::Endpoint(endpoint)),
            );
        }
    }
}

fn data_path(node: &Node) -> String {
    if node.data_path_addr.is_empty() {
        node.status.as_ref().map(|s| s.addr.clone()).unwrap_or_default()
    } else {
        node.data_path_addr.clone()
    }
}

/// All that `node_id` has to carry out: its tasks, the networks on which it has an address, and their tables.
pub fn assignments(view: &View, tables: &Tables, node_id: &str) -> Assignments {
    let mut all = Assignments::new();
    for task in view.tasks_of_node(node_id).filter(|t| state(t) >= TaskState::Assigned) {
        all.insert(Key::Task(task.id.clone()), item(Item::Task(Task::clone(task))));
    }
    let Some(node) = view.nodes().get(node_id) else { return all };
    let mut carried = BTreeSet::new();
    for attachment in &node.attachments {
        let Some(network) = view.networks().get(&attachment.network_id) else { continue };
        if carried.insert(network.id.clone()) {
            let assigned = assigned_network(network, bare(&attachment.address));
            all.insert(Key::Network(network.id.clone()), item(Item::Network(assigned)));
            all.extend(tables.by_network.get(&network.id).into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        }
    }
    all
}

fn assigned_network(network: &Network, lb_address: String) -> AssignedNetwork {
    let spec = network.spec.clone().unwrap_or_default();
    let ipam = network.ipam.first().cloned().unwrap_or_default();
    AssignedNetwork {
        id: network.id.clone(),
        name: spec.annotations.map(|a| a.name).unwrap_or_default(),
        subnet: ipam.subnet,
        gateway: ipam.gateway,
        vni: network.vni,
        ingress: spec.ingress,
        internal: spec.internal,
        driver_options: spec.driver_options,
        lb_address,
    }
}
