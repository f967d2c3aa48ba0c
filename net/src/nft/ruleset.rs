//! An nftables table as a value: chains, maps, rules, expressions.
//!
//! Made by plan, compared by diff through its digest, encoded by `encode`. Family is always `ip`:
//! kernels below 5.2 do no NAT in `inet` tables.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skep_common::PortProtocol;

use crate::names;

/// A whole table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ruleset {
    pub(crate) maps: Vec<Map>,
    /// Chains without a hook come before those that jump to them.
    pub(crate) chains: Vec<Chain>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: String,
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

/// Where a base chain hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base {
    /// "filter" or "nat".
    pub(crate) kind: &'static str,
    pub(crate) hook: Hook,
    pub(crate) priority: i32,
}

/// Netfilter's hooks, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// A rule: matches, then statements.
pub(crate) type Rule = Vec<Expression>;

/// What an element of a map is looked up by, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Address,
    Protocol,
    Port,
    /// A number in the host's octet order.
    Number,
    Link,
}

/// What a map holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    /// Nothing: a set.
    None,
    Address,
    AddressAndPort,
    Mark,
    Verdict,
}

/// A named set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) name: String,
    pub(crate) key: Vec<Key>,
    pub(crate) data: Data,
    pub(crate) elements: Vec<(Vec<u8>, Value)>,
}

/// The value of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    None,
    Octets(Vec<u8>),
    Verdict(Verdict),
}

/// How a packet goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Goto(String),
}

/// One expression of a rule. Registers are 32-bit words, numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Loads packet metadata.
    Meta { key: u32, word: u32 },
    /// Sets the packet's mark.
    SetMark { word: u32 },
    /// Loads a conntrack key.
    Conntrack { key: u32, word: u32 },
    /// Loads the type of the packet's destination address (local, unicast, …).
    DestinationType { word: u32 },
    /// Loads octets of the network (1) or transport (2) header.
    Payload { base: u32, offset: u32, length: u32, word: u32 },
    /// Ends the rule unless word 0 on equals (or differs from) this.
    Compare { equal: bool, value: Vec<u8> },
    /// Masks word 0 on.
    Mask { mask: Vec<u8> },
    /// Loads a constant.
    Immediate { word: u32, value: Vec<u8> },
    /// Counts up modulo.
    NumberGenerator { modulus: u32 },
    /// Ends the rule unless word 0 on is in the set.
    InSet { set: String },
    /// Replaces word 0 on by the map's value, or ends the rule.
    InMap { map: String },
    /// Takes the map's verdict, if there is one.
    VerdictMap { map: String },
    /// Destination NAT to the address in word 0, and the port in word 1 if `port`.
    Dnat { port: bool },
    /// Source NAT to the address in word 0.
    Snat,
    /// Source NAT to the outgoing link's address.
    Masquerade,
    /// Destination NAT to this machine, port in word 0.
    Redirect,
    /// Ends the rule with a verdict.
    Verdict(Verdict),
}

/// `NFT_META_MARK` and its kin, linux/netfilter/nf_tables.h.
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const SOURCE_OFFSET: u32 = 12;
const DESTINATION_OFFSET: u32 = 16;
const STATE_ESTABLISHED: u32 = 2;
const STATE_RELATED: u32 = 4;
const STATE_NEW: u32 = 8;
const STATUS_DNAT: u32 = 0x20;
const ADDRESS_LOCAL: u32 = 2;

impl Chain {
    /// A chain on a hook.
    pub(crate) fn base(name: &str, kind: &'static str, hook: Hook, priority: i32, rules: Vec<Rule>) -> Self {
        Self { name: name.to_owned(), base: Some(Base { kind, hook, priority }), rules }
    }

    /// A chain that others jump to.
    pub(crate) fn plain(name: String, rules: Vec<Rule>) -> Self {
        Self { name, base: None, rules }
    }
}

impl Map {
    pub(crate) fn new(name: impl Into<String>, key: &[Key], data: Data) -> Self {
        Self { name: name.into(), key: key.to_vec(), data, elements: Vec::new() }
    }

    /// Whether it belongs to a single rule: its name, ours alone, begins with two underscores.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.name.starts_with("__")
    }
}

impl Ruleset {
    /// A digest of everything in it, which is kept in the kernel as the name of an empty chain.
    pub(crate) fn digest(&self) -> u64 {
        names::digest(&[&format!("{self:?}")])
    }

    /// How many rules it has.
    pub(crate) fn rule_count(&self) -> usize {
        self.chains.iter().map(|chain| chain.rules.len()).sum()
    }
}

/// The octets of one part of a key, padded as the kernel's registers are.
pub(crate) fn word_of(value: &[u8]) -> Vec<u8> {
    let mut octets = value.to_vec();
    octets.resize(value.len().next_multiple_of(4), 0);
    octets
}

/// The key `protocol . port`.
pub(crate) fn port_key(protocol: PortProtocol, port: u16) -> Vec<u8> {
    [word_of(&[protocol.number()]), word_of(&port.to_be_bytes())].concat()
}

/// The value `address . port`.
pub(crate) fn address_and_port(address: Ipv4Addr, port: u16) -> Value {
    Value::Octets([word_of(&address.octets()), word_of(&port.to_be_bytes())].concat())
}

fn link_name(name: &str) -> Vec<u8> {
    let mut octets = name.as_bytes().to_vec();
    octets.resize(16, 0);
    octets
}

/// The key of a set of link names.
pub(crate) fn link_key(name: &str) -> Vec<u8> {
    link_name(name)
}

/// `fib daddr type local`.
pub(crate) fn to_this_machine() -> Rule {
    vec![
        Expression::DestinationType { word: 0 },
        Expression::Compare { equal: true, value: ADDRESS_LOCAL.to_ne_bytes().to_vec() },
    ]
}

/// `iifname NAME`, or `iifname != NAME`.
pub(crate) fn incoming_link(name: &str, equal: bool) -> Rule {
    vec![Expression::Meta { key: META_IIFNAME, word: 0 }, Expression::Compare { equal, value: link_name(name) }]
}

/// `oifname NAME`, or `oifname != NAME`.
pub(crate) fn outgoing_link(name: &str, equal: bool) -> Rule {
    vec![Expression::Meta { key: META_OIFNAME, word: 0 }, Expression::Compare { equal, value: link_name(name) }]
}

/// `oifname @SET`.
pub(crate) fn outgoing_link_in(set: &str) -> Rule {
    vec![Expression::Meta { key: META_OIFNAME, word: 0 }, Expression::InSet { set: set.to_owned() }]
}

fn address_in(offset: u32, net: Ipv4Net) -> Rule {
    let mut rule = vec![Expression::Payload { base: NETWORK_HEADER, offset, length: 4, word: 0 }];
    if net.prefix_len() < 32 {
        rule.push(Expression::Mask { mask: net.netmask().octets().to_vec() });
    }
    rule.push(Expression::Compare { equal: true, value: net.network().octets().to_vec() });
    rule
}

/// `ip saddr NET`.
pub(crate) fn source(net: Ipv4Net) -> Rule {
    address_in(SOURCE_OFFSET, net)
}

/// `ip daddr NET`.
pub(crate) fn destination(net: Ipv4Net) -> Rule {
    address_in(DESTINATION_OFFSET, net)
}

/// Loads the destination address.
pub(crate) fn load_destination(word: u32) -> Expression {
    Expression::Payload { base: NETWORK_HEADER, offset: DESTINATION_OFFSET, length: 4, word }
}

/// Loads the transport protocol.
pub(crate) fn load_protocol(word: u32) -> Expression {
    Expression::Meta { key: META_L4PROTO, word }
}

/// Loads the destination port.
pub(crate) fn load_destination_port(word: u32) -> Expression {
    Expression::Payload { base: TRANSPORT_HEADER, offset: 2, length: 2, word }
}

/// `meta l4proto PROTOCOL`.
pub(crate) fn protocol(protocol: PortProtocol) -> Rule {
    vec![load_protocol(0), Expression::Compare { equal: true, value: vec![protocol.number()] }]
}

/// `th dport PORT`.
pub(crate) fn destination_port(port: u16) -> Rule {
    vec![load_destination_port(0), Expression::Compare { equal: true, value: port.to_be_bytes().to_vec() }]
}

/// `th sport PORT`.
pub(crate) fn source_port(port: u16) -> Rule {
    vec![
        Expression::Payload { base: TRANSPORT_HEADER, offset: 0, length: 2, word: 0 },
        Expression::Compare { equal: true, value: port.to_be_bytes().to_vec() },
    ]
}

fn conntrack_has(key: u32, bits: u32) -> Rule {
    vec![
        Expression::Conntrack { key, word: 0 },
        Expression::Mask { mask: bits.to_ne_bytes().to_vec() },
        Expression::Compare { equal: false, value: vec![0; 4] },
    ]
}

/// `ct state established,related`.
pub(crate) fn established() -> Rule {
    conntrack_has(CT_STATE, STATE_ESTABLISHED | STATE_RELATED)
}

/// `ct state new,established`.
pub(crate) fn new_or_established() -> Rule {
    conntrack_has(CT_STATE, STATE_NEW | STATE_ESTABLISHED)
}

/// `ct status dnat`.
pub(crate) fn translated() -> Rule {
    conntrack_has(CT_STATUS, STATUS_DNAT)
}

/// `meta mark != 0`.
pub(crate) fn marked() -> Rule {
    vec![Expression::Meta { key: META_MARK, word: 0 }, Expression::Compare { equal: false, value: vec![0; 4] }]
}

/// Source NAT to an address.
pub(crate) fn snat(address: Ipv4Addr) -> Rule {
    vec![Expression::Immediate { word: 0, value: address.octets().to_vec() }, Expression::Snat]
}

/// Destination NAT to an address and a port.
pub(crate) fn dnat(address: Ipv4Addr, port: u16) -> Rule {
    vec![
        Expression::Immediate { word: 0, value: address.octets().to_vec() },
        Expression::Immediate { word: 1, value: port.to_be_bytes().to_vec() },
        Expression::Dnat { port: true },
    ]
}

/// Destination NAT to this machine's port.
pub(crate) fn redirect(port: u16) -> Rule {
    vec![Expression::Immediate { word: 0, value: port.to_be_bytes().to_vec() }, Expression::Redirect]
}

/// A verdict.
pub(crate) fn accept() -> Rule {
    vec![Expression::Verdict(Verdict::Accept)]
}

/// A verdict.
pub(crate) fn discard() -> Rule {
    vec![Expression::Verdict(Verdict::Drop)]
}

/// The parts one after the other.
pub(crate) fn rule<const N: usize>(parts: [Rule; N]) -> Rule {
    parts.concat()
}
