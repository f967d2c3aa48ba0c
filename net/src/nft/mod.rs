//! nftables by netlink: our table, rendered whole and replaced in one transaction.
//!
//! `ruleset` are the types plans are made of, `encode` turns them into messages, `table` reads and
//! replaces tables, `conntrack` forgets connections, `foreign` deals with other programs' FORWARD policies.

pub(crate) mod conntrack;
mod encode;
pub(crate) mod foreign;
pub(crate) mod ruleset;
pub(crate) mod table;

pub(crate) use ruleset::{Chain, Data, Expression as E, Hook, Key, Map, Rule, Ruleset};
