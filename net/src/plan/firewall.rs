//! The host's table: published ports in, masquerade out, bridges kept apart.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::sandbox::bridge_name;
use crate::model::Firewall;
use crate::nft::ruleset::{self, Value, rule};
use crate::nft::{Chain, Data, E, Hook, Key, Map, Rule, Ruleset};
use crate::results::DisplacedPort;
use crate::state::State;
use crate::store::NetworkDefinition;

const BRIDGES: &str = "bridges";
/// Published on every address: protocol and port.
const PORTS: &str = "ports";
/// Published on one address.
const ADDRESS_PORTS: &str = "address-ports";

/// The host's table; none when nothing is on any local network.
pub(crate) fn host_firewall(state: &State) -> Option<Firewall> {
    let networks: Vec<&NetworkDefinition> =
        state.networks.values().filter(|network| network.subnet.is_some() && state.in_use(network)).collect();
    if networks.is_empty() {
        return None;
    }
    let mut maps = vec![Map::new(BRIDGES, &[Key::Link], Data::None)];
    for network in &networks {
        maps[0].elements.push((ruleset::link_key(&bridge_name(network)), Value::None));
    }
    maps.extend(port_maps(state));
    let translate = || {
        let to_address = vec![
            ruleset::load_destination(0),
            ruleset::load_protocol(1),
            ruleset::load_destination_port(2),
            E::InMap { map: ADDRESS_PORTS.to_owned() },
            E::Dnat { port: true },
        ];
        let to_any = vec![
            ruleset::load_protocol(0),
            ruleset::load_destination_port(1),
            E::InMap { map: PORTS.to_owned() },
            E::Dnat { port: true },
        ];
        vec![rule([ruleset::to_this_machine(), to_address]), rule([ruleset::to_this_machine(), to_any])]
    };
    let chains = vec![
        Chain::base("guard", "filter", Hook::Prerouting, -300, vec![guard_loopback()]),
        Chain::base("publish", "nat", Hook::Prerouting, -100, translate()),
        Chain::base("publish-local", "nat", Hook::Output, -100, translate()),
        Chain::base(
            "masquerade",
            "nat",
            Hook::Postrouting,
            100,
            networks.iter().flat_map(|network| leaving(network)).collect(),
        ),
        Chain::base("forward", "filter", Hook::Forward, 0, forward(&networks)),
    ];
    Some(Firewall::new(Ruleset { maps, chains }))
}

/// Nothing from outside may address 127.0.0.0/8: a port published there is this machine's alone,
/// and translation comes before the kernel would refuse the packet.
fn guard_loopback() -> Rule {
    rule([ruleset::incoming_link("lo", false), ruleset::destination(loopback()), ruleset::discard()])
}

fn loopback() -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)
}

fn port_maps(state: &State) -> [Map; 2] {
    let mut any = Map::new(PORTS, &[Key::Protocol, Key::Port], Data::AddressAndPort);
    let mut one = Map::new(ADDRESS_PORTS, &[Key::Address, Key::Protocol, Key::Port], Data::AddressAndPort);
    for record in state.sandboxes.values() {
        let Some(address) = crate::ports::published_address(&record.sandbox) else { continue };
        for port in &record.sandbox.ports {
            let key = ruleset::port_key(port.protocol, port.host_port);
            let value = ruleset::address_and_port(address, port.container_port);
            if port.host_ip.is_unspecified() {
                any.elements.push((key, value));
            } else {
                one.elements.push(([port.host_ip.octets().to_vec(), key].concat(), value));
            }
        }
    }
    if let Some((node, mesh)) = state.node.as_ref().and_then(|node| Some((node, node.ingress_gateway_address?))) {
        for port in node.intent.services.iter().flat_map(|service| &service.ports) {
            let key = ruleset::port_key(port.protocol, port.published);
            if !any.elements.iter().any(|(taken, _)| *taken == key) {
                any.elements.push((key, ruleset::address_and_port(mesh, port.published)));
            }
        }
    }
    [any, one]
}

/// Ports of the routing mesh that containers have on every address of this node, and so get what is meant for services.
pub(crate) fn displaced(state: &State) -> Vec<DisplacedPort> {
    let services = state.node.iter().flat_map(|node| &node.intent.services);
    let mut displaced = Vec::new();
    for (service, port) in services.flat_map(|service| service.ports.iter().map(move |port| (service, port))) {
        let holder = state.sandboxes.values().find(|record| {
            record.sandbox.ports.iter().any(|bound| {
                bound.host_ip.is_unspecified() && (bound.host_port, bound.protocol) == (port.published, port.protocol)
            })
        });
        displaced.extend(holder.map(|record| DisplacedPort {
            port: port.published,
            protocol: port.protocol,
            service: service.name.clone(),
            container: record.intent.name.clone(),
        }));
    }
    displaced
}

/// Source addresses of what leaves, and of what comes back in over a published port.
fn leaving(network: &NetworkDefinition) -> Vec<Rule> {
    let (Some(subnet), name) = (network.subnet, bridge_name(network)) else { return Vec::new() };
    let masquerade = || vec![E::Masquerade];
    let mut rules = vec![
        // To a container from the container or a neighbour, by way of a published port: the answer
        // has to come back here to be translated, not go to the neighbour directly.
        rule([ruleset::source(subnet), ruleset::outgoing_link(&name, true), ruleset::translated(), masquerade()]),
        // From 127.0.0.1 on this machine: that address means the container itself over there.
        rule([ruleset::source(loopback()), ruleset::outgoing_link(&name, true), masquerade()]),
    ];
    if network.masquerade && !network.internal {
        rules.push(rule([ruleset::source(subnet), ruleset::outgoing_link(&name, false), masquerade()]));
    }
    rules
}

fn forward(networks: &[&NetworkDefinition]) -> Vec<Rule> {
    let to_bridges = || ruleset::outgoing_link_in(BRIDGES);
    let mut rules = Vec::new();
    for network in networks.iter().filter(|network| network.internal) {
        let name = bridge_name(network);
        rules.push(rule([
            ruleset::incoming_link(&name, true),
            ruleset::outgoing_link(&name, false),
            ruleset::discard(),
        ]));
        rules.push(rule([
            ruleset::outgoing_link(&name, true),
            ruleset::incoming_link(&name, false),
            ruleset::discard(),
        ]));
    }
    rules.push(rule([to_bridges(), ruleset::established(), ruleset::accept()]));
    rules.push(rule([to_bridges(), ruleset::translated(), ruleset::accept()]));
    for network in networks.iter().filter(|network| network.icc) {
        let name = bridge_name(network);
        rules.push(rule([ruleset::incoming_link(&name, true), ruleset::outgoing_link(&name, true), ruleset::accept()]));
    }
    rules.push(rule([to_bridges(), ruleset::discard()]));
    rules
}
