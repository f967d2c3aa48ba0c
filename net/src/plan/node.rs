//! What a node's overlays are: their namespaces, their load balancers, the routing mesh.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use super::sandbox::{bridge, bridge_mtu, bridge_name, port_mode, sandbox};
use super::{End, look_at, namespace_basics, veth};
use crate::balance::{Balancing, Virtual, load_balancer};
use crate::error::Result;
use crate::ids::SandboxId;
use crate::intent::OverlayIntent;
use crate::model::{Link, LinkKind, Place, Plan, PortMode, Reach, Route, Scope};
use crate::names;
use crate::state::{NodeRecord, State};

/// Adds all overlays of the node, with the sandboxes in `present` on them.
pub(crate) fn node(state: &State, present: &BTreeSet<SandboxId>, plan: &mut Plan, scope: &mut Scope) -> Result<()> {
    let Some(node) = &state.node else { return Ok(()) };
    for network in &node.intent.networks {
        overlay(node, network, plan, scope);
        if network.lb_address.is_some() {
            balancer(state, node, network, plan, scope);
        }
    }
    for record in state.sandboxes.values().filter(|record| present.contains(&record.intent.id)) {
        let joined = |id| node.overlay(id).is_some();
        if record.sandbox.endpoints.iter().any(|leg| leg.overlay)
            && record.sandbox.endpoints.iter().all(|leg| !leg.overlay || joined(&leg.network))
        {
            sandbox(state, record, plan, scope)?;
            // Settings are made once, at connect: the container may have changed its own since.
            plan.space(&Place::Named(names::sandbox_namespace(&record.intent.id))).sysctls.clear();
        }
    }
    Ok(())
}

/// The overlay's own namespace: a bridge, the VXLAN link, and who is behind it.
fn overlay(node: &NodeRecord, network: &OverlayIntent, plan: &mut Plan, scope: &mut Scope) {
    let place = Place::Named(names::overlay_namespace(&network.id));
    scope.insert(place.clone(), Reach::Whole);
    namespace_basics(plan, &place);
    let mtu = node.mtu(network);
    let space = plan.space(&place);
    let bridge = Link { mac: Some(names::mac_of(network.gateway)), mtu: Some(mtu), ..Link::new(LinkKind::Bridge) };
    let tunnel = LinkKind::Vxlan { vni: network.vni, port: node.intent.data_path_port, local: node.tunnel_address };
    let tunnel = Link { mtu: Some(mtu), master: Some(names::OVERLAY_BRIDGE.to_owned()), ..Link::new(tunnel) };
    space.links.insert(names::OVERLAY_BRIDGE.to_owned(), bridge);
    space.links.insert(names::OVERLAY_VXLAN.to_owned(), tunnel);
    if let Ok(address) = Ipv4Net::new(network.gateway, network.subnet.prefix_len()) {
        space.addresses.insert((names::OVERLAY_BRIDGE.to_owned(), address));
    }
    for endpoint in node.intent.endpoints.iter().filter(|endpoint| endpoint.network == network.id) {
        if endpoint.node_address == node.intent.data_path_address {
            continue;
        }
        let mac = names::mac_of(endpoint.address);
        space.neighbours.insert((names::OVERLAY_VXLAN.to_owned(), endpoint.address), mac);
        space.forwarding.insert((names::OVERLAY_VXLAN.to_owned(), mac), endpoint.node_address);
    }
}

/// Where an overlay is balanced.
pub(crate) fn balancer_place(network: &OverlayIntent) -> Place {
    let name = if network.ingress { names::INGRESS_SANDBOX.to_owned() } else { names::balancer_namespace(&network.id) };
    Place::Named(name)
}

/// The namespace that holds an overlay's virtual addresses: `lb_…`, or the mesh's `ingress_sbox`.
fn balancer(state: &State, node: &NodeRecord, network: &OverlayIntent, plan: &mut Plan, scope: &mut Scope) {
    let Some(own) = network.lb_address else { return };
    let place = balancer_place(network);
    scope.insert(place.clone(), Reach::Whole);
    namespace_basics(plan, &place);
    let port = names::veth("balancer", network.id.as_str());
    let outer = End { place: Place::Named(names::overlay_namespace(&network.id)), name: &port };
    let inner = End { place: place.clone(), name: "eth0" };
    veth(plan, &outer, names::OVERLAY_BRIDGE, &inner, names::mac_of(own), node.mtu(network), PortMode::default());
    let space = plan.space(&place);
    if let Ok(address) = Ipv4Net::new(own, network.subnet.prefix_len()) {
        space.addresses.insert(("eth0".to_owned(), address));
    }
    let balancing = balancing(node, network);
    for service in &balancing.services {
        space.addresses.extend(service.vip.map(|vip| ("eth0".to_owned(), Ipv4Net::from(vip))));
    }
    // In and out over one link, and only what has an address here is answered for.
    for (name, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        ("net/ipv4/conf/eth0/send_redirects", "0"),
        ("net/ipv4/conf/all/arp_ignore", "1"),
    ] {
        space.sysctls.insert(name.to_owned(), value.to_owned());
    }
    load_balancer(node.backend).arrange(&balancing, space);
    if network.ingress {
        mesh_entry(state, node, &place, plan, scope);
    }
}

/// The mesh's leg on the gateway bridge, where the host sends what arrives at published ports.
fn mesh_entry(state: &State, node: &NodeRecord, place: &Place, plan: &mut Plan, scope: &mut Scope) {
    let Some((gateway_bridge, address)) = state.gateway_bridge().zip(node.ingress_gateway_address) else { return };
    bridge(gateway_bridge, plan, scope);
    let port = names::veth("ingress", gateway_bridge.id.as_str());
    look_at(scope, &Place::Host, &port);
    let outer = End { place: Place::Host, name: &port };
    let inner = End { place: place.clone(), name: MESH_ENTRY };
    let mtu = bridge_mtu(gateway_bridge);
    veth(
        plan,
        &outer,
        &bridge_name(gateway_bridge),
        &inner,
        names::mac_of(address),
        mtu,
        port_mode(state, gateway_bridge),
    );
    let space = plan.space(place);
    if let Some(subnet) = gateway_bridge.subnet
        && let Ok(address) = Ipv4Net::new(address, subnet.prefix_len())
    {
        space.addresses.insert((MESH_ENTRY.to_owned(), address));
    }
    if let Some(gateway) = gateway_bridge.gateway {
        space.routes.insert(Route::default(gateway, MESH_ENTRY));
    }
}

/// The mesh's interface on the gateway bridge.
const MESH_ENTRY: &str = "eth1";

fn balancing(node: &NodeRecord, network: &OverlayIntent) -> Balancing {
    let mut services = Vec::new();
    for service in node.intent.services.iter().filter(|service| service.network == network.id) {
        let Some(mark) = node.mark(service) else { continue };
        if service.vip.is_none() && service.ports.is_empty() {
            continue;
        }
        let tasks = node
            .intent
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.network == network.id && endpoint.service.as_ref() == Some(&service.id));
        services.push(Virtual {
            mark,
            vip: service.vip,
            ports: service.ports.iter().map(|port| (port.protocol, port.published)).collect(),
            backends: tasks.map(|task| (task.address, u32::from(task.serving))).collect(),
        });
    }
    services.sort_by_key(|service| service.mark);
    Balancing {
        subnet: network.subnet,
        own: network.lb_address.unwrap_or(network.gateway),
        entry: network.ingress.then(|| MESH_ENTRY.to_owned()),
        services,
    }
}
