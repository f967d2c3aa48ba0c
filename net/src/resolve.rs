//! From what a container asked for to what it gets: addresses, interface names, gateway, ports.
//!
//! Called by `connect` under the lock. Invariant: what the container had before, it keeps, so that
//! doing it again changes nothing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::error::{Error, Result};
use crate::files::NetPaths;
use crate::intent::{EndpointIntent, NetworkRef, SandboxIntent};
use crate::plan::bridge_mtu;
use crate::results::{Endpoint, Sandbox};
use crate::state::{SandboxRecord, State};
use crate::store::{NetworkDefinition, NetworkDriver};
use crate::{ipam, names, ports};

/// Whether the sandbox needs a leg on the gateway bridge: it is on an overlay that is not internal,
/// and nothing else leads out.
pub(crate) fn needs_gateway_bridge(state: &State, intent: &SandboxIntent) -> Result<bool> {
    let mut needed = false;
    for endpoint in &intent.endpoints {
        match &endpoint.network {
            NetworkRef::Overlay(id) => needed |= !state.overlay(id)?.internal,
            NetworkRef::Local(id) if !state.local(id)?.internal => return Ok(false),
            NetworkRef::Local(_) => {}
        }
    }
    Ok(needed)
}

/// What the sandbox gets. The state is without the sandbox's own previous record.
pub(crate) fn resolve(
    state: &State,
    paths: &NetPaths,
    intent: &SandboxIntent,
    previous: Option<&SandboxRecord>,
) -> Result<Sandbox> {
    let mut wanted = intent.endpoints.clone();
    if needs_gateway_bridge(state, intent)? {
        let gateway_bridge = state.gateway_bridge();
        let id = gateway_bridge.map(|network| network.id.clone());
        wanted.extend(id.map(|id| EndpointIntent::new(NetworkRef::Local(id))));
    }
    wanted.retain(|endpoint| !is_null(state, endpoint));
    // As docker's tasks have them: their own networks, then the mesh, then the way out.
    wanted.sort_by_key(|endpoint| rank(state, endpoint));
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for endpoint in &wanted {
        let before = previous
            .and_then(|record| record.sandbox.endpoints.iter().find(|leg| leg.network == *endpoint.network.id()));
        endpoints.push(leg(state, endpoint, before)?);
    }
    refuse_overlaps(&endpoints)?;
    name_interfaces(&mut endpoints, previous);
    choose_gateway(state, &wanted, &mut endpoints);
    let held = previous.map(|record| record.sandbox.ports.as_slice()).unwrap_or_default();
    Ok(Sandbox {
        id: intent.id.clone(),
        name: intent.name.clone(),
        namespace: paths.namespace(&names::sandbox_namespace(&intent.id)),
        ports: ports::allocate(state, &intent.id, &intent.ports, held)?,
        endpoints,
        dns: intent.dns,
    })
}

/// Of two legs with addresses in common, the kernel would take one for what is meant for the other.
fn refuse_overlaps(endpoints: &[Endpoint]) -> Result<()> {
    for (index, leg) in endpoints.iter().enumerate() {
        let subnet = leg.address.trunc();
        let other = endpoints[..index].iter().find(|other| ipam::overlap(&subnet, &other.address.trunc()));
        if let Some(other) = other {
            // The swarm's are named as what to change: they are one command, this machine's may be in use.
            let (leg, other) = if other.overlay && !leg.overlay { (other, leg) } else { (leg, other) };
            let said = format!("network {} ({})", other.network_name, other.address.trunc());
            return Err(Error::SubnetOverlaps { subnet: leg.address.trunc(), other: said });
        }
    }
    Ok(())
}

fn is_null(state: &State, endpoint: &EndpointIntent) -> bool {
    let network = match &endpoint.network {
        NetworkRef::Local(id) => state.networks.get(id),
        NetworkRef::Overlay(_) => None,
    };
    network.is_some_and(|network| network.driver == NetworkDriver::Null)
}

fn rank(state: &State, endpoint: &EndpointIntent) -> u8 {
    match &endpoint.network {
        NetworkRef::Local(id) => match state.networks.get(id) {
            Some(network) if network.name == names::GATEWAY_BRIDGE => 2,
            _ => 0,
        },
        NetworkRef::Overlay(id) => match state.overlay(id) {
            Ok(network) if network.ingress => 1,
            _ => 0,
        },
    }
}

fn leg(state: &State, intent: &EndpointIntent, before: Option<&Endpoint>) -> Result<Endpoint> {
    let (network_name, overlay, subnet, address, gateway, mtu) = match &intent.network {
        NetworkRef::Overlay(id) => {
            let network = state.overlay(id)?;
            let mtu = state.node.as_ref().map_or(0, |node| node.mtu(network));
            let address = overlay_address(network.subnet, &network.name, intent)?;
            (network.name.clone(), true, network.subnet, address, Some(network.gateway), mtu)
        }
        NetworkRef::Local(id) => {
            let network = state.local(id)?;
            let (subnet, address) = local_address(state, network, intent, before)?;
            (network.name.clone(), false, subnet, address, network.gateway, bridge_mtu(network))
        }
    };
    let address = Ipv4Net::new(address, subnet.prefix_len()).map_err(|_| Error::AddressUnavailable {
        address,
        network: network_name.clone(),
        reason: format!("{subnet} is not a subnet"),
    })?;
    Ok(Endpoint {
        network: intent.network.id().clone(),
        network_name,
        overlay,
        interface: before.map(|leg| leg.interface.clone()).unwrap_or_default(),
        mac: intent.mac.unwrap_or_else(|| names::mac_of(address.addr())),
        address,
        gateway,
        default_route: false,
        mtu,
        aliases: intent.aliases.clone(),
    })
}

fn overlay_address(subnet: Ipv4Net, network: &str, intent: &EndpointIntent) -> Result<Ipv4Addr> {
    let address = intent.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    if ipam::is_host_address(&subnet, address) {
        return Ok(address);
    }
    let reason = format!("it is not one of {subnet}");
    Err(Error::AddressUnavailable { address, network: network.to_owned(), reason })
}

fn local_address(
    state: &State,
    network: &NetworkDefinition,
    intent: &EndpointIntent,
    before: Option<&Endpoint>,
) -> Result<(Ipv4Net, Ipv4Addr)> {
    let Some(subnet) = network.subnet else {
        let reason = "containers of this network have no namespace of their own".to_owned();
        return Err(Error::InvalidIntent { subject: format!("network {}", network.name), reason });
    };
    let used = state.used_addresses(network);
    let unavailable = |address, reason: &str| {
        Err(Error::AddressUnavailable { address, network: network.name.clone(), reason: reason.to_owned() })
    };
    let had = before.map(|leg| leg.address.addr()).filter(|address| !used.contains(address));
    match intent.address.or(had) {
        Some(address) if !ipam::is_host_address(&subnet, address) => {
            unavailable(address, &format!("it is not one of {subnet}"))
        }
        Some(address) if used.contains(&address) => unavailable(address, "it is in use already"),
        Some(address) => Ok((subnet, address)),
        None => match ipam::lowest_free(&subnet, network.ip_range.as_ref(), &used) {
            Some(address) => Ok((subnet, address)),
            None => Err(Error::SubnetExhausted { network: network.name.clone(), subnet }),
        },
    }
}

/// eth0, eth1, … in order; a leg that was there before keeps its name.
fn name_interfaces(endpoints: &mut [Endpoint], previous: Option<&SandboxRecord>) {
    let mut taken: BTreeSet<String> = endpoints.iter().map(|leg| leg.interface.clone()).collect();
    // A name that went with its leg in this very change is not given away: the old link goes first,
    // but a program in the container may still hold on to the name.
    taken.extend(previous.iter().flat_map(|record| &record.sandbox.endpoints).map(|leg| leg.interface.clone()));
    let mut free = (0..).map(|number| format!("eth{number}")).filter(|name| !taken.contains(name));
    for leg in endpoints.iter_mut().filter(|leg| leg.interface.is_empty()) {
        leg.interface = free.next().unwrap_or_default();
    }
}

fn choose_gateway(state: &State, wanted: &[EndpointIntent], endpoints: &mut [Endpoint]) {
    let leads_out =
        |leg: &Endpoint| !leg.overlay && state.networks.get(&leg.network).is_some_and(|network| !network.internal);
    let mut best: Option<(i32, usize)> = None;
    for (index, (intent, leg)) in wanted.iter().zip(endpoints.iter()).enumerate() {
        if leads_out(leg) && best.is_none_or(|(priority, _)| intent.gateway_priority > priority) {
            best = Some((intent.gateway_priority, index));
        }
    }
    if let Some(leg) = best.and_then(|(_, index)| endpoints.get_mut(index)) {
        leg.default_route = true;
    }
}
