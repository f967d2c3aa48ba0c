//! Reading and replacing our table.
//!
//! Used by observe and apply. Invariants: the table is replaced in one transaction, so no packet
//! ever meets half of it; what it holds is told from the digest in the name of its one empty chain
//! and the number of its rules, so that a table flushed or altered by others is seen as changed.

use std::io;

use super::encode::{self, NFTA_CHAIN_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_TABLE_NAME};
use super::ruleset::{Chain, Ruleset};
use crate::names::TABLE;
use crate::netlink::socket::{BatchError, errno};
use crate::netlink::{Attributes, Message, NetlinkSocket};

const DIGEST_PREFIX: &str = "skep-";
/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;

/// What identifies a table's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) digest: u64,
    pub(crate) rules: usize,
}

/// A refused transaction.
#[derive(Debug)]
pub(crate) struct TableError {
    /// Which part was refused.
    pub(crate) detail: String,
    pub(crate) source: io::Error,
}

/// The fingerprint of our table; `None` when there is none, or it is not one we finished.
pub(crate) fn fingerprint(socket: &NetlinkSocket) -> io::Result<Option<Fingerprint>> {
    if !exists(socket)? {
        return Ok(None);
    }
    let chains = socket.dump(encode::message(encode::NFT_MSG_GETCHAIN, 0))?;
    let digest = chains.iter().find_map(|payload| {
        let attributes = Attributes::after(payload, HEADER);
        let ours = attributes.get(NFTA_CHAIN_TABLE)?.string() == TABLE;
        let name = attributes.get(NFTA_CHAIN_NAME)?.string();
        let digest = name.strip_prefix(DIGEST_PREFIX)?;
        ours.then(|| u64::from_str_radix(digest, 16).ok())?
    });
    // A table without the chain is ours by name but not as we made it: never equal to a plan's.
    let digest = digest.unwrap_or(0);
    let mut request = encode::message(encode::NFT_MSG_GETRULE, 0);
    request.string(NFTA_RULE_TABLE, TABLE);
    let rules = socket.dump(request)?;
    let ours = |payload: &&Vec<u8>| {
        Attributes::after(payload, HEADER).get(NFTA_RULE_TABLE).is_some_and(|table| table.string() == TABLE)
    };
    Ok(Some(Fingerprint { digest, rules: rules.iter().filter(ours).count() }))
}

fn exists(socket: &NetlinkSocket) -> io::Result<bool> {
    let mut request = encode::message(encode::NFT_MSG_GETTABLE, 0);
    request.string(NFTA_TABLE_NAME, TABLE);
    match socket.query(request) {
        Ok(_) => Ok(true),
        Err(failure) if errno(&failure) == Some(nix::libc::ENOENT) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Replaces our table by this one.
pub(crate) fn replace(socket: &NetlinkSocket, ruleset: &Ruleset) -> Result<(), TableError> {
    let mut labels = Vec::new();
    let mut messages = Vec::new();
    for (label, message) in replacement(ruleset) {
        labels.push(label);
        messages.push(message);
    }
    transact(socket, messages, &labels)
}

/// Removes our table; that there is none is fine.
pub(crate) fn remove(socket: &NetlinkSocket) -> Result<(), TableError> {
    // Adding first makes removing one that does not exist succeed.
    let messages = vec![encode::add_table(TABLE), encode::remove_table(TABLE)];
    transact(socket, messages, &["table".to_owned(), "removal of the table".to_owned()])
}

fn transact(socket: &NetlinkSocket, messages: Vec<Message>, labels: &[String]) -> Result<(), TableError> {
    let (begin, end) = encode::brackets();
    socket.batch(begin, messages, end).map_err(|BatchError { index, source }| TableError {
        detail: index.and_then(|index| labels.get(index)).cloned().unwrap_or_else(|| "transaction".to_owned()),
        source,
    })
}

/// The messages, and what each is about.
fn replacement(ruleset: &Ruleset) -> Vec<(String, Message)> {
    let mut messages = vec![
        ("table".to_owned(), encode::add_table(TABLE)),
        ("removal of the table".to_owned(), encode::remove_table(TABLE)),
        ("table".to_owned(), encode::add_table(TABLE)),
    ];
    let digest = Chain::plain(format!("{DIGEST_PREFIX}{:016x}", ruleset.digest()), Vec::new());
    for chain in std::iter::once(&digest).chain(&ruleset.chains) {
        messages.push((format!("chain {}", chain.name), encode::add_chain(TABLE, chain)));
    }
    for (map, id) in ruleset.maps.iter().zip(1..) {
        messages.push((format!("map {}", map.name), encode::add_map(TABLE, map, id)));
        let elements = encode::add_elements(TABLE, map, id);
        messages.extend(elements.into_iter().map(|message| (format!("elements of map {}", map.name), message)));
    }
    for chain in &ruleset.chains {
        for (index, rule) in chain.rules.iter().enumerate() {
            let label = format!("rule {} of chain {}", index + 1, chain.name);
            messages.push((label, encode::add_rule(TABLE, &chain.name, rule, &ruleset.maps)));
        }
    }
    messages
}
