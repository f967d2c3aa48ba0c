//! Looking without changing: who is on a network, and what stands in the traffic's way.
//!
//! Called by `cli` (`network inspect`, `info`).

use std::fs;

use ipnet::Ipv4Net;
use skep_common::files::load;

use crate::error::{Error, Result};
use crate::ids::NetworkId;
use crate::intent::OverlayIntent;
use crate::model::Place;
use crate::net::Net;
use crate::netlink::{NetlinkSocket, Protocol};
use crate::nft::barrier::{self, Barrier};
use crate::nft::foreign;
use crate::results::{EndpointView, Finding, NetworkView};
use crate::state::{NodeRecord, State};
use crate::store::NetworkDefinition;
use crate::{names, sysctl};

/// Its table; it is told of as a whole, with its own remedy.
const FIREWALLD: &str = "firewalld";

impl Net {
    /// A network, local or overlay, by name, id or prefix, and its legs on this machine.
    ///
    /// # Errors
    /// [`Error::NetworkNotFound`].
    pub fn inspect_network(&self, name: &str) -> Result<NetworkView> {
        let state = State::load(&self.paths, &self.networks)?;
        let overlay = state.node.as_ref().and_then(|node| Some((node, find_overlay(node, name)?)));
        match (self.networks.get(name), overlay) {
            (Ok(definition), _) => Ok(local_view(&state, definition)),
            (Err(_), Some((node, network))) => Ok(overlay_view(&state, node, network)),
            (Err(failure), None) => Err(failure),
        }
    }

    /// What on this machine stands in the way of containers' traffic.
    ///
    /// # Errors
    /// When the kernel's state cannot be read.
    pub fn diagnose(&self) -> Result<Vec<Finding>> {
        let failed = |source| Error::Observe { what: "firewall", place: Place::Host.to_string(), source };
        let mut findings = Vec::new();
        let socket = NetlinkSocket::open(Protocol::Netfilter).map_err(failed)?;
        match foreign::tables(&socket) {
            Ok(tables) => {
                findings.extend(barrier::barriers(&socket).map_err(failed)?.iter().filter_map(barrier_finding));
                if tables.iter().any(|table| table == FIREWALLD) {
                    findings.push(finding(
                        "firewalld is active and may reject traffic of bridges that are in no zone",
                        "firewall-cmd --permanent --zone=trusted --add-interface=skep0 --add-interface=skep_gwbridge, \
                         and open 2377/tcp and 4789/udp between the nodes",
                    ));
                }
            }
            Err(failure) => findings.push(Finding {
                problem: format!("the kernel has no nf_tables ({failure}): no ports can be published"),
                remedy: "modprobe nf_tables".to_owned(),
            }),
        }
        let legacy = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
        if legacy.lines().any(|table| table == "filter") {
            findings.push(finding(
                "iptables-legacy's filter table is in use; should its FORWARD policy be DROP, containers are cut off",
                "iptables-legacy -P FORWARD ACCEPT, or accept skep0 and skep_gwbridge in that chain",
            ));
        }
        if sysctl::read("net/ipv4/ip_forward").is_ok_and(|value| value.trim() == "0") {
            findings.push(finding(
                "net.ipv4.ip_forward is 0: containers reach nothing but each other",
                "nothing before the first container; after that, sysctl -w net.ipv4.ip_forward=1",
            ));
        }
        Ok(findings)
    }

    /// The overlays in the node intent applied last, by name.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn overlays(&self) -> Result<Vec<OverlayIntent>> {
        let node: Option<NodeRecord> = load(&self.paths.node())?;
        let mut networks = node.map(|node| node.intent.networks).unwrap_or_default();
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }
}

fn finding(problem: &str, remedy: &str) -> Finding {
    Finding { problem: problem.to_owned(), remedy: remedy.to_owned() }
}

fn barrier_finding(barrier: &Barrier) -> Option<Finding> {
    if barrier.table == FIREWALLD {
        return None;
    }
    let Barrier { family, table, chain, by_policy } = barrier;
    if foreign::is_forward_chain(barrier) {
        let how = if *by_policy { "has the policy DROP" } else { "ends with a rule that lets nothing through" };
        return Some(finding(
            &format!("the FORWARD chain of iptables' filter table {how}"),
            "nothing, as long as it is iptables-nft: rules tagged skep: let the bridges through",
        ));
    }
    let how = if *by_policy { "by its policy" } else { "by its last rule" };
    Some(finding(
        &format!("chain {chain} of table {family} {table} drops, {how}, what is forwarded and not accepted before"),
        "accept there what comes from and goes to skep0, skep_gwbridge and br-*: no other table can overrule it",
    ))
}

fn find_overlay<'a>(node: &'a NodeRecord, name: &str) -> Option<&'a OverlayIntent> {
    let networks = &node.intent.networks;
    let exact = networks.iter().find(|network| network.name == name || network.id.as_str() == name);
    exact.or_else(|| networks.iter().find(|network| !name.is_empty() && network.id.as_str().starts_with(name)))
}

fn containers(state: &State, id: &NetworkId) -> Vec<EndpointView> {
    let mut views = Vec::new();
    for record in state.sandboxes.values() {
        for leg in record.sandbox.endpoints.iter().filter(|leg| leg.network == *id) {
            views.push(EndpointView {
                sandbox: record.intent.id.to_string(),
                name: record.intent.name.clone(),
                mac: leg.mac,
                address: leg.address,
            });
        }
    }
    views
}

fn local_view(state: &State, definition: NetworkDefinition) -> NetworkView {
    let mut endpoints = containers(state, &definition.id);
    let mesh = state.node.as_ref().and_then(|node| node.ingress_gateway_address);
    if let (names::GATEWAY_BRIDGE, Some(address), Some(subnet)) = (definition.name.as_str(), mesh, definition.subnet) {
        endpoints.extend(balancer_view("ingress-sbox", "gateway_ingress-sbox", address, subnet));
    }
    NetworkView { id: definition.id.clone(), name: definition.name.clone(), definition: Some(definition), endpoints }
}

fn overlay_view(state: &State, node: &NodeRecord, network: &OverlayIntent) -> NetworkView {
    let mut endpoints = containers(state, &network.id);
    let sandbox = if network.ingress { "ingress-sbox".to_owned() } else { format!("lb-{}", network.name) };
    let name = format!("{}-endpoint", network.name);
    let own = node.overlay(&network.id).and_then(|network| network.lb_address);
    endpoints.extend(own.and_then(|address| balancer_view(&sandbox, &name, address, network.subnet)));
    NetworkView { id: network.id.clone(), name: network.name.clone(), definition: None, endpoints }
}

fn balancer_view(sandbox: &str, name: &str, address: std::net::Ipv4Addr, subnet: Ipv4Net) -> Option<EndpointView> {
    Some(EndpointView {
        sandbox: sandbox.to_owned(),
        name: name.to_owned(),
        mac: names::mac_of(address),
        address: Ipv4Net::new(address, subnet.prefix_len()).ok()?,
    })
}
