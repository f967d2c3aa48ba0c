//! Host ports: who has which, which is free.
//!
//! Used by `connect`. Invariant: of two containers at most one has a host port on an address; what
//! another program listens on is refused, since its connections would be taken away from it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

use skep_common::PortProtocol;

use crate::error::{Error, Result};
use crate::ids::SandboxId;
use crate::intent::PortMapping;
use crate::results::{BoundPort, Sandbox};
use crate::state::State;

/// Ports that are given out when none is asked for: the kernel's own ephemeral range.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32768..=60999;

/// The address of a sandbox at which its published ports are reached from the host.
pub(crate) fn published_address(sandbox: &Sandbox) -> Option<Ipv4Addr> {
    let mut local = sandbox.endpoints.iter().filter(|leg| !leg.overlay);
    let first = local.clone().next();
    local.find(|leg| leg.default_route).or(first).map(|leg| leg.address.addr())
}

/// Host ports for the mappings of a sandbox; what it had before it keeps.
pub(crate) fn allocate(
    state: &State,
    id: &SandboxId,
    mappings: &[PortMapping],
    previous: &[BoundPort],
) -> Result<Vec<BoundPort>> {
    let mut bound: Vec<BoundPort> = Vec::new();
    for mapping in mappings {
        let host_ip = mapping.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let held = previous.iter().find(|old| {
            old.host_ip == host_ip
                && old.container_port == mapping.container_port
                && old.protocol == mapping.protocol
                && mapping.host_port.is_none_or(|port| port == old.host_port)
                && !bound.contains(old)
        });
        let port = match (held, mapping.host_port) {
            (Some(held), _) => held.clone(),
            (None, Some(port)) => asked_for(state, id, mapping, host_ip, port, &bound)?,
            (None, None) => any_free(state, id, mapping, host_ip, &bound)?,
        };
        bound.push(port);
    }
    Ok(bound)
}

fn bind_to(mapping: &PortMapping, host_ip: Ipv4Addr, host_port: u16) -> BoundPort {
    BoundPort { host_ip, host_port, container_port: mapping.container_port, protocol: mapping.protocol }
}

fn asked_for(
    state: &State,
    id: &SandboxId,
    mapping: &PortMapping,
    host_ip: Ipv4Addr,
    port: u16,
    bound: &[BoundPort],
) -> Result<BoundPort> {
    let wanted = bind_to(mapping, host_ip, port);
    if bound.iter().any(|other| collides(other, &wanted)) {
        return Err(Error::PortAllocated { host_ip, port, owner: "this container".to_owned() });
    }
    if let Some(owner) = owner(state, id, &wanted) {
        return Err(Error::PortAllocated { host_ip, port, owner });
    }
    match probe(&wanted) {
        Ok(()) => Ok(wanted),
        Err(source) if source.kind() == io::ErrorKind::AddrNotAvailable => {
            Err(Error::HostAddressMissing { host_ip, source })
        }
        Err(source) => Err(Error::PortForeign { host_ip, port, protocol: mapping.protocol, source }),
    }
}

fn any_free(
    state: &State,
    id: &SandboxId,
    mapping: &PortMapping,
    host_ip: Ipv4Addr,
    bound: &[BoundPort],
) -> Result<BoundPort> {
    let free = |wanted: &BoundPort| {
        !bound.iter().any(|other| collides(other, wanted))
            && owner(state, id, wanted).is_none()
            && probe(wanted).is_ok()
    };
    EPHEMERAL
        .map(|port| bind_to(mapping, host_ip, port))
        .find(free)
        .ok_or(Error::PortsExhausted { protocol: mapping.protocol })
}

fn collides(a: &BoundPort, b: &BoundPort) -> bool {
    let same_address = a.host_ip == b.host_ip || a.host_ip.is_unspecified() || b.host_ip.is_unspecified();
    same_address && a.host_port == b.host_port && a.protocol == b.protocol
}

/// Who of ours has the port: another container, or the routing mesh.
fn owner(state: &State, id: &SandboxId, wanted: &BoundPort) -> Option<String> {
    let others = state.sandboxes.values().filter(|record| record.intent.id != *id);
    for record in others {
        if record.sandbox.ports.iter().any(|port| collides(port, wanted)) {
            return Some(format!("container {}", record.intent.name));
        }
    }
    let services = state.node.iter().flat_map(|node| &node.intent.services);
    services
        .filter(|service| {
            service.ports.iter().any(|port| port.published == wanted.host_port && port.protocol == wanted.protocol)
        })
        .map(|service| format!("service {}", service.name))
        .next()
}

/// Whether a program could listen there now.
fn probe(wanted: &BoundPort) -> io::Result<()> {
    let address = SocketAddrV4::new(wanted.host_ip, wanted.host_port);
    match wanted.protocol {
        PortProtocol::Tcp => TcpListener::bind(address).map(drop),
        PortProtocol::Udp => UdpSocket::bind(address).map(drop),
        // The kernel may have no SCTP at all, and translates its packets all the same.
        PortProtocol::Sctp => Ok(()),
    }
}
