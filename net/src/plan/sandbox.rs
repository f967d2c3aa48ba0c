//! What a container's network is: its namespace, its legs, the bridges they end at.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use skep_common::PortProtocol;

use super::{End, look_at, namespace_basics, veth};
use crate::error::Result;
use crate::ids::SandboxId;
use crate::model::{Firewall, Link, LinkKind, Place, Plan, PortMode, Reach, Route, Scope};
use crate::names;
use crate::nft::ruleset::{self, rule};
use crate::nft::{Chain, Data, E, Hook, Key, Map, Rule, Ruleset};
use crate::results::Endpoint;
use crate::state::{NodeRecord, SandboxRecord, State};
use crate::store::NetworkDefinition;
use crate::sysctl;

/// MTU of bridges unless another is asked for, in octets.
const DEFAULT_MTU: u32 = 1500;

/// Adds a sandbox: namespace, legs, bridges, rules.
pub(crate) fn sandbox(state: &State, record: &SandboxRecord, plan: &mut Plan, scope: &mut Scope) -> Result<()> {
    let place = Place::Named(names::sandbox_namespace(&record.intent.id));
    look_into(record, scope);
    namespace_basics(plan, &place);
    let space = plan.space(&place);
    // As docker: an unprivileged server may listen on port 80, and ping works without privilege.
    space.sysctls.insert("net/ipv4/ip_unprivileged_port_start".to_owned(), "0".to_owned());
    space.sysctls.insert("net/ipv4/ping_group_range".to_owned(), "0 2147483647".to_owned());
    let given = record.intent.sysctls.iter().filter_map(|(name, value)| Some((sysctl::path(name)?, value.clone())));
    space.sysctls.extend(given);
    for endpoint in &record.sandbox.endpoints {
        leg(state, &record.intent.id, endpoint, &place, plan, scope)?;
    }
    plan.space(&place).firewall = sandbox_firewall(state, record);
    Ok(())
}

/// Looks at what a record says there is: its namespace, and the outer ends of its legs.
pub(crate) fn look_into(record: &SandboxRecord, scope: &mut Scope) {
    let place = Place::Named(names::sandbox_namespace(&record.intent.id));
    let fresh = || Reach::Sandbox { names: BTreeSet::from(["lo".to_owned()]), addresses: BTreeSet::new() };
    if let Reach::Sandbox { names, addresses } = scope.entry(place).or_insert_with(fresh) {
        for leg in &record.sandbox.endpoints {
            names.insert(leg.interface.clone());
            addresses.insert((leg.interface.clone(), leg.address));
        }
    }
    for leg in &record.sandbox.endpoints {
        look_at(scope, &outside(leg), &names::veth(record.intent.id.as_str(), leg.network.as_str()));
    }
}

/// The namespace in which a leg's outer end is.
fn outside(leg: &Endpoint) -> Place {
    if leg.overlay { Place::Named(names::overlay_namespace(&leg.network)) } else { Place::Host }
}

fn leg(
    state: &State,
    id: &SandboxId,
    endpoint: &Endpoint,
    inside: &Place,
    plan: &mut Plan,
    scope: &mut Scope,
) -> Result<()> {
    let (bridge_name, mode, mtu) = if endpoint.overlay {
        let network = state.overlay(&endpoint.network)?;
        // The underlay's may have changed since the container joined.
        let mtu = state.node.as_ref().map_or(endpoint.mtu, |node| node.mtu(network));
        (names::OVERLAY_BRIDGE.to_owned(), PortMode::default(), mtu)
    } else {
        let network = state.local(&endpoint.network)?;
        bridge(network, plan, scope);
        (bridge_name(network), port_mode(state, network), endpoint.mtu)
    };
    let port = names::veth(id.as_str(), endpoint.network.as_str());
    let outer = End { place: outside(endpoint), name: &port };
    let inner = End { place: inside.clone(), name: &endpoint.interface };
    veth(plan, &outer, &bridge_name, &inner, endpoint.mac, mtu, mode);
    let space = plan.space(inside);
    space.addresses.insert((endpoint.interface.clone(), endpoint.address));
    if let Some(gateway) = endpoint.gateway.filter(|_| endpoint.default_route) {
        space.routes.insert(Route::default(gateway, &endpoint.interface));
    }
    Ok(())
}

pub(crate) fn bridge_name(network: &NetworkDefinition) -> String {
    network.bridge.clone().unwrap_or_else(|| names::bridge(&network.id))
}

pub(crate) fn bridge_mtu(network: &NetworkDefinition) -> u32 {
    network.mtu.unwrap_or(DEFAULT_MTU)
}

/// How a local network's bridge treats its ports.
///
/// Where bridged frames go through the rules for routed ones (br_netfilter), those keep containers
/// apart, and a frame translated back to its sender has to leave by its own port. Elsewhere the
/// bridge keeps the ports apart, and translated packets are routed.
pub(crate) fn port_mode(state: &State, network: &NetworkDefinition) -> PortMode {
    PortMode { isolated: !network.icc && !state.filters_bridged, hairpin: state.filters_bridged }
}

/// Adds a local network's bridge to the host.
pub(crate) fn bridge(network: &NetworkDefinition, plan: &mut Plan, scope: &mut Scope) {
    let name = bridge_name(network);
    look_at(scope, &Place::Host, &name);
    let host = plan.space(&Place::Host);
    let (Some(subnet), Some(gateway)) = (network.subnet, network.gateway) else { return };
    // A fixed MAC address: a bridge's own changes with its ports, and neighbours would lose it.
    let link =
        Link { mac: Some(names::mac_of(gateway)), mtu: Some(bridge_mtu(network)), ..Link::new(LinkKind::Bridge) };
    host.links.insert(name.clone(), link);
    if let Ok(address) = Ipv4Net::new(gateway, subnet.prefix_len()) {
        host.addresses.insert((name.clone(), address));
    }
    host.sysctls.insert("net/ipv4/ip_forward".to_owned(), "1".to_owned());
    // Replies to connections that this machine made to 127.0.0.1 come in over the bridge.
    host.sysctls.insert(format!("net/ipv4/conf/{name}/route_localnet"), "1".to_owned());
}

/// The rules inside a sandbox: its DNS, and what of the routing mesh reaches it.
pub(crate) fn sandbox_firewall(state: &State, record: &SandboxRecord) -> Option<Firewall> {
    let mut ruleset = Ruleset::default();
    if let Some(dns) = record.intent.dns {
        let resolver = Ipv4Net::from(names::RESOLVER);
        let to = |protocol, port| {
            rule([
                ruleset::destination(resolver),
                ruleset::protocol(protocol),
                ruleset::destination_port(53),
                ruleset::dnat(names::RESOLVER, port),
            ])
        };
        let rules = vec![to(PortProtocol::Udp, dns.udp), to(PortProtocol::Tcp, dns.tcp)];
        ruleset.chains.push(Chain::base("dns", "nat", Hook::Output, -100, rules));
    }
    mesh_rules(state, record, &mut ruleset);
    (!ruleset.chains.is_empty()).then(|| Firewall::new(ruleset))
}

/// On its ingress address a task is reached at published ports only, which lead to its targets.
fn mesh_rules(state: &State, record: &SandboxRecord, ruleset: &mut Ruleset) {
    let Some(ingress) = state.node.as_ref().and_then(NodeRecord::ingress) else { return };
    let Some(leg) = record.sandbox.endpoints.iter().find(|leg| leg.overlay && leg.network == ingress.id) else {
        return;
    };
    let address = Ipv4Net::from(leg.address.addr());
    let asked = record.intent.endpoints.iter().find(|endpoint| *endpoint.network.id() == ingress.id);
    let (mut redirects, mut input, mut output): (Vec<Rule>, Vec<Rule>, Vec<Rule>) = Default::default();
    for port in asked.iter().flat_map(|endpoint| &endpoint.published) {
        let protocol = || ruleset::protocol(port.protocol);
        redirects.push(rule([
            ruleset::destination(address),
            protocol(),
            ruleset::destination_port(port.published),
            ruleset::redirect(port.target),
        ]));
        input.push(rule([
            ruleset::destination(address),
            protocol(),
            ruleset::destination_port(port.target),
            ruleset::new_or_established(),
            ruleset::accept(),
        ]));
        output.push(rule([
            ruleset::source(address),
            protocol(),
            ruleset::source_port(port.target),
            ruleset::established(),
            ruleset::accept(),
        ]));
    }
    let transports = vec![ruleset::load_protocol(0), E::InSet { set: TRANSPORTS.to_owned() }];
    input.push(rule([ruleset::destination(address), transports.clone(), ruleset::discard()]));
    output.push(rule([ruleset::source(address), transports, ruleset::discard()]));
    ruleset.maps.push(transports_set());
    ruleset.chains.push(Chain::base("mesh", "nat", Hook::Prerouting, -100, redirects));
    ruleset.chains.push(Chain::base("mesh-in", "filter", Hook::Input, 0, input));
    ruleset.chains.push(Chain::base("mesh-out", "filter", Hook::Output, 0, output));
}

/// Name of the set of transport protocols that can be published.
pub(crate) const TRANSPORTS: &str = "transports";

/// The set of transport protocols that can be published.
pub(crate) fn transports_set() -> Map {
    let mut set = Map::new(TRANSPORTS, &[Key::Protocol], Data::None);
    for protocol in PortProtocol::ALL {
        set.elements.push((vec![protocol.number()], ruleset::Value::None));
    }
    set
}
