//! From records to what the kernel should hold. Pure: no kernel, no files.
//!
//! Called by `net` with the whole state. Each function adds to a plan what belongs to one thing (a
//! sandbox, the node), and to a scope where to look for what there is of it already.

mod firewall;
pub(crate) mod names_of;
mod node;
mod sandbox;

pub(crate) use firewall::{displaced, host_firewall};
pub(crate) use node::{balancer_place, node};
pub(crate) use sandbox::{TRANSPORTS, bridge_mtu, bridge_name, look_into, sandbox, sandbox_firewall, transports_set};

use std::collections::BTreeSet;

use crate::ids::MacAddress;
use crate::model::{Link, LinkKind, Place, Plan, PortMode, Reach, Scope};

/// One end of a pair of links to be planned.
struct End<'a> {
    place: Place,
    name: &'a str,
}

/// Plans a veth pair: the outer end a bridge's port, the inner end the namespace's own.
fn veth(plan: &mut Plan, outer: &End<'_>, bridge: &str, inner: &End<'_>, mac: MacAddress, mtu: u32, mode: PortMode) {
    let peer_of = |end: &End<'_>| Some((end.place.clone(), end.name.to_owned()));
    let port = Link {
        mtu: Some(mtu),
        master: Some(bridge.to_owned()),
        port: mode,
        ..Link::new(LinkKind::Veth { peer: peer_of(inner), outer: true })
    };
    let own =
        Link { mac: Some(mac), mtu: Some(mtu), ..Link::new(LinkKind::Veth { peer: peer_of(outer), outer: false }) };
    plan.space(&outer.place).links.insert(outer.name.to_owned(), port);
    plan.space(&inner.place).links.insert(inner.name.to_owned(), own);
}

/// The loopback, and no IPv6: addresses that nobody planned would be reachable past the rules.
fn namespace_basics(plan: &mut Plan, place: &Place) {
    let space = plan.space(place);
    space.links.insert("lo".to_owned(), Link::new(LinkKind::Loopback));
    space.sysctls.insert("net/ipv6/conf/default/disable_ipv6".to_owned(), "1".to_owned());
}

/// Looks at one more link of a namespace that is not ours alone.
pub(crate) fn look_at(scope: &mut Scope, place: &Place, link: &str) {
    let fresh = || Reach::Links { names: BTreeSet::new(), firewall: false };
    if let Reach::Links { names, .. } = scope.entry(place.clone()).or_insert_with(fresh) {
        names.insert(link.to_owned());
    }
}

/// Looks at our table of the host.
pub(crate) fn look_at_host_firewall(scope: &mut Scope) {
    let fresh = || Reach::Links { names: BTreeSet::new(), firewall: true };
    if let Reach::Links { firewall, .. } = scope.entry(Place::Host).or_insert_with(fresh) {
        *firewall = true;
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
