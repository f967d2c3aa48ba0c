//! Other programs' firewalls: a FORWARD policy of drop that our own table cannot overrule.
//!
//! Used by apply and by `diagnose`. Invariant: in a table of somebody else only rules that carry our
//! tag are added or removed.

use std::io;

use super::barrier::{self, Barrier};
use super::encode::{
    self, NFTA_CHAIN_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE, NFTA_RULE_TABLE, NFTA_RULE_USERDATA,
    NFTA_TABLE_NAME,
};
use super::ruleset;
use crate::netlink::{Attributes, NetlinkSocket};

const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";
const TAG: &str = "skep:";
const HEADER: usize = 4;

/// A tagged rule of ours in the foreign chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tagged {
    /// What it lets through: `i:LINK` or `o:LINK`.
    pub(crate) subject: String,
    pub(crate) handle: Vec<u8>,
}

/// The state of iptables' (nft variant) FORWARD chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ForwardChain {
    /// By its policy, or by a last rule that ends what is left.
    pub(crate) drops: bool,
    pub(crate) ours: Vec<Tagged>,
}

/// Reads the FORWARD chain; all empty when there is none.
pub(crate) fn forward_chain(socket: &NetlinkSocket) -> io::Result<ForwardChain> {
    let chains = socket.dump(encode::message(encode::NFT_MSG_GETCHAIN, 0))?;
    let is_there = chains.iter().any(|payload| {
        let attributes = Attributes::after(payload, HEADER);
        let is = |kind, wanted| attributes.get(kind).is_some_and(|name| name.string() == wanted);
        is(NFTA_CHAIN_TABLE, TABLE) && is(NFTA_CHAIN_NAME, CHAIN) && payload.first() == Some(&encode::NFPROTO_IPV4)
    });
    if !is_there {
        return Ok(ForwardChain::default());
    }
    let drops = barrier::barriers(socket)?.iter().any(is_forward_chain);
    let mut request = encode::message(encode::NFT_MSG_GETRULE, 0);
    request.string(NFTA_RULE_TABLE, TABLE);
    request.string(NFTA_RULE_CHAIN, CHAIN);
    let rules = socket.dump(request)?;
    let ours = rules.iter().filter_map(|payload| {
        let attributes = Attributes::after(payload, HEADER);
        let in_chain =
            attributes.get(NFTA_RULE_TABLE)?.string() == TABLE && attributes.get(NFTA_RULE_CHAIN)?.string() == CHAIN;
        let comment = attributes.get(NFTA_RULE_USERDATA)?.payload.get(2..)?;
        let comment = std::str::from_utf8(comment).ok()?.trim_end_matches('\0');
        let subject = comment.strip_prefix(TAG).filter(|_| in_chain)?.to_owned();
        Some(Tagged { subject, handle: attributes.get(NFTA_RULE_HANDLE)?.payload.to_vec() })
    });
    Ok(ForwardChain { drops, ours: ours.collect() })
}

/// Whether it is the one chain that [`let_through`] adds rules to.
pub(crate) fn is_forward_chain(barrier: &Barrier) -> bool {
    barrier.is(TABLE, CHAIN)
}

/// Brings our tagged rules to let exactly these links' traffic through.
pub(crate) fn let_through(socket: &NetlinkSocket, chain: &ForwardChain, links: &[String]) -> io::Result<()> {
    let wanted: Vec<String> = if chain.drops {
        links.iter().flat_map(|link| [format!("i:{link}"), format!("o:{link}")]).collect()
    } else {
        Vec::new()
    };
    let mut messages = Vec::new();
    for rule in chain.ours.iter().filter(|rule| !wanted.contains(&rule.subject)) {
        let mut request = encode::message(encode::NFT_MSG_DELRULE, 0);
        request.string(NFTA_RULE_TABLE, TABLE);
        request.string(NFTA_RULE_CHAIN, CHAIN);
        request.bytes(NFTA_RULE_HANDLE, &rule.handle);
        messages.push(request);
    }
    for subject in wanted.iter().filter(|subject| !chain.ours.iter().any(|rule| rule.subject == **subject)) {
        let rule = match subject.split_once(':') {
            Some(("i", link)) => ruleset::incoming_link(link, true),
            Some((_, link)) => ruleset::outgoing_link(link, true),
            None => continue,
        };
        let rule = ruleset::rule([rule, ruleset::accept()]);
        messages.push(encode::prepend_tagged_rule(TABLE, CHAIN, &rule, &format!("{TAG}{subject}")));
    }
    if messages.is_empty() {
        return Ok(());
    }
    let (begin, end) = encode::brackets();
    socket.batch(begin, messages, end).map_err(|failure| failure.source)
}

/// Names of all tables, of every family, to recognise firewall managers by.
pub(crate) fn tables(socket: &NetlinkSocket) -> io::Result<Vec<String>> {
    let payloads = socket.dump(encode::message_of_any_family(encode::NFT_MSG_GETTABLE))?;
    Ok(payloads
        .iter()
        .filter_map(|payload| Some(Attributes::after(payload, HEADER).get(NFTA_TABLE_NAME)?.string()))
        .collect())
}
