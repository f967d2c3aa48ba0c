//! nftables messages and expressions, octet for octet (linux/netfilter/nf_tables.h).
//!
//! Used by `table` and `foreign`. Invariant: only what `ruleset` can say is written, in the form
//! that kernels from 4.18 on take.

use super::ruleset::{Base, Chain, Data, Expression, Key, Map, Rule, Value, Verdict};
use crate::netlink::Message;
use crate::netlink::wire::{NLM_F_APPEND, NLM_F_CREATE};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
pub(super) const NFPROTO_IPV4: u8 = 2;

pub(super) const NFT_MSG_NEWTABLE: u16 = 0;
pub(super) const NFT_MSG_GETTABLE: u16 = 1;
pub(super) const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
pub(super) const NFT_MSG_GETCHAIN: u16 = 4;
pub(super) const NFT_MSG_NEWRULE: u16 = 6;
pub(super) const NFT_MSG_GETRULE: u16 = 7;
pub(super) const NFT_MSG_DELRULE: u16 = 8;
const NFT_MSG_NEWSET: u16 = 9;
const NFT_MSG_NEWSETELEM: u16 = 12;

pub(super) const NFTA_TABLE_NAME: u16 = 1;
pub(super) const NFTA_CHAIN_TABLE: u16 = 1;
pub(super) const NFTA_CHAIN_NAME: u16 = 3;
pub(super) const NFTA_CHAIN_HOOK: u16 = 4;
pub(super) const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
pub(super) const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
pub(super) const NFTA_RULE_TABLE: u16 = 1;
pub(super) const NFTA_RULE_CHAIN: u16 = 2;
pub(super) const NFTA_RULE_HANDLE: u16 = 3;
pub(super) const NFTA_RULE_EXPRESSIONS: u16 = 4;
pub(super) const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_LIST_ELEM: u16 = 1;
pub(super) const NFTA_EXPR_NAME: u16 = 1;
pub(super) const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
pub(super) const NFTA_DATA_VERDICT: u16 = 2;
pub(super) const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;

const NFTA_SET_USERDATA: u16 = 13;
/// For the nft tool, which shows keys: octet order (0), four octets, of this host (1).
const HOST_ORDER: [u8; 6] = [0, 4, 1, 0, 0, 0];
const NFT_SET_ANONYMOUS: u32 = 0x1;
const NFT_SET_CONSTANT: u32 = 0x2;
const NFT_SET_MAP: u32 = 0x8;
/// The kernel numbers maps of this name; they belong to the one rule that uses them.
const ANONYMOUS: &str = "__map%d";
const NFT_DATA_VERDICT_TYPE: u32 = 0xffff_ff00;
/// `NFT_REG32_00`: word n is register 8 + n.
const FIRST_WORD: u32 = 8;

/// An nftables message: type, and the header every netfilter message has.
pub(super) fn message(kind: u16, flags: u16) -> Message {
    Message::new(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, &[NFPROTO_IPV4, 0, 0, 0])
}

/// The same for objects of every family.
pub(super) fn message_of_any_family(kind: u16) -> Message {
    message_of_family(kind, 0)
}

/// The same for objects of one family, by its number.
pub(super) fn message_of_family(kind: u16, family: u8) -> Message {
    Message::new(NFNL_SUBSYS_NFTABLES << 8 | kind, 0, &[family, 0, 0, 0])
}

/// The brackets of a transaction.
pub(super) fn brackets() -> (Message, Message) {
    let subsystem = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    let header = [0, 0, subsystem[0], subsystem[1]];
    let bracket = |kind| Message::new(kind, crate::netlink::wire::NLM_F_REQUEST, &header);
    (bracket(NFNL_MSG_BATCH_BEGIN), bracket(NFNL_MSG_BATCH_END))
}

pub(super) fn add_table(name: &str) -> Message {
    let mut request = message(NFT_MSG_NEWTABLE, NLM_F_CREATE);
    request.string(NFTA_TABLE_NAME, name);
    request
}

pub(super) fn remove_table(name: &str) -> Message {
    let mut request = message(NFT_MSG_DELTABLE, 0);
    request.string(NFTA_TABLE_NAME, name);
    request
}

pub(super) fn add_chain(table: &str, chain: &Chain) -> Message {
    let mut request = message(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    request.string(NFTA_CHAIN_TABLE, table);
    request.string(NFTA_CHAIN_NAME, &chain.name);
    if let Some(Base { kind, hook, priority }) = chain.base {
        request.nest(NFTA_CHAIN_HOOK, |nest| {
            nest.u32_be(NFTA_HOOK_HOOKNUM, hook as u32);
            nest.bytes(NFTA_HOOK_PRIORITY, &priority.to_be_bytes());
        });
        request.u32_be(NFTA_CHAIN_POLICY, 1);
        request.string(NFTA_CHAIN_TYPE, kind);
    }
    request
}

/// A rule behind the others of a chain; `maps` are those of its table, numbered from 1.
pub(super) fn add_rule(table: &str, chain: &str, rule: &Rule, maps: &[Map]) -> Message {
    let mut request = message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    request.string(NFTA_RULE_TABLE, table);
    request.string(NFTA_RULE_CHAIN, chain);
    expressions(&mut request, rule, maps);
    request
}

fn kernel_name(map: &Map) -> &str {
    if map.is_anonymous() { ANONYMOUS } else { &map.name }
}

/// A rule before all others of a chain, with a tag by which it is found again.
pub(super) fn prepend_tagged_rule(table: &str, chain: &str, rule: &Rule, tag: &str) -> Message {
    let mut request = message(NFT_MSG_NEWRULE, NLM_F_CREATE);
    request.string(NFTA_RULE_TABLE, table);
    request.string(NFTA_RULE_CHAIN, chain);
    expressions(&mut request, rule, &[]);
    request.bytes(NFTA_RULE_USERDATA, &user_data(tag));
    request
}

/// A comment as the nft tool writes and shows it: type 0, length, text with NUL.
pub(super) fn user_data(comment: &str) -> Vec<u8> {
    let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
    let mut octets = vec![0, length];
    octets.extend_from_slice(comment.as_bytes());
    octets.push(0);
    octets
}

fn key_type(key: Key) -> (u32, u32) {
    match key {
        Key::Address => (7, 4),
        Key::Protocol => (12, 4),
        Key::Port => (13, 4),
        Key::Number => (4, 4),
        Key::Link => (41, 16),
    }
}

pub(super) fn add_map(table: &str, map: &Map, id: u32) -> Message {
    // A lone short key has its own length; in a concatenation each part fills its words.
    let alone = |key: &Key| match key {
        Key::Protocol => 1,
        Key::Port => 2,
        other => key_type(*other).1,
    };
    let length = match map.key.as_slice() {
        [key] => alone(key),
        keys => keys.iter().map(|key| key_type(*key).1).sum(),
    };
    let kind = map.key.iter().fold(0, |kind, key| kind << 6 | key_type(*key).0);
    let data = match map.data {
        Data::None => None,
        Data::Address => Some((7, 4)),
        Data::AddressAndPort => Some((7 << 6 | 13, 8)),
        Data::Mark => Some((19, 4)),
        Data::Verdict => Some((NFT_DATA_VERDICT_TYPE, 0)),
    };
    let mut request = message(NFT_MSG_NEWSET, NLM_F_CREATE);
    let anonymous = if map.is_anonymous() { NFT_SET_ANONYMOUS | NFT_SET_CONSTANT } else { 0 };
    request.string(1, table);
    request.string(2, kernel_name(map));
    request.u32_be(3, anonymous | if data.is_some() { NFT_SET_MAP } else { 0 });
    request.u32_be(4, kind);
    request.u32_be(5, length);
    if let Some((kind, length)) = data {
        request.u32_be(6, kind);
        request.u32_be(7, length);
    }
    request.u32_be(10, id);
    if map.key == [Key::Number] {
        request.bytes(NFTA_SET_USERDATA, &HOST_ORDER);
    }
    request
}

/// The elements of a map, in as many messages as their lengths (16 bits) need.
pub(super) fn add_elements(table: &str, map: &Map, id: u32) -> Vec<Message> {
    let one = |elements: &[(Vec<u8>, Value)]| {
        let mut request = message(NFT_MSG_NEWSETELEM, NLM_F_CREATE);
        request.string(1, table);
        request.string(2, kernel_name(map));
        request.u32_be(4, id);
        request.nest(3, |list| {
            for (key, value) in elements {
                list.nest(NFTA_LIST_ELEM, |element| {
                    element.nest(1, |nest| nest.bytes(NFTA_DATA_VALUE, key));
                    match value {
                        Value::None => {}
                        Value::Octets(octets) => element.nest(2, |nest| nest.bytes(NFTA_DATA_VALUE, octets)),
                        Value::Verdict(verdict) => element.nest(2, |nest| put_verdict(nest, verdict)),
                    }
                });
            }
        });
        request
    };
    map.elements.chunks(400).map(one).collect()
}

fn expressions(request: &mut Message, rule: &Rule, maps: &[Map]) {
    request.nest(NFTA_RULE_EXPRESSIONS, |list| {
        for expression in rule {
            list.nest(NFTA_LIST_ELEM, |element| {
                element.string(NFTA_EXPR_NAME, name(expression));
                element.nest(NFTA_EXPR_DATA, |data| put(data, expression, maps));
            });
        }
    });
}

fn name(expression: &Expression) -> &'static str {
    match expression {
        Expression::Meta { .. } | Expression::SetMark { .. } => "meta",
        Expression::Conntrack { .. } => "ct",
        Expression::DestinationType { .. } => "fib",
        Expression::Payload { .. } => "payload",
        Expression::Compare { .. } => "cmp",
        Expression::Mask { .. } => "bitwise",
        Expression::Immediate { .. } | Expression::Verdict(_) => "immediate",
        Expression::NumberGenerator { .. } => "numgen",
        Expression::InSet { .. } | Expression::InMap { .. } | Expression::VerdictMap { .. } => "lookup",
        Expression::Dnat { .. } | Expression::Snat => "nat",
        Expression::Masquerade => "masq",
        Expression::Redirect => "redir",
    }
}

fn put(data: &mut Message, expression: &Expression, maps: &[Map]) {
    match expression {
        Expression::Meta { key, word } | Expression::Conntrack { key, word } => {
            data.u32_be(1, FIRST_WORD + word);
            data.u32_be(2, *key);
        }
        Expression::SetMark { word } => {
            data.u32_be(2, 3);
            data.u32_be(3, FIRST_WORD + word);
        }
        Expression::DestinationType { word } => {
            data.u32_be(1, FIRST_WORD + word);
            data.u32_be(2, 3);
            data.u32_be(3, 2);
        }
        Expression::Payload { base, offset, length, word } => {
            for (kind, value) in [(1, FIRST_WORD + word), (2, *base), (3, *offset), (4, *length)] {
                data.u32_be(kind, value);
            }
        }
        Expression::Compare { equal, value } => {
            data.u32_be(1, FIRST_WORD);
            data.u32_be(2, u32::from(!equal));
            data.nest(3, |nest| nest.bytes(NFTA_DATA_VALUE, value));
        }
        Expression::Mask { mask } => {
            data.u32_be(1, FIRST_WORD);
            data.u32_be(2, FIRST_WORD);
            data.u32_be(3, u32::try_from(mask.len()).unwrap_or(u32::MAX));
            data.nest(4, |nest| nest.bytes(NFTA_DATA_VALUE, mask));
            data.nest(5, |nest| nest.bytes(NFTA_DATA_VALUE, &vec![0; mask.len()]));
        }
        Expression::Immediate { word, value } => {
            data.u32_be(1, FIRST_WORD + word);
            data.nest(2, |nest| nest.bytes(NFTA_DATA_VALUE, value));
        }
        Expression::NumberGenerator { modulus } => {
            data.u32_be(1, FIRST_WORD);
            data.u32_be(2, *modulus);
            data.u32_be(3, 0);
            data.u32_be(4, 0);
        }
        Expression::InSet { set } => put_lookup(data, set, None, maps),
        Expression::InMap { map } => put_lookup(data, map, Some(FIRST_WORD), maps),
        Expression::VerdictMap { map } => put_lookup(data, map, Some(0), maps),
        Expression::Dnat { port } => put_nat(data, 1, *port),
        Expression::Snat => put_nat(data, 0, false),
        Expression::Masquerade => {}
        Expression::Redirect => data.u32_be(1, FIRST_WORD),
        Expression::Verdict(verdict) => {
            data.u32_be(1, 0);
            data.nest(2, |nest| put_verdict(nest, verdict));
        }
    }
}

fn put_lookup(data: &mut Message, set: &str, target: Option<u32>, maps: &[Map]) {
    let found = (1..).zip(maps).find(|(_, map)| map.name == set);
    data.string(1, found.map_or(set, |(_, map)| kernel_name(map)));
    data.u32_be(2, FIRST_WORD);
    if let Some(register) = target {
        data.u32_be(3, register);
    }
    if let Some((id, _)) = found {
        data.u32_be(4, id);
    }
}

fn put_nat(data: &mut Message, kind: u32, port: bool) {
    data.u32_be(1, kind);
    data.u32_be(2, u32::from(NFPROTO_IPV4));
    data.u32_be(3, FIRST_WORD);
    if port {
        data.u32_be(5, FIRST_WORD + 1);
    }
}

fn put_verdict(data: &mut Message, verdict: &Verdict) {
    data.nest(NFTA_DATA_VERDICT, |nest| match verdict {
        Verdict::Drop => nest.u32_be(NFTA_VERDICT_CODE, 0),
        Verdict::Accept => nest.u32_be(NFTA_VERDICT_CODE, 1),
        Verdict::Goto(chain) => {
            nest.bytes(NFTA_VERDICT_CODE, &(-4_i32).to_be_bytes());
            nest.string(NFTA_VERDICT_CHAIN, chain);
        }
    });
}
