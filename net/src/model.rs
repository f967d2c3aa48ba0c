//! The objects that plans are made of, and observations too: namespaces with links, addresses,
//! routes, neighbours, rules and virtual servers.
//!
//! Made by plan (what should be) and by observe (what is); compared by diff. No kernel here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::ids::MacAddress;
use crate::ipvs::Services;
use crate::nft::Ruleset;
use crate::nft::table::Fingerprint;

/// A network namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The one this process is in.
    Host,
    /// The one whose file below RUN_ROOT/netns has this name.
    Named(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("the host's namespace"),
            Self::Named(name) => write!(f, "namespace {name}"),
        }
    }
}

/// Namespaces and what is in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    pub(crate) places: BTreeMap<Place, Space>,
}

impl Plan {
    /// The content of a namespace, which comes into being if need be.
    pub(crate) fn space(&mut self, place: &Place) -> &mut Space {
        self.places.entry(place.clone()).or_default()
    }
}

/// The content of one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Space {
    pub(crate) links: BTreeMap<String, Link>,
    pub(crate) addresses: BTreeSet<(String, Ipv4Net)>,
    pub(crate) routes: BTreeSet<Route>,
    pub(crate) neighbours: BTreeMap<(String, Ipv4Addr), MacAddress>,
    /// VXLAN forwarding entries: link and MAC address to node.
    pub(crate) forwarding: BTreeMap<(String, MacAddress), Ipv4Addr>,
    /// Paths below /proc/sys, with slashes. Observed: only those that the plan asks for.
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) firewall: Option<Firewall>,
    pub(crate) services: Services,
}

/// Our nftables table in a namespace. Equal if the fingerprints are.
#[derive(Debug, Clone)]
pub(crate) struct Firewall {
    pub(crate) fingerprint: Fingerprint,
    /// In a plan, always; observed, never.
    pub(crate) ruleset: Option<Ruleset>,
}

impl Firewall {
    pub(crate) fn new(ruleset: Ruleset) -> Self {
        let fingerprint = Fingerprint { digest: ruleset.digest(), rules: ruleset.rule_count() };
        Self { fingerprint, ruleset: Some(ruleset) }
    }
}

impl PartialEq for Firewall {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Firewall {}

/// A link. What is `None` does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) kind: LinkKind,
    pub(crate) mac: Option<MacAddress>,
    /// In octets.
    pub(crate) mtu: Option<u32>,
    /// The bridge it is a port of.
    pub(crate) master: Option<String>,
    /// How it behaves as a bridge's port.
    pub(crate) port: PortMode,
    pub(crate) up: bool,
}

impl Link {
    pub(crate) fn new(kind: LinkKind) -> Self {
        Self { kind, mac: None, mtu: None, master: None, port: PortMode::default(), up: true }
    }
}

/// How a bridge treats one of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PortMode {
    /// Exchanges no frames with the bridge's other isolated ports.
    pub(crate) isolated: bool,
    /// Frames may leave through the port they came in by.
    pub(crate) hairpin: bool,
}

/// What a link is; this cannot be changed once it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// Every namespace has one, so it is neither added nor removed.
    Loopback,
    Bridge,
    /// One end of a pair. The pair is made by the end that is `outer`.
    Veth {
        peer: Option<(Place, String)>,
        outer: bool,
    },
    /// Its packets leave through the host's namespace.
    Vxlan {
        vni: u32,
        port: u16,
        local: Ipv4Addr,
    },
    /// Seen, never planned.
    Other,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) destination: Ipv4Net,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) link: String,
}

impl Route {
    /// The default route.
    pub(crate) fn default(gateway: Ipv4Addr, link: &str) -> Self {
        Self { destination: Ipv4Net::default(), gateway: Some(gateway), link: link.to_owned() }
    }
}

/// How much of a namespace is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of it: what is not planned there goes.
    Whole,
    /// These links and the addresses on them; and our table if `firewall`.
    Links { names: BTreeSet<String>, firewall: bool },
    /// A container's: these links, default routes over them, our table. Of addresses only those
    /// planned or listed: the container may have given itself more.
    Sandbox { names: BTreeSet<String>, addresses: BTreeSet<(String, Ipv4Net)> },
}

/// What a plan is about: all that is looked at, and may be changed.
pub(crate) type Scope = BTreeMap<Place, Reach>;
