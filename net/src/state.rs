//! Everything that is known on disk: networks, connected sandboxes, the node's intent.
//!
//! Loaded by every call of [`crate::Net`] under its lock; plan reads nothing else. Each record has
//! one writer: the call that holds the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use skep_common::files::{load, load_all};

use crate::error::{Error, Result};
use crate::files::NetPaths;
use crate::ids::{NetworkId, SandboxId};
use crate::intent::{NodeIntent, OverlayIntent, SandboxIntent, ServiceIntent};
use crate::results::{Backend, Sandbox};
use crate::store::{NetworkDefinition, NetworkStore};

/// Version of the record formats.
pub(crate) const VERSION: u32 = 1;

/// A sandbox as asked for and as resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) version: u32,
    pub(crate) intent: SandboxIntent,
    pub(crate) sandbox: Sandbox,
}

/// The node's intent and what was chosen for it here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(crate) version: u32,
    pub(crate) intent: NodeIntent,
    /// Firewall marks by service and network, from 0x100 up; one keeps its mark as long as it lives.
    pub(crate) marks: BTreeMap<String, u32>,
    /// Local address of VXLAN packets; unspecified when the data-path address is not this host's.
    pub(crate) tunnel_address: Ipv4Addr,
    /// MTU of the link that holds the data-path address, in octets.
    pub(crate) underlay_mtu: u32,
    /// The ingress sandbox's address on the gateway bridge.
    pub(crate) ingress_gateway_address: Option<Ipv4Addr>,
    pub(crate) backend: Backend,
}

impl NodeRecord {
    /// The mark of a service on a network.
    pub(crate) fn mark(&self, service: &ServiceIntent) -> Option<u32> {
        self.marks.get(&mark_key(service)).copied()
    }

    pub(crate) fn overlay(&self, id: &NetworkId) -> Option<&OverlayIntent> {
        self.intent.networks.iter().find(|network| network.id == *id)
    }

    pub(crate) fn ingress(&self) -> Option<&OverlayIntent> {
        self.intent.networks.iter().find(|network| network.ingress)
    }

    /// The link MTU of an overlay, in octets.
    pub(crate) fn mtu(&self, network: &OverlayIntent) -> u32 {
        network.mtu.unwrap_or_else(|| self.underlay_mtu.saturating_sub(VXLAN_OVERHEAD))
    }
}

/// Outer Ethernet, IPv4, UDP and VXLAN headers, in octets.
const VXLAN_OVERHEAD: u32 = 50;
const FIRST_MARK: u32 = 0x100;

fn mark_key(service: &ServiceIntent) -> String {
    format!("{}/{}", service.id, service.network)
}

/// Marks for an intent's services: known ones keep theirs, new ones get the lowest free.
pub(crate) fn assign_marks(old: &BTreeMap<String, u32>, services: &[ServiceIntent]) -> BTreeMap<String, u32> {
    let keys: BTreeSet<String> = services.iter().map(mark_key).collect();
    let mut marks: BTreeMap<String, u32> =
        old.iter().filter(|(key, _)| keys.contains(*key)).map(|(key, mark)| (key.clone(), *mark)).collect();
    let mut used: BTreeSet<u32> = marks.values().copied().collect();
    for key in keys {
        if marks.contains_key(&key) {
            continue;
        }
        if let Some(free) = (FIRST_MARK..).find(|mark| !used.contains(mark)) {
            used.insert(free);
            marks.insert(key, free);
        }
    }
    marks
}

const FILTERS_BRIDGED: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// All records.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) networks: BTreeMap<NetworkId, NetworkDefinition>,
    pub(crate) sandboxes: BTreeMap<SandboxId, SandboxRecord>,
    pub(crate) node: Option<NodeRecord>,
    /// Whether bridged frames pass the rules for routed packets (br_netfilter).
    pub(crate) filters_bridged: bool,
}

impl State {
    pub(crate) fn load(paths: &NetPaths, networks: &NetworkStore) -> Result<Self> {
        let networks = networks.list()?.into_iter().map(|network| (network.id.clone(), network)).collect();
        let records: Vec<SandboxRecord> = load_all(&paths.sandboxes())?;
        let sandboxes = records.into_iter().map(|record| (record.intent.id.clone(), record)).collect();
        let filters_bridged = std::fs::read(FILTERS_BRIDGED).is_ok_and(|value| value.starts_with(b"1"));
        Ok(Self { networks, sandboxes, node: load(&paths.node())?, filters_bridged })
    }

    pub(crate) fn gateway_bridge(&self) -> Option<&NetworkDefinition> {
        self.networks.values().find(|network| network.name == crate::names::GATEWAY_BRIDGE)
    }

    pub(crate) fn local(&self, id: &NetworkId) -> Result<&NetworkDefinition> {
        self.networks.get(id).ok_or_else(|| Error::NetworkNotFound { name: id.to_string() })
    }

    pub(crate) fn overlay(&self, id: &NetworkId) -> Result<&OverlayIntent> {
        let found = self.node.as_ref().and_then(|node| node.overlay(id));
        found.ok_or_else(|| Error::OverlayNotHere { network: id.to_string() })
    }

    /// Addresses of a local network that are in use, the gateway's among them.
    pub(crate) fn used_addresses(&self, network: &NetworkDefinition) -> BTreeSet<Ipv4Addr> {
        let legs = self.sandboxes.values().flat_map(|record| &record.sandbox.endpoints);
        let legs = legs.filter(|leg| leg.network == network.id).map(|leg| leg.address.addr());
        let ingress = self.node.as_ref().and_then(|node| node.ingress_gateway_address);
        let ingress = ingress.filter(|_| network.name == crate::names::GATEWAY_BRIDGE);
        legs.chain(network.gateway).chain(ingress).collect()
    }

    /// Whether anything is on a local network.
    pub(crate) fn in_use(&self, network: &NetworkDefinition) -> bool {
        self.used_addresses(network).iter().any(|address| Some(*address) != network.gateway)
    }
}
