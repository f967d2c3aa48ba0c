//! Chains of other programs that keep back what is forwarded, of every family.
//!
//! Used by `foreign` and `diagnose`. What our own table accepts still has to pass every other chain of the hook.

use std::io;

use super::encode::{
    self, NFTA_CHAIN_HOOK, NFTA_CHAIN_NAME, NFTA_CHAIN_POLICY, NFTA_CHAIN_TABLE, NFTA_DATA_VERDICT, NFTA_EXPR_DATA,
    NFTA_EXPR_NAME, NFTA_HOOK_HOOKNUM, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE, NFTA_VERDICT_CODE,
};
use super::ruleset::Hook;
use crate::names;
use crate::netlink::{Attributes, NetlinkSocket};

const HEADER: usize = 4;
const NF_DROP: u32 = 0;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_TARGET_NAME: u16 = 1;
const FAMILIES: [(u8, &str); 3] = [(1, "inet"), (2, "ip"), (7, "bridge")];

/// A base chain on the forward hook that ends what it does not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Barrier {
    pub(crate) family: &'static str,
    pub(crate) table: String,
    pub(crate) chain: String,
    /// By its policy; else by its last rule.
    pub(crate) by_policy: bool,
}

impl Barrier {
    /// Whether it is the chain of that name of a table of family ip.
    pub(crate) fn is(&self, table: &str, chain: &str) -> bool {
        (self.family, self.table.as_str(), self.chain.as_str()) == ("ip", table, chain)
    }
}

/// Every such chain that is not ours.
pub(crate) fn barriers(socket: &NetlinkSocket) -> io::Result<Vec<Barrier>> {
    let mut found = Vec::new();
    for payload in socket.dump(encode::message_of_any_family(encode::NFT_MSG_GETCHAIN))? {
        let attributes = Attributes::after(&payload, HEADER);
        let number = payload.first().copied().unwrap_or_default();
        let text = |kind| attributes.get(kind).map(|attribute| attribute.string()).unwrap_or_default();
        let Some((_, family)) = FAMILIES.iter().find(|(known, _)| *known == number) else { continue };
        let (table, chain) = (text(NFTA_CHAIN_TABLE), text(NFTA_CHAIN_NAME));
        let hook = attributes.get(NFTA_CHAIN_HOOK).and_then(|hook| hook.nested().get(NFTA_HOOK_HOOKNUM)?.u32_be());
        if hook != Some(Hook::Forward as u32) || (*family == "ip" && table == names::TABLE) {
            continue;
        }
        let by_policy = attributes.get(NFTA_CHAIN_POLICY).and_then(|policy| policy.u32_be()) == Some(NF_DROP);
        if by_policy || last_rule_ends_all(socket, number, &table, &chain)? {
            found.push(Barrier { family, table, chain, by_policy });
        }
    }
    Ok(found)
}

fn last_rule_ends_all(socket: &NetlinkSocket, family: u8, table: &str, chain: &str) -> io::Result<bool> {
    let mut request = encode::message_of_family(encode::NFT_MSG_GETRULE, family);
    request.string(NFTA_RULE_TABLE, table);
    request.string(NFTA_RULE_CHAIN, chain);
    let rules = socket.dump(request)?;
    // Kernels that ignore what was asked for tell of every chain.
    let last = rules.iter().map(|payload| Attributes::after(payload, HEADER)).rfind(|attributes| {
        let is = |kind, wanted| attributes.get(kind).is_some_and(|name| name.string() == wanted);
        is(NFTA_RULE_TABLE, table) && is(NFTA_RULE_CHAIN, chain)
    });
    Ok(last.is_some_and(|rule| ends_all(rule).unwrap_or(false)))
}

/// Whether a rule does nothing but count and end: no packet is exempt.
fn ends_all(rule: Attributes<'_>) -> Option<bool> {
    let mut ends = false;
    for element in rule.get(NFTA_RULE_EXPRESSIONS)?.nested() {
        let expression = element.nested();
        let data = || expression.get(NFTA_EXPR_DATA).map(|data| data.nested());
        ends = match expression.get(NFTA_EXPR_NAME)?.string().as_str() {
            "counter" | "log" => false,
            "reject" => true,
            // As iptables writes it.
            "target" => data()?.get(NFTA_TARGET_NAME)?.string() == "REJECT",
            "immediate" => {
                let verdict = data()?.get(NFTA_IMMEDIATE_DATA)?.nested().get(NFTA_DATA_VERDICT)?.nested();
                verdict.get(NFTA_VERDICT_CODE)?.u32_be() == Some(NF_DROP)
            }
            _ => return Some(false),
        };
    }
    Some(ends)
}
