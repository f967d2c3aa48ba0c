//! What this crate's calls answer: connected sandboxes, and what was done and found.
//!
//! Made by `net`, `node`, `resolve` and `inspect`; those that are stored are read back by the same types. Nothing here
//! does anything.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use skep_common::PortProtocol;

use crate::error::Error;
use crate::ids::{MacAddress, NetworkId, SandboxId};
use crate::intent::DnsPorts;
use crate::store::NetworkDefinition;

/// A connected sandbox: what a container got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The container's id.
    pub id: SandboxId,
    /// The container's name.
    pub name: String,
    /// File of its network namespace.
    pub namespace: PathBuf,
    /// Its legs, eth0 first.
    pub endpoints: Vec<Endpoint>,
    /// Its published ports, with the host ports chosen.
    pub ports: Vec<BoundPort>,
    /// Where its DNS is answered, if it is.
    pub dns: Option<DnsPorts>,
}

/// A leg of a connected sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network.
    pub network: NetworkId,
    /// The network's name.
    pub network_name: String,
    /// Whether the network is an overlay.
    pub overlay: bool,
    /// Interface in the container: eth0, eth1, …
    pub interface: String,
    /// Its address, with the subnet's prefix length.
    pub address: Ipv4Net,
    /// The network's gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Whether the default route is over this leg.
    pub default_route: bool,
    /// Its MAC address.
    pub mac: MacAddress,
    /// Link MTU in octets.
    pub mtu: u32,
    /// Names it is found by.
    pub aliases: Vec<String>,
}

/// A published port, with the host port that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BoundPort {
    /// Address published on; 0.0.0.0 for all.
    pub host_ip: Ipv4Addr,
    /// Port on the host.
    pub host_port: u16,
    /// Port in the container.
    pub container_port: u16,
    /// Protocol.
    pub protocol: PortProtocol,
}

/// Which load balancer is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The kernel's IP virtual server.
    Ipvs,
    /// nftables' numbered maps.
    Nftables,
}

/// What [`Net::apply_node`](crate::Net::apply_node) did.
#[derive(Debug, Default)]
#[must_use = "what could not be made is told here only"]
pub struct NodeReport {
    /// Kernel operations carried out; 0 when everything was as it should be.
    pub operations: usize,
    /// Ports of the routing mesh that lead to a container of this node instead.
    pub displaced: Vec<DisplacedPort>,
    /// What could not be made. All else was; applying again tries these again.
    pub failures: Vec<NodeFailure>,
}

/// A part of the node's data plane that could not be made.
#[derive(Debug)]
pub struct NodeFailure {
    /// The overlay; `None` for what belongs to the host, or to a container.
    pub network: Option<NetworkId>,
    /// Why.
    pub error: Error,
}

/// A port of the routing mesh that a container had first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DisplacedPort {
    /// The port on this node.
    pub port: u16,
    /// Its protocol.
    pub protocol: PortProtocol,
    /// The service's name.
    pub service: String,
    /// The container's name.
    pub container: String,
}

/// A network and who is on it, here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkView {
    /// The network.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// Its definition, for a local network.
    pub definition: Option<NetworkDefinition>,
    /// Its legs on this machine.
    pub endpoints: Vec<EndpointView>,
}

/// A leg in a [`NetworkView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointView {
    /// Container id, `ingress-sbox`, or `lb-NETWORK`.
    pub sandbox: String,
    /// The container's name; `ingress-endpoint` or `NETWORK-endpoint` for load balancers.
    pub name: String,
    /// Its MAC address.
    pub mac: MacAddress,
    /// Its address, with the subnet's prefix length.
    pub address: Ipv4Net,
}

/// Something about this machine that stands in the way of traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}
