//! Load balancing: two ways to do the same, behind one trait.
//!
//! Used by plan, in the namespaces that hold virtual addresses. Both spread new connections to a
//! virtual address (any port), or to a published port, round robin over the serving backends; both
//! make them appear to come from the balancer's own address, so that answers come back through it;
//! both let a backend that stopped serving keep the connections it has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skep_common::PortProtocol;

use crate::model::{Firewall, Space};
use crate::nft::ruleset::{self, Value, Verdict, rule};
use crate::nft::{Chain, Data, E, Hook, Key, Map, Rule, Ruleset};
use crate::plan::{TRANSPORTS, transports_set};
use crate::results::Backend;

/// What one namespace balances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Balancing {
    pub(crate) subnet: Ipv4Net,
    /// The address connections appear to come from.
    pub(crate) own: Ipv4Addr,
    /// The link over which published ports arrive, if they do.
    pub(crate) entry: Option<String>,
    pub(crate) services: Vec<Virtual>,
}

/// A virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Virtual {
    pub(crate) mark: u32,
    pub(crate) vip: Option<Ipv4Addr>,
    pub(crate) ports: BTreeSet<(PortProtocol, u16)>,
    /// Backends by weight: 1 serving, 0 draining.
    pub(crate) backends: BTreeMap<Ipv4Addr, u32>,
}

/// A way to balance.
pub(crate) trait LoadBalancer {
    /// Adds to a namespace what makes it balance.
    fn arrange(&self, balancing: &Balancing, space: &mut Space);
}

/// The load balancer for a back end.
pub(crate) fn load_balancer(backend: Backend) -> &'static dyn LoadBalancer {
    match backend {
        Backend::Ipvs => &IpvsBalancer,
        Backend::Nftables => &NftablesBalancer,
    }
}

const ADDRESSES: &str = "addresses";
const PORTS: &str = "ports";

/// Marks packets by rules, and leaves the rest to IPVS.
struct IpvsBalancer;

impl LoadBalancer for IpvsBalancer {
    fn arrange(&self, balancing: &Balancing, space: &mut Space) {
        let mark = |service: &Virtual| Value::Octets(service.mark.to_ne_bytes().to_vec());
        let maps = maps(balancing, Data::Mark, mark, |_| true);
        let set = |lookup: Rule| rule([lookup, vec![E::SetMark { word: 0 }]]);
        let by_address = set(rule([transports(), by_address(ADDRESSES)]));
        let by_port =
            balancing.entry.as_ref().map(|entry| set(rule([ruleset::incoming_link(entry, true), by_port(PORTS)])));
        // Only a connection's first packet meets the rules of NAT, and it still has its mark then.
        let leave = rule([ruleset::destination(balancing.subnet), ruleset::marked(), ruleset::snat(balancing.own)]);
        let mut chains = vec![Chain::base("mark", "filter", Hook::Input, -150, vec![by_address])];
        chains.extend(by_port.map(|rule| Chain::base("mark-ports", "filter", Hook::Prerouting, -150, vec![rule])));
        chains.push(Chain::base("leave", "nat", Hook::Postrouting, 100, vec![leave]));
        space.firewall = Some(Firewall::new(Ruleset { maps, chains }));
        space.services = balancing.services.iter().map(|service| (service.mark, service.backends.clone())).collect();
        for name in ["conntrack", "expire_nodest_conn", "expire_quiescent_template"] {
            space.sysctls.insert(format!("net/ipv4/vs/{name}"), "1".to_owned());
        }
        space.sysctls.insert("net/ipv4/vs/conn_reuse_mode".to_owned(), "0".to_owned());
    }
}

/// Translates destinations by a counter that goes round the backends.
struct NftablesBalancer;

impl LoadBalancer for NftablesBalancer {
    fn arrange(&self, balancing: &Balancing, space: &mut Space) {
        let jump = |service: &Virtual| Value::Verdict(Verdict::Goto(chain_name(service)));
        let mut maps = maps(balancing, Data::Verdict, jump, |service| !serving(service).is_empty());
        let mut chains = Vec::new();
        for service in balancing.services.iter().filter(|service| !serving(service).is_empty()) {
            let backends = serving(service);
            let mut numbered = Map::new(format!("__{}", chain_name(service)), &[Key::Number], Data::Address);
            for (number, backend) in (0_u32..).zip(&backends) {
                numbered.elements.push((number.to_ne_bytes().to_vec(), Value::Octets(backend.octets().to_vec())));
            }
            let modulus = u32::try_from(backends.len()).unwrap_or(u32::MAX);
            let choose =
                vec![E::NumberGenerator { modulus }, E::InMap { map: numbered.name.clone() }, E::Dnat { port: false }];
            maps.push(numbered);
            chains.push(Chain::plain(chain_name(service), vec![choose]));
        }
        let vmap = |map: &str| vec![E::VerdictMap { map: map.to_owned() }];
        let mut enter = vec![rule([transports(), vec![ruleset::load_destination(0)], vmap(ADDRESSES)])];
        if let Some(entry) = &balancing.entry {
            let port = vec![ruleset::load_protocol(0), ruleset::load_destination_port(1)];
            enter.push(rule([ruleset::incoming_link(entry, true), port, vmap(PORTS)]));
        }
        let leave = rule([ruleset::destination(balancing.subnet), ruleset::translated(), ruleset::snat(balancing.own)]);
        chains.push(Chain::base("enter", "nat", Hook::Prerouting, -100, enter));
        chains.push(Chain::base("leave", "nat", Hook::Postrouting, 100, vec![leave]));
        space.firewall = Some(Firewall::new(Ruleset { maps, chains }));
    }
}

fn serving(service: &Virtual) -> Vec<Ipv4Addr> {
    service.backends.iter().filter(|(_, weight)| **weight > 0).map(|(backend, _)| *backend).collect()
}

fn chain_name(service: &Virtual) -> String {
    format!("service-{:x}", service.mark)
}

/// The maps from virtual addresses and from published ports to services.
fn maps(
    balancing: &Balancing,
    data: Data,
    value: impl Fn(&Virtual) -> Value,
    included: impl Fn(&Virtual) -> bool,
) -> Vec<Map> {
    let mut addresses = Map::new(ADDRESSES, &[Key::Address], data);
    let mut ports = Map::new(PORTS, &[Key::Protocol, Key::Port], data);
    for service in balancing.services.iter().filter(|service| included(service)) {
        addresses.elements.extend(service.vip.map(|vip| (vip.octets().to_vec(), value(service))));
        for (protocol, port) in &service.ports {
            ports.elements.push((ruleset::port_key(*protocol, *port), value(service)));
        }
    }
    let mut maps = vec![transports_set(), addresses];
    maps.extend(balancing.entry.is_some().then_some(ports));
    maps
}

/// `meta l4proto @transports`: ping and the like are for the virtual address's holder to answer.
fn transports() -> Rule {
    vec![ruleset::load_protocol(0), E::InSet { set: TRANSPORTS.to_owned() }]
}

fn by_address(map: &str) -> Rule {
    vec![ruleset::load_destination(0), E::InMap { map: map.to_owned() }]
}

fn by_port(map: &str) -> Rule {
    vec![ruleset::load_protocol(0), ruleset::load_destination_port(1), E::InMap { map: map.to_owned() }]
}
