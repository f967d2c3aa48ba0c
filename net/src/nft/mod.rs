//! nftables by netlink: our table, rendered whole and replaced in one transaction.
//!
//! `ruleset` are the types plans are made of, `encode` turns them into messages, `table` reads and
//! replaces tables, `conntrack` forgets connections, `barrier` finds other programs' chains that stand in the way, and
//! `foreign` gets past the one where that can be done.

pub(crate) mod barrier;
pub(crate) mod conntrack;
mod encode;
pub(crate) mod foreign;
pub(crate) mod ruleset;
pub(crate) mod table;

pub(crate) use ruleset::{Chain, Data, Expression as E, Hook, Key, Map, Rule, Ruleset};
