//! From what the managers assign to this node to `net`'s intent.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skep_cluster::executor::{Configured, ExecutorError, NodeNetwork};
use skep_cluster::model::{self, AssignedNetwork, NetworkEndpoint, NetworkService};
use skep_net::{NetworkId, NodeIntent, OverlayEndpoint, OverlayIntent, PublishedPort, ServiceId, ServiceIntent};

use super::{Assigned, Machine, Networks, of_net};
use crate::error::chain_of;
use crate::ports::net_protocol;

const MTU_OPTION: &str = "com.docker.network.driver.mtu";

/// Makes the data plane as it is assigned.
pub(super) fn configure(machine: &Machine, network: &NodeNetwork) -> Result<Configured, ExecutorError> {
    let tables = &network.tables;
    if tables.networks.is_empty() && tables.endpoints.is_empty() && network.data_path_addr.is_empty() {
        *machine.networks() = Networks::default();
        return machine.runtime.net().teardown_node().map(|()| Configured::default()).map_err(of_net);
    }
    let (intent, mut refused) = intent(network)?;
    let report = machine.runtime.net().apply_node(&intent).map_err(of_net)?;
    let (mut failed, mut trouble) = (HashMap::new(), None);
    for failure in report.failures {
        let reason = chain_of(&failure.error);
        let name = failure.network.as_ref().map_or("", NetworkId::as_str);
        tracing::error!(network.id = name, error = reason, "a part of the data plane could not be made");
        match failure.network {
            Some(id) if !failure.error.is_retryable() => _ = refused.insert(id.as_str().into(), reason),
            Some(id) => {
                trouble = trouble.or_else(|| Some(reason.clone()));
                failed.insert(id.as_str().into(), reason);
            }
            None => trouble = trouble.or(Some(reason)),
        }
    }
    let missing = {
        let mut known = machine.networks();
        // Only now may tasks join: their networks are there. One of which a part could not be changed is still there.
        failed.retain(|id, _| !known.here.contains_key(id));
        let is_here = |id: &model::NetworkId| !refused.contains_key(id) && !failed.contains_key(id);
        let here = tables.networks.iter().filter(|network| is_here(&network.id));
        let here = here.map(|of| (of.id.clone(), Assigned { name: of.name.clone(), ingress: of.ingress })).collect();
        *known = Networks { here, refused, failed: failed.clone(), error: None };
        failed.into_iter().collect()
    };
    // Told when something changed, not every time that somebody else's task does.
    for taken in report.displaced.iter().filter(|_| report.operations > 0) {
        tracing::warn!(
            port = taken.port,
            protocol = %taken.protocol,
            service.name = taken.service,
            container.name = taken.container,
            "a published port of the service leads to the container on this node, which had it first"
        );
    }
    if report.operations > 0 {
        tracing::debug!(operations = report.operations, "data plane changed");
    }
    Ok(Configured { missing, trouble })
}

fn bad(what: &str, value: &str) -> ExecutorError {
    ExecutorError::Fatal(format!("the managers assigned {what} {value:?}, which is not one"))
}

fn address(text: &str) -> Result<Ipv4Addr, ExecutorError> {
    text.split('/').next().unwrap_or_default().parse().map_err(|_| bad("the address", text))
}

fn network_id(text: &str) -> Result<NetworkId, ExecutorError> {
    NetworkId::new(text).map_err(of_net)
}

/// The intent, and the networks that cannot be in it, by id, with the reason: one that makes no sense must not stand
/// in the way of the others. Which containers are this node's needs not be told: they connect by themselves.
pub(super) fn intent(network: &NodeNetwork) -> Result<(NodeIntent, HashMap<model::NetworkId, String>), ExecutorError> {
    let mut refused = HashMap::new();
    let mut intent = NodeIntent::new(network.node_id.to_string(), address(&network.data_path_addr)?);
    let tables = &network.tables;
    let port = tables.data_path_port;
    intent.data_path_port = u16::try_from(port).map_err(|_| bad("the data path port", &port.to_string()))?;
    for assigned in &tables.networks {
        match overlay(assigned) {
            Ok(overlay) => intent.networks.push(overlay),
            Err(error) => {
                tracing::error!(network.id = %assigned.id, network.name = assigned.name, %error, "network left out");
                refused.insert(assigned.id.clone(), error.to_string());
            }
        }
    }
    for endpoint in &tables.endpoints {
        let own = endpoint.node_id == network.node_id;
        // This node's balancers come with their networks.
        let balancer = endpoint.task_id.is_empty() && endpoint.names.is_empty();
        if own && balancer {
            continue;
        }
        match overlay_endpoint(endpoint) {
            Ok(endpoint) => intent.endpoints.push(endpoint),
            Err(error) => tracing::error!(address = endpoint.address, %error, "endpoint left out"),
        }
    }
    for service in &tables.services {
        match overlay_service(service) {
            Ok(service) => intent.services.push(service),
            Err(error) => tracing::error!(service.id = %service.service_id, %error, "service left out"),
        }
    }
    Ok((intent, refused))
}

fn overlay(assigned: &AssignedNetwork) -> Result<OverlayIntent, ExecutorError> {
    let subnet: Ipv4Net = assigned.subnet.parse().map_err(|_| bad("the subnet", &assigned.subnet))?;
    let mtu = match assigned.driver_options.get(MTU_OPTION) {
        Some(text) => Some(text.parse().map_err(|_| bad("the MTU", text))?),
        None => None,
    };
    if assigned.driver_options.contains_key("encrypted") {
        let name = assigned.name.clone();
        return Err(of_net(skep_net::Error::EncryptionUnsupported { name }));
    }
    Ok(OverlayIntent {
        id: network_id(&assigned.id)?,
        name: assigned.name.clone(),
        subnet,
        gateway: address(&assigned.gateway)?,
        vni: assigned.vni,
        ingress: assigned.ingress,
        mtu,
        internal: assigned.internal,
        encrypted: false,
        lb_address: match assigned.lb_address.as_str() {
            "" => None,
            text => Some(address(text)?),
        },
    })
}

fn overlay_endpoint(endpoint: &NetworkEndpoint) -> Result<OverlayEndpoint, ExecutorError> {
    Ok(OverlayEndpoint {
        network: network_id(&endpoint.network_id)?,
        address: address(&endpoint.address)?,
        node_address: address(&endpoint.node_addr)?,
        service: service_id(&endpoint.service_id)?,
        serving: endpoint.serving && !endpoint.draining,
        names: endpoint.names.clone(),
    })
}

fn service_id(text: &str) -> Result<Option<ServiceId>, ExecutorError> {
    match text {
        "" => Ok(None),
        text => ServiceId::new(text).map(Some).map_err(of_net),
    }
}

fn overlay_service(service: &NetworkService) -> Result<ServiceIntent, ExecutorError> {
    let number = |value: u32| u16::try_from(value).map_err(|_| bad("the port", &value.to_string()));
    let mut ports = Vec::new();
    for published in &service.ports {
        ports.push(PublishedPort {
            published: number(published.published_port)?,
            target: number(published.target_port)?,
            protocol: net_protocol(published.protocol),
        });
    }
    Ok(ServiceIntent {
        id: ServiceId::new(service.service_id.as_str()).map_err(of_net)?,
        name: service.name.clone(),
        aliases: service.aliases.clone(),
        network: network_id(&service.network_id)?,
        vip: match service.vip.as_str() {
            "" => None,
            text => Some(address(text)?),
        },
        ports,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use skep_cluster::model::NetworkTables;

    use super::*;

    #[test]
    fn assignments_become_an_intent() {
        let endpoint = |node: &str, task: &str, address: &str| NetworkEndpoint {
            network_id: "net1".into(),
            address: address.to_owned(),
            node_id: node.into(),
            node_addr: "192.168.0.9".to_owned(),
            task_id: task.into(),
            service_id: if task.is_empty() { "".into() } else { "svc1".into() },
            serving: true,
            draining: task == "t2",
            ..NetworkEndpoint::default()
        };
        let network = NodeNetwork {
            node_id: "n1".into(),
            data_path_addr: "192.168.0.1".to_owned(),
            tables: NetworkTables {
                data_path_port: 4790,
                networks: vec![AssignedNetwork {
                    id: "net1".into(),
                    name: "app".to_owned(),
                    subnet: "10.0.1.0/24".to_owned(),
                    gateway: "10.0.1.1".to_owned(),
                    vni: 4097,
                    lb_address: "10.0.1.2".to_owned(),
                    driver_options: [(MTU_OPTION.to_owned(), "1400".to_owned())].into(),
                    ..AssignedNetwork::default()
                }],
                endpoints: vec![
                    endpoint("n1", "t1", "10.0.1.5/24"),
                    endpoint("n2", "t2", "10.0.1.6"),
                    endpoint("n1", "", "10.0.1.2"),
                    endpoint("n2", "", "10.0.1.4"),
                ],
                services: vec![NetworkService {
                    network_id: "net1".into(),
                    service_id: "svc1".into(),
                    name: "web".to_owned(),
                    vip: "10.0.1.3/24".to_owned(),
                    ..NetworkService::default()
                }],
            },
        };
        let (intent, refused) = intent(&network).unwrap();
        assert!(refused.is_empty());
        assert_eq!(intent.data_path_port, 4790);
        assert_eq!(intent.networks[0].mtu, Some(1400));
        assert_eq!(intent.endpoints.len(), 3, "the node's own balancer comes with the network");
        assert!(!intent.endpoints[1].serving, "what is draining takes nothing new");
        assert_eq!(intent.services[0].vip, Some(Ipv4Addr::new(10, 0, 1, 3)));
    }

    #[test]
    fn nonsense_is_refused() {
        let network = NodeNetwork { data_path_addr: "nowhere".to_owned(), ..NodeNetwork::default() };
        assert!(intent(&network).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_the_rest_stays() {
        let overlay = |id: &str, options: &[(&str, &str)]| AssignedNetwork {
            id: id.into(),
            subnet: "10.0.1.0/24".to_owned(),
            gateway: "10.0.1.1".to_owned(),
            vni: 4097,
            driver_options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..AssignedNetwork::default()
        };
        let endpoint = |node_addr: &str| NetworkEndpoint {
            network_id: "good".into(),
            address: "10.0.1.5".to_owned(),
            node_addr: node_addr.to_owned(),
            task_id: "t".into(),
            ..NetworkEndpoint::default()
        };
        let network = NodeNetwork {
            data_path_addr: "192.168.0.1".to_owned(),
            tables: NetworkTables {
                data_path_port: 4789,
                networks: vec![
                    overlay("good", &[]),
                    overlay("odd", &[(MTU_OPTION, "x")]),
                    overlay("secret", &[("encrypted", "")]),
                ],
                endpoints: vec![endpoint("192.168.0.2"), endpoint("fd00::2")],
                ..NetworkTables::default()
            },
            ..NodeNetwork::default()
        };
        let (intent, refused) = intent(&network).unwrap();
        assert_eq!((intent.networks.len(), intent.endpoints.len()), (1, 1));
        assert!(refused["odd"].contains("the MTU \"x\""), "{refused:?}");
        assert!(refused["secret"].contains("encrypt"), "{refused:?}");
    }
}
