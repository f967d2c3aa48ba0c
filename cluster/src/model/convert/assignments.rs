//! Assignments: on their way to a node, and as the node remembers them.

use std::sync::Arc;

use super::super::{
    AssignedNetwork, Assignment, AssignmentKey, Batch, Change, NetworkEndpoint, NetworkService, NetworkTables,
};
use crate::api::{self, assignment::Item};

mirror! { AssignedNetwork {
    plain: [id name subnet gateway vni ingress internal driver_options lb_address]
}}
mirror! { NetworkEndpoint {
    plain: [network_id address node_id node_addr service_id task_id serving draining names]
}}
mirror! { NetworkService { plain: [network_id service_id name vip aliases], many: [ports] } }

impl From<api::WorkerState> for NetworkTables {
    fn from(given: api::WorkerState) -> Self {
        Self {
            data_path_port: given.data_path_port,
            networks: given.networks.into_iter().map(Into::into).collect(),
            endpoints: given.endpoints.into_iter().map(Into::into).collect(),
            services: given.services.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<NetworkTables> for api::WorkerState {
    fn from(given: NetworkTables) -> Self {
        Self {
            data_path_port: given.data_path_port,
            networks: given.networks.into_iter().map(Into::into).collect(),
            endpoints: given.endpoints.into_iter().map(Into::into).collect(),
            services: given.services.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Assignment> for api::Assignment {
    fn from(given: Assignment) -> Self {
        Self {
            item: Some(match given {
                Assignment::Task(task) => Item::Task(Arc::unwrap_or_clone(task).into()),
                Assignment::Network(network) => Item::Network(Arc::unwrap_or_clone(network).into()),
                Assignment::Endpoint(endpoint) => Item::Endpoint(Arc::unwrap_or_clone(endpoint).into()),
                Assignment::Service(service) => Item::Service(Arc::unwrap_or_clone(service).into()),
            }),
        }
    }
}

/// `None` of one that is empty: a newer release knows more kinds.
fn assignment(given: api::Assignment) -> Option<Assignment> {
    Some(match given.item? {
        Item::Task(task) => Assignment::Task(Arc::new(task.into())),
        Item::Network(network) => Assignment::Network(Arc::new(network.into())),
        Item::Endpoint(endpoint) => Assignment::Endpoint(Arc::new(endpoint.into())),
        Item::Service(service) => Assignment::Service(Arc::new(service.into())),
    })
}

impl From<Change> for api::AssignmentChange {
    fn from(given: Change) -> Self {
        match given {
            Change::Put(assignment) => Self { remove: false, assignment: Some(assignment.into()) },
            Change::Remove(key) => Self { remove: true, assignment: Some(named(key)) },
        }
    }
}

/// The key alone, as a removal says it.
fn named(key: AssignmentKey) -> api::Assignment {
    let item = match key {
        AssignmentKey::Task(id) => Item::Task(api::Task { id: id.into(), ..api::Task::default() }),
        AssignmentKey::Network(id) => {
            Item::Network(api::AssignedNetwork { id: id.into(), ..api::AssignedNetwork::default() })
        }
        AssignmentKey::Endpoint(network_id, address) => {
            let network_id = network_id.into();
            Item::Endpoint(api::NetworkEndpoint { network_id, address, ..api::NetworkEndpoint::default() })
        }
        AssignmentKey::Service(network_id, service_id) => Item::Service(api::NetworkService {
            network_id: network_id.into(),
            service_id: service_id.into(),
            ..api::NetworkService::default()
        }),
    };
    api::Assignment { item: Some(item) }
}

impl From<Batch> for api::AssignmentsMessage {
    fn from(given: Batch) -> Self {
        let kind = match given.complete {
            true => api::AssignmentsKind::Complete,
            false => api::AssignmentsKind::Incremental,
        };
        Self {
            kind: kind.into(),
            applies_to: given.applies_to,
            results_in: given.results_in,
            changes: given.changes.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<api::AssignmentsMessage> for Batch {
    fn from(given: api::AssignmentsMessage) -> Self {
        let change = |change: api::AssignmentChange| {
            let assignment = assignment(change.assignment?)?;
            Some(if change.remove { Change::Remove(assignment.key()) } else { Change::Put(assignment) })
        };
        Self {
            complete: given.kind() == api::AssignmentsKind::Complete,
            applies_to: given.applies_to,
            results_in: given.results_in,
            changes: given.changes.into_iter().filter_map(change).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{PortConfig, Task};
    use super::*;

    #[test]
    fn a_batch_comes_out_as_it_went_in() {
        let network = AssignedNetwork {
            id: "n".into(),
            name: "app".into(),
            subnet: "10.0.1.0/24".into(),
            gateway: "10.0.1.1".into(),
            vni: 4097,
            ingress: true,
            internal: true,
            driver_options: [("mtu".to_owned(), "1400".to_owned())].into(),
            lb_address: "10.0.1.2".into(),
        };
        let endpoint = NetworkEndpoint {
            network_id: "n".into(),
            address: "10.0.1.5".into(),
            node_id: "node".into(),
            node_addr: "192.168.0.1".into(),
            service_id: "s".into(),
            task_id: "t".into(),
            serving: true,
            draining: true,
            names: vec!["web.1.t".into()],
        };
        let service = NetworkService {
            network_id: "n".into(),
            service_id: "s".into(),
            name: "web".into(),
            vip: "10.0.1.3".into(),
            aliases: vec!["w".into()],
            ports: vec![PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() }],
        };
        let all = [
            Assignment::Task(Arc::new(Task { id: "t".into(), slot: 3, ..Task::default() })),
            Assignment::Network(Arc::new(network)),
            Assignment::Endpoint(Arc::new(endpoint)),
            Assignment::Service(Arc::new(service)),
        ];
        let puts = all.iter().cloned().map(Change::Put);
        let removals = all.iter().map(|assignment| Change::Remove(assignment.key()));
        let batch = Batch {
            complete: false,
            applies_to: "1".into(),
            results_in: "2".into(),
            changes: puts.chain(removals).collect(),
        };
        assert_eq!(Batch::from(api::AssignmentsMessage::from(batch.clone())), batch);
        let complete = Batch { complete: true, ..batch };
        assert_eq!(Batch::from(api::AssignmentsMessage::from(complete.clone())), complete);
    }

    #[test]
    fn a_kind_of_a_newer_release_is_passed_over() {
        let change = |remove| api::AssignmentChange { remove, assignment: Some(api::Assignment { item: None }) };
        let changes = vec![change(false), change(true), api::AssignmentChange::default()];
        assert_eq!(Batch::from(api::AssignmentsMessage { changes, ..Default::default() }).changes, []);
    }
}
