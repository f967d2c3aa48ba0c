//! Who answers for what on each network, computed once for each version of the store and shared by all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    AssignedNetwork, Assignment, AssignmentKey as Key, Assignments, EndpointMode, Network, NetworkEndpoint, NetworkId,
    NetworkService, Node, Service, Task, TaskState,
};
use crate::store::View;

/// Endpoints and services of every network.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    version: u64,
    by_network: BTreeMap<NetworkId, Assignments>,
}

fn bare(address: &str) -> String {
    address.split('/').next().unwrap_or_default().to_owned()
}

impl Tables {
    /// The tables at the version of `view`.
    pub(crate) fn new(view: &View) -> Self {
        let mut tables = Self { version: view.version(), by_network: BTreeMap::new() };
        for service in view.services().values().filter(|s| !s.pending_delete) {
            tables.add_service(service);
        }
        for node in view.nodes().values() {
            for attachment in &node.attachments {
                tables.add_endpoint(NetworkEndpoint {
                    network_id: attachment.network_id.clone(),
                    address: bare(&attachment.address),
                    node_id: node.id.clone(),
                    node_addr: data_path(node),
                    ..NetworkEndpoint::default()
                });
            }
        }
        for task in view.tasks().values() {
            tables.add_task(view, task);
        }
        for attachment in view.attachments().values().filter(|a| a.is_allocated()) {
            let names = std::iter::once(&attachment.container_name).chain(&attachment.aliases);
            tables.add_endpoint(NetworkEndpoint {
                network_id: attachment.network_id.clone(),
                address: bare(&attachment.address),
                node_id: attachment.node_id.clone(),
                node_addr: view.nodes().get(&attachment.node_id).map(|n| data_path(n)).unwrap_or_default(),
                serving: true,
                names: names.filter(|n| !n.is_empty()).cloned().collect(),
                ..NetworkEndpoint::default()
            });
        }
        tables
    }

    /// The version of the view from which they were made.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    fn put(&mut self, network: &NetworkId, assignment: Assignment) {
        self.by_network.entry(network.clone()).or_default().insert(assignment.key(), assignment);
    }

    /// A node that never registered, or with an address of another kind, has none where its endpoints could be reached.
    fn add_endpoint(&mut self, endpoint: NetworkEndpoint) {
        if !endpoint.node_addr.is_empty() {
            self.put(&endpoint.network_id.clone(), Assignment::Endpoint(Arc::new(endpoint)));
        }
    }

    fn add_service(&mut self, service: &Service) {
        let (name, networks) = (service.name(), &service.spec.task.networks);
        let endpoint = service.endpoint.clone().unwrap_or_default();
        let vip_on = |network: &str| {
            let vip = endpoint.virtual_ip_on(network);
            vip.filter(|_| endpoint.mode == EndpointMode::Vip).map(bare).unwrap_or_default()
        };
        let mut add = |network: &NetworkId, aliases: Vec<String>, ports| {
            let entry = NetworkService {
                network_id: network.clone(),
                service_id: service.id.clone(),
                name: name.to_owned(),
                vip: vip_on(network),
                aliases,
                ports,
            };
            self.put(network, Assignment::Service(Arc::new(entry)));
        };
        for network in networks {
            add(&network.target, network.aliases.clone(), Vec::new());
        }
        // A virtual address that the specification does not name is the one on the ingress network.
        for vip in &endpoint.virtual_ips {
            if !networks.iter().any(|n| n.target == vip.network_id) {
                let ports = endpoint.ports.iter().filter(|p| p.is_ingress()).cloned();
                add(&vip.network_id, Vec::new(), ports.collect());
            }
        }
    }

    fn add_task(&mut self, view: &View, task: &Task) {
        if !task.is_on_its_node() {
            return;
        }
        let Some(node) = view.nodes().get(&task.node_id) else { return };
        let running = task.state() == TaskState::Running && !node.is_down();
        let wanted = task.is_wanted() && !task.status.draining;
        for network in task.networks.iter().filter(|n| !n.address.is_empty()) {
            let names = Some(task.name()).filter(|name| !name.is_empty());
            self.add_endpoint(NetworkEndpoint {
                network_id: network.network_id.clone(),
                address: bare(&network.address),
                node_id: task.node_id.clone(),
                node_addr: data_path(node),
                service_id: task.service_id.clone(),
                task_id: task.id.clone(),
                serving: running && wanted,
                draining: running && !wanted,
                names: names.into_iter().map(str::to_owned).collect(),
            });
        }
    }
}

fn data_path(node: &Node) -> String {
    node.data_path().unwrap_or_default().to_owned()
}

/// All that `node_id` has to carry out: its tasks, the networks on which it has an address, and their tables.
pub(crate) fn assignments(view: &View, tables: &Tables, node_id: &str) -> Assignments {
    let mut all = Assignments::new();
    for task in view.tasks_of_node(node_id).filter(|t| t.state() >= TaskState::Assigned) {
        all.insert(Key::Task(task.id.clone()), Assignment::Task(task.clone()));
    }
    let Some(node) = view.nodes().get(node_id) else { return all };
    let mut carried = BTreeSet::new();
    for attachment in &node.attachments {
        let Some(network) = view.networks().get(&attachment.network_id) else { continue };
        if carried.insert(network.id.clone()) {
            let assigned = assigned_network(network, bare(&attachment.address));
            all.insert(Key::Network(network.id.clone()), Assignment::Network(Arc::new(assigned)));
            all.extend(tables.by_network.get(&network.id).into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        }
    }
    all
}

fn assigned_network(network: &Network, lb_address: String) -> AssignedNetwork {
    let ipam = network.ipam.first().cloned().unwrap_or_default();
    AssignedNetwork {
        id: network.id.clone(),
        name: network.name().to_owned(),
        subnet: ipam.subnet,
        gateway: ipam.gateway,
        vni: network.vni,
        ingress: network.spec.ingress,
        internal: network.spec.internal,
        driver_options: network.spec.driver_options.clone(),
        lb_address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::StoreTransaction;
    use crate::model::{NodeAttachment, TaskStatus};
    use crate::store::create;

    fn view(states: &[(&str, TaskState, TaskState)]) -> View {
        let node = |id: &str, addr: &str, lb: &str| {
            create(Node {
                id: id.into(),
                data_path_addr: addr.into(),
                attachments: vec![NodeAttachment { network_id: "net".into(), address: lb.into() }],
                ..Node::default()
            })
        };
        let mut actions = vec![
            node("n1", "192.168.1.1", "10.0.1.2/24"),
            node("n2", "", "10.0.1.3/24"),
            node("n3", "fd00::1", "10.0.1.4/24"),
            create(Network { id: "net".into(), vni: 4097, ..Network::default() }),
        ];
        for (index, (id, state, desired)) in states.iter().enumerate() {
            let address = format!("10.0.1.{}/24", index + 10);
            let mut task = Task {
                id: (*id).into(),
                node_id: "n1".into(),
                status: TaskStatus { state: *state, ..TaskStatus::default() },
                networks: vec![crate::model::NetworkAttachment {
                    network_id: "net".into(),
                    address,
                    ..Default::default()
                }],
                ..Task::default()
            };
            task.desired_state = *desired;
            actions.push(create(task));
        }
        let mut view = View::default();
        view.apply(&StoreTransaction { actions, time_ns: 1 }, 1).unwrap();
        view
    }

    #[test]
    fn an_endpoint_serves_while_it_runs_and_drains_while_it_is_stopped() {
        let running = TaskState::Running;
        let view = view(&[
            ("a", running, running),
            ("b", running, TaskState::Shutdown),
            ("c", TaskState::Preparing, running),
            ("d", TaskState::Failed, running),
        ]);
        let all = assignments(&view, &Tables::new(&view), "n1");
        let flags = |address: &str| match all.get(&Key::Endpoint("net".into(), address.into()))? {
            Assignment::Endpoint(e) => Some((e.serving, e.draining)),
            _ => None,
        };
        assert_eq!(flags("10.0.1.10"), Some((true, false)));
        assert_eq!(flags("10.0.1.11"), Some((false, true)));
        assert_eq!(flags("10.0.1.12"), Some((false, false)));
        assert_eq!(flags("10.0.1.13"), None, "what has ended has no address");
        assert_eq!(flags("10.0.1.2"), Some((false, false)), "the balancer of this node");
        assert_eq!(flags("10.0.1.3"), None, "a node that never came");
        assert_eq!(flags("10.0.1.4"), None, "no address for VXLAN");
        assert_eq!(all.keys().filter(|k| matches!(k, Key::Task(_))).count(), 4);
        let mut view = view;
        let mut sick = Task::clone(&view.tasks()["a"]);
        sick.status.draining = true;
        let actions = vec![crate::store::update(sick)];
        view.apply(&StoreTransaction { actions, time_ns: 2 }, 2).unwrap();
        let all = assignments(&view, &Tables::new(&view), "n1");
        let address = Key::Endpoint("net".into(), "10.0.1.10".into());
        assert!(matches!(&all[&address], Assignment::Endpoint(e) if e.draining && !e.serving), "about to be stopped");
        let elsewhere = assignments(&view, &Tables::new(&view), "nobody");
        assert!(elsewhere.is_empty());
    }
}
