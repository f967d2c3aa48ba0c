//! Plans of small, whole states.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skep_common::PortProtocol;

use super::*;
use crate::error::Error;
use crate::files::NetPaths;
use crate::ids::{NetworkId, SandboxId, ServiceId};
use crate::intent::{
    EndpointIntent, NetworkRef, NodeIntent, OverlayEndpoint, OverlayIntent, PublishedPort, SandboxIntent, ServiceIntent,
};
use crate::model::Route;
use crate::results::Backend;
use crate::state::{self, NodeRecord, SandboxRecord, State};
use crate::store::{NetworkDefinition, NetworkDriver};
use crate::{names, resolve};

pub(super) const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

pub(super) fn network_id(name: &str) -> NetworkId {
    NetworkId::new(format!("{name}0000000000000000")).unwrap()
}

pub(super) fn local(name: &str, subnet: &str) -> NetworkDefinition {
    let subnet: Ipv4Net = subnet.parse().unwrap();
    NetworkDefinition {
        version: 1,
        id: network_id(name),
        name: name.to_owned(),
        driver: NetworkDriver::Bridge,
        created_seconds: 0,
        subnet: Some(subnet),
        gateway: subnet.hosts().next(),
        ip_range: None,
        bridge: None,
        internal: false,
        icc: name != names::GATEWAY_BRIDGE,
        masquerade: true,
        mtu: None,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    }
}

pub(super) fn overlay(name: &str, third: u8, ingress: bool) -> OverlayIntent {
    OverlayIntent {
        id: network_id(name),
        name: name.to_owned(),
        subnet: Ipv4Net::new(Ipv4Addr::new(10, 0, third, 0), 24).unwrap(),
        gateway: Ipv4Addr::new(10, 0, third, 1),
        vni: 4096 + u32::from(third),
        ingress,
        mtu: None,
        internal: false,
        encrypted: false,
        lb_address: Some(Ipv4Addr::new(10, 0, third, 2)),
    }
}

fn task(network: &str, address: [u8; 4], node: Ipv4Addr, serving: bool) -> OverlayEndpoint {
    OverlayEndpoint {
        network: network_id(network),
        address: address.into(),
        node_address: node,
        service: Some(ServiceId::new("web").unwrap()),
        serving,
        names: vec![format!("web.{}", address[3])],
    }
}

fn node_intent() -> NodeIntent {
    let mut intent = NodeIntent::new("node", HERE);
    intent.networks = vec![overlay("ingress", 0, true), overlay("app", 1, false)];
    intent.endpoints = vec![
        task("app", [10, 0, 1, 4], HERE, true),
        task("app", [10, 0, 1, 5], THERE, true),
        task("app", [10, 0, 1, 6], THERE, false),
        task("ingress", [10, 0, 0, 4], HERE, true),
    ];
    let service = |network: &str, vip, ports| ServiceIntent {
        id: ServiceId::new("web").unwrap(),
        name: "web".to_owned(),
        aliases: vec!["www".to_owned()],
        network: network_id(network),
        vip,
        ports,
    };
    let port = PublishedPort { published: 8080, target: 80, protocol: PortProtocol::Tcp };
    intent.services = vec![
        service("ingress", Some(Ipv4Addr::new(10, 0, 0, 9)), vec![port]),
        service("app", Some(Ipv4Addr::new(10, 0, 1, 9)), vec![]),
    ];
    intent
}

fn state_with(backend: Backend) -> State {
    let intent = node_intent();
    intent.validate().unwrap();
    let node = NodeRecord {
        version: state::VERSION,
        marks: state::assign_marks(&BTreeMap::new(), &intent.services),
        intent,
        tunnel_address: HERE,
        underlay_mtu: 1500,
        ingress_gateway_address: Some(Ipv4Addr::new(172, 18, 0, 2)),
        backend,
    };
    let networks =
        [local("one", "172.17.0.0/16"), local("two", "172.19.0.0/16"), local(names::GATEWAY_BRIDGE, "172.18.0.0/16")];
    State {
        networks: networks.into_iter().map(|network| (network.id.clone(), network)).collect(),
        sandboxes: BTreeMap::new(),
        node: Some(node),
        filters_bridged: false,
    }
}

fn sandbox_on(legs: &[NetworkRef]) -> SandboxIntent {
    let mut intent = SandboxIntent::new(SandboxId::new("c0ffee00c0ffee00").unwrap(), "c");
    for leg in legs {
        let mut endpoint = EndpointIntent::new(leg.clone());
        if let NetworkRef::Overlay(id) = leg {
            let third = u8::from(*id == network_id("app"));
            endpoint.address = Some(Ipv4Addr::new(10, 0, third, 4));
            if *id == network_id("ingress") {
                endpoint.published = vec![PublishedPort { published: 8080, target: 80, protocol: PortProtocol::Tcp }];
            }
        }
        intent.endpoints.push(endpoint);
    }
    intent
}

fn resolved(state: &State, intent: &SandboxIntent) -> SandboxRecord {
    let paths = NetPaths::new("/nowhere", "/nowhere");
    let sandbox = resolve::resolve(state, &paths, intent, None).unwrap();
    SandboxRecord { version: state::VERSION, intent: intent.clone(), sandbox }
}

fn planned(state: &State) -> Plan {
    let (mut plan, mut scope) = (Plan::default(), Scope::new());
    let present = state.sandboxes.keys().cloned().collect();
    node(state, &present, &mut plan, &mut scope).unwrap();
    plan
}

#[test]
fn only_endpoints_elsewhere_have_forwarding_and_neighbours() {
    let plan = planned(&state_with(Backend::Nftables));
    let space = &plan.places[&Place::Named("1-app0000000".to_owned())];
    let addresses: Vec<Ipv4Addr> = space.neighbours.keys().map(|(_, address)| *address).collect();
    assert_eq!(addresses, [Ipv4Addr::new(10, 0, 1, 5), Ipv4Addr::new(10, 0, 1, 6)]);
    assert!(space.forwarding.values().all(|node| *node == THERE));
    assert_eq!(space.links["vxlan0"].mtu, Some(1450));
    assert_eq!(space.links["vxlan0"].kind, LinkKind::Vxlan { vni: 4097, port: 4789, local: HERE });
}

#[test]
fn ipvs_gives_a_draining_backend_no_weight() {
    let plan = planned(&state_with(Backend::Ipvs));
    let space = &plan.places[&Place::Named("lb_app000000".to_owned())];
    let weights: Vec<u32> = space.services[&0x100].values().copied().collect();
    assert_eq!(weights, [1, 1, 0]);
    assert_eq!(space.sysctls["net/ipv4/vs/conn_reuse_mode"], "0");
    assert!(space.addresses.contains(&("eth0".to_owned(), "10.0.1.9/32".parse().unwrap())));
}

#[test]
fn nftables_counts_over_serving_backends_only() {
    let plan = planned(&state_with(Backend::Nftables));
    let space = &plan.places[&Place::Named("lb_app000000".to_owned())];
    let ruleset = space.firewall.clone().unwrap().ruleset.unwrap();
    let numbered = ruleset.maps.iter().find(|map| map.is_anonymous()).unwrap();
    assert_eq!(numbered.elements.len(), 2);
    assert!(space.services.is_empty());
}

#[test]
fn the_mesh_stands_on_both_networks() {
    let plan = planned(&state_with(Backend::Nftables));
    let mesh = &plan.places[&Place::Named("ingress_sbox".to_owned())];
    assert!(mesh.routes.contains(&Route::default(Ipv4Addr::new(172, 18, 0, 1), "eth1")));
    let port = names::veth("ingress", network_id(names::GATEWAY_BRIDGE).as_str());
    assert!(plan.places[&Place::Host].links[&port].port.isolated);
}

#[test]
fn a_task_has_its_networks_then_the_mesh_then_the_way_out() {
    let state = state_with(Backend::Nftables);
    let intent = sandbox_on(&[NetworkRef::Overlay(network_id("ingress")), NetworkRef::Overlay(network_id("app"))]);
    let record = resolved(&state, &intent);
    let legs: Vec<(&str, &str, bool)> = record
        .sandbox
        .endpoints
        .iter()
        .map(|leg| (leg.interface.as_str(), leg.network_name.as_str(), leg.default_route))
        .collect();
    assert_eq!(legs, [("eth0", "app", false), ("eth1", "ingress", false), ("eth2", "skep_gwbridge", true)]);
    // The mesh has .2 already.
    assert_eq!(record.sandbox.endpoints[2].address.to_string(), "172.18.0.3/16");
    let rules = sandbox_firewall(&state, &record).unwrap().ruleset.unwrap();
    let count = |name: &str| rules.chains.iter().find(|chain| chain.name == name).unwrap().rules.len();
    assert_eq!((count("mesh"), count("mesh-in"), count("mesh-out")), (1, 2, 2));
}

#[test]
fn a_task_is_reached_at_the_ports_it_was_made_with() {
    let mut state = state_with(Backend::Nftables);
    let record = resolved(&state, &sandbox_on(&[NetworkRef::Overlay(network_id("ingress"))]));
    let before = sandbox_firewall(&state, &record);
    let node = state.node.as_mut().unwrap();
    node.intent.services[0].ports = vec![PublishedPort { published: 8080, target: 81, protocol: PortProtocol::Tcp }];
    assert_eq!(sandbox_firewall(&state, &record), before, "its service has been updated, it has not");
    let node = state.node.as_mut().unwrap();
    node.intent.services.clear();
    assert_eq!(sandbox_firewall(&state, &record), before);
}

#[test]
fn legs_with_addresses_in_common_are_refused() {
    let mut state = state_with(Backend::Nftables);
    let node = state.node.as_mut().unwrap();
    node.intent.networks[1].subnet = "172.18.7.0/24".parse().unwrap();
    let mut intent = sandbox_on(&[NetworkRef::Overlay(network_id("app"))]);
    intent.endpoints[0].address = Some(Ipv4Addr::new(172, 18, 7, 4));
    let paths = NetPaths::new("/nowhere", "/nowhere");
    let refused = resolve::resolve(&state, &paths, &intent, None).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "subnet 172.18.7.0/24 overlaps with network skep_gwbridge (172.18.0.0/16): choose another with --subnet"
    );
    let node = state.node.as_mut().unwrap();
    node.intent.networks[1].internal = true;
    resolve::resolve(&state, &paths, &intent, None).unwrap();
}

#[test]
fn the_gateway_is_the_leg_of_highest_priority() {
    let state = state_with(Backend::Nftables);
    let mut intent = sandbox_on(&[NetworkRef::Local(network_id("one")), NetworkRef::Local(network_id("two"))]);
    let default = |intent: &SandboxIntent| {
        let record = resolved(&state, intent);
        record.sandbox.endpoints.iter().find(|leg| leg.default_route).unwrap().network_name.clone()
    };
    assert_eq!(default(&intent), "one");
    intent.endpoints[1].gateway_priority = 5;
    assert_eq!(default(&intent), "two");
}

#[test]
fn an_address_is_given_once() {
    let mut state = state_with(Backend::Nftables);
    let mut intent = sandbox_on(&[NetworkRef::Local(network_id("one"))]);
    let first = resolved(&state, &intent);
    state.sandboxes.insert(intent.id.clone(), first.clone());
    intent.id = SandboxId::new("decaf000decaf000").unwrap();
    assert_eq!(resolved(&state, &intent).sandbox.endpoints[0].address.to_string(), "172.17.0.3/16");
    intent.endpoints[0].address = Some(first.sandbox.endpoints[0].address.addr());
    let paths = NetPaths::new("/nowhere", "/nowhere");
    let refused = resolve::resolve(&state, &paths, &intent, None).unwrap_err();
    assert!(matches!(refused, Error::AddressUnavailable { .. }), "{refused}");
    intent.endpoints[0].address = Some(Ipv4Addr::new(10, 9, 8, 7));
    let refused = resolve::resolve(&state, &paths, &intent, None).unwrap_err();
    assert!(refused.to_string().contains("not one of 172.17.0.0/16"), "{refused}");
}

#[test]
fn marks_stay_with_their_services() {
    let mut services = node_intent().services;
    let first = state::assign_marks(&BTreeMap::new(), &services);
    assert_eq!(first.values().copied().collect::<BTreeSet<u32>>(), BTreeSet::from([0x100, 0x101]));
    let app = services.remove(1);
    let second = state::assign_marks(&first, std::slice::from_ref(&app));
    assert_eq!(second.len(), 1);
    let third = state::assign_marks(&second, &node_intent().services);
    for (key, mark) in &second {
        assert_eq!(third[key], *mark);
    }
}

#[test]
fn names_lead_to_services_and_serving_tasks() {
    let state = state_with(Backend::Nftables);
    let record = state.node.as_ref().unwrap();
    let names = names_of::overlay(record, &record.intent.networks[1]);
    let addresses = |name: &str| names.get(name).map(|answer| answer.addresses.clone());
    assert_eq!(addresses("web"), Some(vec![Ipv4Addr::new(10, 0, 1, 9)]));
    assert_eq!(addresses("www"), addresses("web"));
    assert_eq!(addresses("tasks.web"), Some(vec![Ipv4Addr::new(10, 0, 1, 4), Ipv4Addr::new(10, 0, 1, 5)]));
    assert_eq!(addresses("web.5"), Some(vec![Ipv4Addr::new(10, 0, 1, 5)]));
    assert_eq!(addresses("web.6"), None);
    assert!(names_of::overlay(record, &record.intent.networks[0]).records.is_empty());
    let mut record = record.clone();
    record.intent.services[1].vip = None;
    let names = names_of::overlay(&record, &record.intent.networks[1]);
    let answer = names.get("web").unwrap();
    assert!(answer.shuffled && answer.addresses.len() == 2);
}

#[test]
fn the_hosts_table_goes_with_the_last_user() {
    let mut state = state_with(Backend::Nftables);
    assert!(host_firewall(&state).is_some());
    state.node = None;
    assert!(host_firewall(&state).is_none());
}

#[test]
fn strays_are_left_out_and_the_serving_endpoint_has_the_address() {
    let mut intent = node_intent();
    let count = intent.endpoints.len();
    intent.endpoints.push(task("elsewhere", [10, 0, 9, 4], THERE, true));
    intent.endpoints.push(task("app", [10, 0, 1, 4], THERE, false));
    intent.endpoints.push(task("app", [10, 0, 1, 6], HERE, true));
    intent.services[1].network = network_id("elsewhere");
    let intent = intent.without_strays();
    intent.validate().unwrap();
    assert_eq!((intent.endpoints.len(), intent.services.len()), (count, 1));
    let node_of =
        |last| intent.endpoints.iter().find(|it| it.address.octets() == [10, 0, 1, last]).unwrap().node_address;
    assert_eq!((node_of(4), node_of(6)), (HERE, HERE));
}

#[test]
fn contradictions_are_refused() {
    let refused = |change: &dyn Fn(&mut NodeIntent)| {
        let mut intent = node_intent();
        change(&mut intent);
        intent.validate().unwrap_err().to_string()
    };
    assert!(refused(&|intent| intent.networks[0].encrypted = true).contains("encryption"));
    assert!(refused(&|intent| intent.networks[0].vni = 4097).contains("another network's"));
    assert!(refused(&|intent| intent.networks[1].ingress = true).contains("two ingress networks"));
    assert!(refused(&|intent| intent.endpoints[0].address = HERE).contains("outside of its network's subnet"));
    assert!(refused(&|intent| intent.endpoints[1] = intent.endpoints[0].clone()).contains("listed twice"));
    assert!(refused(&|intent| intent.services[1].ports = intent.services[0].ports.clone()).contains("ingress"));
    let mut sandbox = sandbox_on(&[NetworkRef::Overlay(network_id("app"))]);
    sandbox.sysctls.insert("kernel.hostname".to_owned(), "x".to_owned());
    assert!(sandbox.validate().unwrap_err().to_string().contains("kernel.hostname"));
}
