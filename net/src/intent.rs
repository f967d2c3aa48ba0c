//! What callers ask for: containers' sandboxes, and a node's whole overlay data plane.
//!
//! Written by `runtime` (sandboxes) and by the swarm agent (node); everything below works from
//! these types only. Invariant: ids are checked when they are made, the rest by `validate`, so that
//! nothing can be planned from an intent that contradicts itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use skep_common::PortProtocol;

use crate::error::{Error, Result};
use crate::ids::{MacAddress, NetworkId, SandboxId, ServiceId};
use crate::sysctl;

/// A port of a container, published on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortMapping {
    /// Host address to publish on; `None` for all of them.
    pub host_ip: Option<Ipv4Addr>,
    /// Host port; `None` for a free one between 32768 and 60999.
    pub host_port: Option<u16>,
    /// Port in the container.
    pub container_port: u16,
    /// Protocol.
    pub protocol: PortProtocol,
}

/// A network to join.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "id")]
pub enum NetworkRef {
    /// A bridge network of this machine, as in its [`crate::NetworkStore`].
    Local(NetworkId),
    /// An overlay of the swarm, as in the [`NodeIntent`] applied last.
    Overlay(NetworkId),
}

impl NetworkRef {
    /// The network's id.
    pub fn id(&self) -> &NetworkId {
        match self {
            Self::Local(id) | Self::Overlay(id) => id,
        }
    }
}

/// One leg of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointIntent {
    /// The network to join.
    pub network: NetworkRef,
    /// Address to have. Local networks: `None` for any free one. Overlay: given by the cluster.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// MAC address; `None` for 02:42 and the address's octets.
    #[serde(default)]
    pub mac: Option<MacAddress>,
    /// Names for which other containers of this network find this one (container name, short id,
    /// aliases). Ignored on the default bridge network, which has no names, and on overlays, where
    /// they come with the [`NodeIntent`].
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The leg with the highest gateway priority has the default route; ties: the first leg.
    #[serde(default)]
    pub gateway_priority: i32,
    /// On the network of the routing mesh: the ports that lead to this container. They are those its task was made
    /// with, for the service's may have changed since.
    #[serde(default)]
    pub published: Vec<PublishedPort>,
}

impl EndpointIntent {
    /// A leg on `network` with all else left to be chosen.
    pub fn new(network: NetworkRef) -> Self {
        Self { network, address: None, mac: None, aliases: Vec::new(), gateway_priority: 0, published: Vec::new() }
    }
}

/// Ports, in the container's namespace, on which its DNS is answered: 127.0.0.11:53 leads there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsPorts {
    /// UDP port on 127.0.0.11.
    pub udp: u16,
    /// TCP port on 127.0.0.11.
    pub tcp: u16,
}

/// The network a container is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxIntent {
    /// The container's id.
    pub id: SandboxId,
    /// The container's name, for messages and `network inspect`.
    pub name: String,
    /// Its legs, in order: the first is eth0. None at all is docker's network `none`. A leg on
    /// the gateway bridge is added for containers of overlays that are not internal.
    pub endpoints: Vec<EndpointIntent>,
    /// Its published ports.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// Network settings of its namespace, in dotted form as `--sysctl` has them (`net.…` only).
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Where its DNS is answered, if that is known already.
    #[serde(default)]
    pub dns: Option<DnsPorts>,
}

impl SandboxIntent {
    /// A sandbox with nothing but a loopback.
    pub fn new(id: SandboxId, name: impl Into<String>) -> Self {
        Self { id, name: name.into(), endpoints: Vec::new(), ports: Vec::new(), sysctls: BTreeMap::new(), dns: None }
    }

    /// Checks what can be checked without looking at anything else.
    ///
    /// # Errors
    /// [`Error::InvalidIntent`].
    pub fn validate(&self) -> Result<()> {
        let invalid =
            |reason: String| Err(Error::InvalidIntent { subject: format!("container {}", self.name), reason });
        let mut seen = BTreeSet::new();
        for endpoint in &self.endpoints {
            if !seen.insert(&endpoint.network) {
                return invalid(format!("network {} is listed twice", endpoint.network.id()));
            }
            if matches!(endpoint.network, NetworkRef::Overlay(_)) && endpoint.address.is_none() {
                return invalid(format!("overlay {} comes without an address", endpoint.network.id()));
            }
        }
        if let Some(name) = self.sysctls.keys().find(|name| sysctl::path(name).is_none()) {
            return invalid(format!("sysctl {name:?} is not one of a network namespace (net.…)"));
        }
        if self.ports.iter().any(|port| port.container_port == 0 || port.host_port == Some(0)) {
            return invalid("port 0 cannot be published".to_owned());
        }
        if !self.ports.is_empty() && self.endpoints.is_empty() {
            return invalid("ports cannot be published without a network".to_owned());
        }
        Ok(())
    }
}

/// An overlay network as it is to be on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayIntent {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// Its gateway: the address of the bridge, the same on every node.
    pub gateway: Ipv4Addr,
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// Whether it is the network of the routing mesh.
    #[serde(default)]
    pub ingress: bool,
    /// Link MTU in octets; `None` for the underlay's less 50.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Whether its containers get no way out.
    #[serde(default)]
    pub internal: bool,
    /// Whether IPsec was asked for.
    #[serde(default)]
    pub encrypted: bool,
    /// This node's load-balancer address on it; `None` when this node balances nothing there.
    #[serde(default)]
    pub lb_address: Option<Ipv4Addr>,
}

/// Somebody on an overlay: a task's leg, or another node's load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayEndpoint {
    /// The overlay.
    pub network: NetworkId,
    /// Its address there.
    pub address: Ipv4Addr,
    /// Data-path address of the node it is on.
    pub node_address: Ipv4Addr,
    /// The service it serves; `None` for attached containers and load balancers.
    #[serde(default)]
    pub service: Option<ServiceId>,
    /// Whether it takes new connections. One that does not keeps those it has, and is not in DNS.
    pub serving: bool,
    /// Names it is found by (task's container name, host name, aliases of an attached container).
    #[serde(default)]
    pub names: Vec<String>,
}

/// A port published on every node through the routing mesh.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Port on the nodes.
    pub published: u16,
    /// Port in the tasks.
    pub target: u16,
    /// Protocol.
    pub protocol: PortProtocol,
}

/// A service's presence on one overlay. A service on several overlays comes once for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceIntent {
    /// The service.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Its further names on this overlay.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The overlay.
    pub network: NetworkId,
    /// Its virtual address there; `None` with `--endpoint-mode dnsrr`.
    #[serde(default)]
    pub vip: Option<Ipv4Addr>,
    /// Ports published through the mesh: on the ingress network only.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
}

/// UDP port of VXLAN (RFC 7348, section 5), where a swarm has chosen no other.
pub(crate) const VXLAN_PORT: u16 = 4789;

fn default_data_path_port() -> u16 {
    VXLAN_PORT
}

/// The whole desired overlay data plane of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIntent {
    /// This node's id.
    pub node_id: String,
    /// Local address for VXLAN traffic.
    pub data_path_address: Ipv4Addr,
    /// UDP port of VXLAN traffic, the same on every node.
    #[serde(default = "default_data_path_port")]
    pub data_path_port: u16,
    /// Overlays that are to be on this node.
    #[serde(default)]
    pub networks: Vec<OverlayIntent>,
    /// Everybody on these overlays, here and elsewhere.
    #[serde(default)]
    pub endpoints: Vec<OverlayEndpoint>,
    /// Services on these overlays.
    #[serde(default)]
    pub services: Vec<ServiceIntent>,
}

impl NodeIntent {
    /// A node with no overlays.
    pub fn new(node_id: impl Into<String>, data_path_address: Ipv4Addr) -> Self {
        Self {
            node_id: node_id.into(),
            data_path_address,
            data_path_port: VXLAN_PORT,
            networks: Vec::new(),
            endpoints: Vec::new(),
            services: Vec::new(),
        }
    }

    /// Leaves out what is nowhere on this node: endpoints and services of networks that are not
    /// listed. Of two endpoints with one address, as there may be while a task follows another,
    /// the serving one stays, else the later.
    pub(crate) fn without_strays(mut self) -> Self {
        let listed: BTreeSet<NetworkId> = self.networks.iter().map(|network| network.id.clone()).collect();
        self.services.retain(|service| listed.contains(&service.network));
        let mut kept: BTreeMap<(NetworkId, Ipv4Addr), OverlayEndpoint> = BTreeMap::new();
        for endpoint in self.endpoints.into_iter().filter(|endpoint| listed.contains(&endpoint.network)) {
            let key = (endpoint.network.clone(), endpoint.address);
            if endpoint.serving || !kept.get(&key).is_some_and(|other| other.serving) {
                kept.insert(key, endpoint);
            }
        }
        self.endpoints = kept.into_values().collect();
        self
    }

    /// The same with one network more, as it is in another intent, with all that is on it.
    pub(crate) fn with_network(&self, source: &Self, id: &NetworkId) -> Self {
        let mut more = self.clone();
        more.networks.extend(source.networks.iter().filter(|network| network.id == *id).cloned());
        more.endpoints.extend(source.endpoints.iter().filter(|endpoint| endpoint.network == *id).cloned());
        more.services.extend(source.services.iter().filter(|service| service.network == *id).cloned());
        more
    }

    /// Checks that networks, endpoints and services fit together.
    ///
    /// # Errors
    /// [`Error::InvalidIntent`], [`Error::EncryptionUnsupported`].
    pub fn validate(&self) -> Result<()> {
        let (mut networks, mut identifiers) = (BTreeMap::new(), BTreeSet::new());
        for network in &self.networks {
            network.validate()?;
            if networks.insert(&network.id, network).is_some() {
                return invalid(&network.name, "the network is listed twice");
            }
            if !identifiers.insert(network.vni) {
                return invalid(&network.name, "its VXLAN identifier is another network's");
            }
        }
        if self.data_path_port == 0 {
            return invalid("node", "0 is no port for VXLAN traffic");
        }
        if self.networks.iter().filter(|network| network.ingress).count() > 1 {
            return invalid("node", "there are two ingress networks");
        }
        let mut addresses = BTreeSet::new();
        for endpoint in &self.endpoints {
            let subject = format!("endpoint {}", endpoint.address);
            match networks.get(&endpoint.network) {
                None => return invalid(&subject, "its network is not listed"),
                Some(network) if !network.subnet.contains(&endpoint.address) => {
                    return invalid(&subject, "it is outside of its network's subnet");
                }
                Some(_) if !addresses.insert((&endpoint.network, endpoint.address)) => {
                    return invalid(&subject, "the address is listed twice");
                }
                Some(_) => {}
            }
        }
        let (mut services, mut published) = (BTreeSet::new(), BTreeSet::new());
        for service in &self.services {
            let subject = format!("service {}", service.name);
            let Some(network) = networks.get(&service.network) else {
                return invalid(&subject, "its network is not listed");
            };
            if !services.insert((&service.id, &service.network)) {
                return invalid(&subject, "it is listed twice on one network");
            }
            if !service.ports.is_empty() && !network.ingress {
                return invalid(&subject, "ports are published on a network that is not the ingress network");
            }
            if service.vip.is_some_and(|vip| !network.subnet.contains(&vip)) {
                return invalid(&subject, "its virtual address is outside of its network's subnet");
            }
            for port in &service.ports {
                if !published.insert((port.protocol, port.published)) {
                    let reason = format!("port {}/{} is published twice", port.published, port.protocol);
                    return invalid(&subject, &reason);
                }
            }
        }
        Ok(())
    }
}

impl OverlayIntent {
    fn validate(&self) -> Result<()> {
        if self.encrypted {
            return Err(Error::EncryptionUnsupported { name: self.name.clone() });
        }
        let subject = format!("network {}", self.name);
        if self.vni == 0 || self.vni >= 1 << 24 {
            return invalid(&subject, "its VXLAN identifier is not between 1 and 16777215");
        }
        if !self.subnet.contains(&self.gateway) {
            return invalid(&subject, "its gateway is outside of its subnet");
        }
        if self.lb_address.is_some_and(|address| !self.subnet.contains(&address)) {
            return invalid(&subject, "the load balancer's address is outside of its subnet");
        }
        Ok(())
    }
}

fn invalid<T>(subject: &str, reason: &str) -> Result<T> {
    Err(Error::InvalidIntent { subject: subject.to_owned(), reason: reason.to_owned() })
}
