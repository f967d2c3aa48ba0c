//! A network in docker's words, from what this machine and what the swarm know of it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use skep_cluster::api::{GetNetworkResponse, Network as SwarmNetwork};
use skep_net::{EndpointView, NetworkDefinition, NetworkDriver, NetworkView};

use crate::docker::Named;
use crate::docker::network::{ConfigReference, Ipam, IpamConfig, Network, NetworkContainer, Peer};
use crate::time::{rfc3339, timestamp};

/// The key under which docker tells a bridge's name.
const BRIDGE_OPTION: &str = "com.docker.network.bridge.name";

/// The key under which docker tells an overlay's VXLAN id.
const VXLAN_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

fn driver(driver: NetworkDriver) -> &'static str {
    match driver {
        NetworkDriver::Bridge => "bridge",
        NetworkDriver::Host => "host",
        NetworkDriver::Null => "null",
    }
}

/// When this machine's network was made.
pub(super) fn created(definition: &NetworkDefinition) -> Option<Timestamp> {
    i64::try_from(definition.created_seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok())
}

/// When the swarm's network was made.
pub(super) fn created_in_swarm(network: &SwarmNetwork) -> Option<Timestamp> {
    timestamp(network.meta.unwrap_or_default().created_at_ns)
}

fn base() -> Network {
    Network {
        enable_ipv4: Some(true),
        ipam: Ipam { driver: "default".to_owned(), options: None, config: Some(Vec::new()) },
        config_from: ConfigReference::default(),
        ..Network::default()
    }
}

/// A network that this machine defines.
pub(super) fn of_definition(definition: &NetworkDefinition) -> Network {
    let mut options: BTreeMap<String, String> = definition.options.clone();
    if let Some(bridge) = &definition.bridge {
        options.insert(BRIDGE_OPTION.to_owned(), bridge.clone());
    }
    let mut network = base();
    network.ipam.config = Some(definition.subnet.iter().map(|subnet| pool(subnet, definition)).collect());
    Network {
        name: definition.name.clone(),
        id: definition.id.to_string(),
        created: rfc3339(created(definition)),
        scope: "local".to_owned(),
        driver: driver(definition.driver).to_owned(),
        internal: definition.internal,
        options: Some(options),
        labels: Some(definition.labels.clone()),
        ..network
    }
}

fn pool(subnet: &ipnet::Ipv4Net, definition: &NetworkDefinition) -> IpamConfig {
    IpamConfig {
        subnet: Some(subnet.to_string()),
        gateway: definition.gateway.map(|gateway| gateway.to_string()),
        ip_range: definition.ip_range.map(|range| range.to_string()),
        auxiliary_addresses: None,
    }
}

/// A network as this machine has it; one of the swarm's that it carries has no definition here.
pub(super) fn of_machine(view: &NetworkView) -> Network {
    let network = match &view.definition {
        Some(definition) => of_definition(definition),
        None => Network {
            created: rfc3339(None),
            scope: "swarm".to_owned(),
            driver: "overlay".to_owned(),
            options: Some(BTreeMap::new()),
            labels: Some(BTreeMap::new()),
            ..base()
        },
    };
    Network { name: view.name.clone(), id: view.id.to_string(), containers: Some(containers(view)), ..network }
}

fn containers(view: &NetworkView) -> Named<NetworkContainer> {
    let entry = |endpoint: &EndpointView| {
        let container = NetworkContainer {
            name: endpoint.name.clone(),
            endpoint_id: format!("{}-{}", endpoint.sandbox, view.id).chars().take(64).collect(),
            mac_address: endpoint.mac.to_string(),
            ipv4_address: endpoint.address.to_string(),
            ipv6_address: String::new(),
        };
        (endpoint.sandbox.clone(), container)
    };
    view.endpoints.iter().map(entry).collect()
}

/// One of the swarm's networks, in a list.
pub(super) fn listed(network: &SwarmNetwork) -> Network {
    let spec = network.spec.clone().unwrap_or_default();
    let annotations = spec.annotations.clone().unwrap_or_default();
    let configs = if network.ipam.is_empty() { &spec.ipam } else { &network.ipam };
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let pools = configs.iter().map(|config| IpamConfig {
        subnet: Some(config.subnet.clone()),
        gateway: Some(config.gateway.clone()),
        ip_range: given(&config.range),
        auxiliary_addresses: None,
    });
    let mut options: BTreeMap<String, String> = spec.driver_options.clone().into_iter().collect();
    options.insert(VXLAN_OPTION.to_owned(), network.vni.to_string());
    let mut shown = base();
    shown.ipam.config = Some(pools.collect());
    Network {
        name: annotations.name,
        id: network.id.clone(),
        created: rfc3339(created_in_swarm(network)),
        scope: "swarm".to_owned(),
        driver: "overlay".to_owned(),
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        options: Some(options),
        labels: Some(annotations.labels.into_iter().collect()),
        allocation_error: given(&network.allocation_error),
        ..shown
    }
}

/// One of the swarm's networks: what a manager knows of it, and who is on it on this machine.
pub(super) fn of_swarm(answer: &GetNetworkResponse, local: Option<&NetworkView>) -> Network {
    let peers = answer.nodes.iter().map(|node| Peer {
        name: node.description.as_ref().map_or("", |description| description.hostname.as_str()).to_owned(),
        ip: node.data_path_addr.clone(),
    });
    Network {
        containers: local.map(containers),
        peers: Some(peers.collect()),
        ..listed(&answer.network.clone().unwrap_or_default())
    }
}
