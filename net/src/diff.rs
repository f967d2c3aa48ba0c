//! From what is to what should be: the operations, in order. Pure.
//!
//! Used by every change. Order: what carries traffic to things goes before the things, removals
//! (and drains) before additions; namespaces first of what comes and last of what goes; rules are in place
//! before a link comes up. Properties (tested): nothing to do when nothing differs; carrying the
//! operations out reaches the plan.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::ids::MacAddress;
use crate::model::{Link, LinkKind, Place, Plan, Route, Space};
use crate::nft::Ruleset;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    AddNamespace {
        name: String,
    },
    RemoveNamespace {
        name: String,
    },
    RemoveService {
        place: Place,
        mark: u32,
    },
    RemoveBackend {
        place: Place,
        mark: u32,
        backend: Ipv4Addr,
    },
    RemoveNeighbour {
        place: Place,
        link: String,
        address: Ipv4Addr,
        mac: MacAddress,
    },
    RemoveForwarding {
        place: Place,
        link: String,
        mac: MacAddress,
        node: Ipv4Addr,
    },
    RemoveRoute {
        place: Place,
        route: Route,
    },
    RemoveAddress {
        place: Place,
        link: String,
        address: Ipv4Net,
    },
    RemoveLink {
        place: Place,
        link: String,
    },
    RemoveFirewall {
        place: Place,
    },
    /// Makes a link, down; a pair of veths by its outer end.
    AddLink {
        place: Place,
        name: String,
        link: Link,
        inner_mac: Option<MacAddress>,
    },
    /// Sets everything of a link that can be set, but for up.
    ChangeLink {
        place: Place,
        name: String,
        link: Link,
    },
    AddAddress {
        place: Place,
        link: String,
        address: Ipv4Net,
    },
    SetNeighbour {
        place: Place,
        link: String,
        address: Ipv4Addr,
        mac: MacAddress,
    },
    SetForwarding {
        place: Place,
        link: String,
        mac: MacAddress,
        node: Ipv4Addr,
    },
    SetSysctl {
        place: Place,
        name: String,
        value: String,
    },
    SetFirewall {
        place: Place,
        ruleset: Ruleset,
    },
    AddService {
        place: Place,
        mark: u32,
    },
    SetBackend {
        place: Place,
        mark: u32,
        backend: Ipv4Addr,
        weight: u32,
    },
    RaiseLink {
        place: Place,
        link: String,
        up: bool,
    },
    AddRoute {
        place: Place,
        route: Route,
    },
}

impl Op {
    /// The namespace that is changed.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::AddNamespace { name } | Self::RemoveNamespace { name } => Place::Named(name.clone()),
            Self::RemoveService { place, .. }
            | Self::RemoveBackend { place, .. }
            | Self::RemoveNeighbour { place, .. }
            | Self::RemoveForwarding { place, .. }
            | Self::RemoveRoute { place, .. }
            | Self::RemoveAddress { place, .. }
            | Self::RemoveLink { place, .. }
            | Self::RemoveFirewall { place }
            | Self::AddLink { place, .. }
            | Self::ChangeLink { place, .. }
            | Self::AddAddress { place, .. }
            | Self::SetNeighbour { place, .. }
            | Self::SetForwarding { place, .. }
            | Self::SetSysctl { place, .. }
            | Self::SetFirewall { place, .. }
            | Self::AddService { place, .. }
            | Self::SetBackend { place, .. }
            | Self::RaiseLink { place, .. }
            | Self::AddRoute { place, .. } => place.clone(),
        }
    }

    /// The link that is changed, or on which something is.
    pub(crate) fn link(&self) -> Option<&str> {
        match self {
            Self::RemoveNeighbour { link, .. }
            | Self::RemoveForwarding { link, .. }
            | Self::RemoveAddress { link, .. }
            | Self::RemoveLink { link, .. }
            | Self::AddAddress { link, .. }
            | Self::SetNeighbour { link, .. }
            | Self::SetForwarding { link, .. }
            | Self::RaiseLink { link, .. } => Some(link),
            Self::AddLink { name, .. } | Self::ChangeLink { name, .. } => Some(name),
            Self::RemoveRoute { route, .. } | Self::AddRoute { route, .. } => Some(&route.link),
            Self::AddNamespace { .. }
            | Self::RemoveNamespace { .. }
            | Self::RemoveService { .. }
            | Self::RemoveBackend { .. }
            | Self::RemoveFirewall { .. }
            | Self::SetSysctl { .. }
            | Self::SetFirewall { .. }
            | Self::AddService { .. }
            | Self::SetBackend { .. } => None,
        }
    }
}

/// What has to be done for `observed` to become `desired`.
pub(crate) fn diff(observed: &Plan, desired: &Plan) -> Vec<Op> {
    let mut ops = Vec::new();
    let nothing = Space::default();
    for place in desired.places.keys().filter(|place| !observed.places.contains_key(place)) {
        if let Place::Named(name) = place {
            ops.push(Op::AddNamespace { name: name.clone() });
        }
    }
    let mut places: Vec<&Place> = observed.places.keys().chain(desired.places.keys()).collect();
    places.sort();
    places.dedup();
    let of = |plan: &'_ Plan, place: &Place| plan.places.get(place).cloned().unwrap_or_else(|| nothing.clone());
    let pairs: Vec<(&Place, Space, Space)> =
        places.iter().map(|place| (*place, of(observed, place), of(desired, place))).collect();
    for (place, old, new) in &pairs {
        remove_traffic(place, old, new, &mut ops);
    }
    for (place, old, new) in &pairs {
        replace_rules(place, old, new, &mut ops);
    }
    for (place, old, new) in &pairs {
        remove_links(place, old, new, &mut ops);
    }
    for (place, old, new) in &pairs {
        set_defaults(place, old, new, &mut ops);
    }
    for (place, old, new) in &pairs {
        add_links(place, old, new, desired, &mut ops);
    }
    for (place, old, new) in &pairs {
        add_content(place, old, new, &mut ops);
    }
    for (place, old, new) in &pairs {
        add_traffic(place, old, new, &mut ops);
    }
    for place in observed.places.keys().filter(|place| !desired.places.contains_key(place)) {
        if let Place::Named(name) = place {
            ops.push(Op::RemoveNamespace { name: name.clone() });
        }
    }
    ops
}

/// Whether the link has to be made anew.
fn replaced(old: &Link, new: &Link) -> bool {
    old.kind != new.kind
}

/// Whether a link that stays, or comes, has to be changed.
fn changed(old: &Link, new: &Link) -> bool {
    (new.mac.is_some() && old.mac != new.mac)
        || (new.mtu.is_some() && old.mtu != new.mtu)
        || (new.master.is_some() && old.master != new.master)
        || old.port != new.port
}

/// Links of `old` that go, alone or to be made anew: what hangs on them goes by itself.
fn survives(name: &str, old: &Space, new: &Space) -> bool {
    match (old.links.get(name), new.links.get(name)) {
        (Some(old), Some(new)) => !replaced(old, new),
        _ => false,
    }
}

fn remove_traffic(place: &Place, old: &Space, new: &Space, ops: &mut Vec<Op>) {
    let at = || place.clone();
    for (mark, backends) in &old.services {
        let Some(wanted) = new.services.get(mark) else {
            ops.push(Op::RemoveService { place: at(), mark: *mark });
            continue;
        };
        for (backend, weight) in backends {
            match wanted.get(backend) {
                None => ops.push(Op::RemoveBackend { place: at(), mark: *mark, backend: *backend }),
                Some(0) if *weight != 0 => ops.push(drain(place, *mark, *backend)),
                Some(_) => {}
            }
        }
    }
    let stays = |link: &String| survives(link, old, new);
    for ((link, address), mac) in &old.neighbours {
        if stays(link) && !new.neighbours.contains_key(&(link.clone(), *address)) {
            ops.push(Op::RemoveNeighbour { place: at(), link: link.clone(), address: *address, mac: *mac });
        }
    }
    for ((link, mac), node) in &old.forwarding {
        if stays(link) && new.forwarding.get(&(link.clone(), *mac)) != Some(node) {
            ops.push(Op::RemoveForwarding { place: at(), link: link.clone(), mac: *mac, node: *node });
        }
    }
    for route in old.routes.difference(&new.routes).filter(|route| stays(&route.link)) {
        ops.push(Op::RemoveRoute { place: at(), route: route.clone() });
    }
    for (link, address) in old.addresses.difference(&new.addresses).filter(|(link, _)| stays(link)) {
        ops.push(Op::RemoveAddress { place: at(), link: link.clone(), address: *address });
    }
    if old.firewall.is_some() && new.firewall.is_none() {
        ops.push(Op::RemoveFirewall { place: at() });
    }
}

/// Rules of a namespace whose links stay: they may lead traffic away from what goes, and wait for nothing that comes.
fn replace_rules(place: &Place, old: &Space, new: &Space, ops: &mut Vec<Op>) {
    if rules_come_first(old, new)
        && let Some(firewall) = new.firewall.as_ref().filter(|_| old.firewall != new.firewall)
    {
        ops.push(Op::SetFirewall { place: place.clone(), ruleset: firewall.ruleset.clone().unwrap_or_default() });
    }
}

fn rules_come_first(old: &Space, new: &Space) -> bool {
    old.firewall.is_some() && new.links.keys().all(|link| survives(link, old, new))
}

/// Lets a backend end what it has, and takes nothing new to it.
fn drain(place: &Place, mark: u32, backend: Ipv4Addr) -> Op {
    Op::SetBackend { place: place.clone(), mark, backend, weight: 0 }
}

/// Links that go. One end of a pair of veths takes the other along; that both are named is fine.
fn remove_links(place: &Place, old: &Space, new: &Space, ops: &mut Vec<Op>) {
    for (name, link) in &old.links {
        if link.kind != LinkKind::Loopback && !survives(name, old, new) {
            ops.push(Op::RemoveLink { place: place.clone(), link: name.clone() });
        }
    }
}

/// Settings of the namespace, which new links inherit.
fn set_defaults(place: &Place, old: &Space, new: &Space, ops: &mut Vec<Op>) {
    for (name, value) in new.sysctls.iter().filter(|(name, _)| link_of(name, new).is_none()) {
        if old.sysctls.get(name) != Some(value) {
            ops.push(Op::SetSysctl { place: place.clone(), name: name.clone(), value: value.clone() });
        }
    }
}

/// The link whose setting this is.
fn link_of<'a>(sysctl: &str, space: &'a Space) -> Option<&'a String> {
    space.links.keys().find(|link| sysctl.split('/').any(|part| part == link.as_str()))
}

fn add_links(place: &Place, old: &Space, new: &Space, desired: &Plan, ops: &mut Vec<Op>) {
    // Bridges first: they are what the others become ports of.
    let rank = |link: &Link| u8::from(link.kind != LinkKind::Bridge);
    let mut links: Vec<(&String, &Link)> = new.links.iter().collect();
    links.sort_by_key(|(name, link)| (rank(link), *name));
    for (name, link) in links {
        let fresh = !survives(name, old, new);
        let inner = matches!(link.kind, LinkKind::Veth { outer: false, .. });
        if fresh && !inner && link.kind != LinkKind::Loopback {
            let inner_mac = match &link.kind {
                LinkKind::Veth { peer: Some((other, peer)), .. } => {
                    desired.places.get(other).and_then(|space| space.links.get(peer)).and_then(|peer| peer.mac)
                }
                _ => None,
            };
            ops.push(Op::AddLink { place: place.clone(), name: name.clone(), link: link.clone(), inner_mac });
        }
        let change = match old.links.get(name).filter(|_| !fresh) {
            Some(before) => changed(before, link),
            None => link.master.is_some(),
        };
        if change {
            ops.push(Op::ChangeLink { place: place.clone(), name: name.clone(), link: link.clone() });
        }
    }
}

fn add_content(place: &Place, old: &Space, new: &Space, ops: &mut Vec<Op>) {
    let at = || place.clone();
    let kept = |link: &String| survives(link, old, new);
    for (link, address) in &new.addresses {
        if !(kept(link) && old.addresses.contains(&(link.clone(), *address))) {
            ops.push(Op::AddAddress { place: at(), link: link.clone(), address: *address });
        }
    }
    for ((link, address), mac) in &new.neighbours {
        if !(kept(link) && old.neighbours.get(&(link.clone(), *address)) == Some(mac)) {
            ops.push(Op::SetNeighbour { place: at(), link: link.clone(), address: *address, mac: *mac });
        }
    }
    for ((link, mac), node) in &new.forwarding {
        if !(kept(link) && old.forwarding.get(&(link.clone(), *mac)) == Some(node)) {
            ops.push(Op::SetForwarding { place: at(), link: link.clone(), mac: *mac, node: *node });
        }
    }
    for (name, value) in &new.sysctls {
        // A link made anew brings its settings back to their defaults.
        let Some(link) = link_of(name, new) else { continue };
        if !kept(link) || old.sysctls.get(name) != Some(value) {
            ops.push(Op::SetSysctl { place: at(), name: name.clone(), value: value.clone() });
        }
    }
    let later = new.firewall.as_ref().filter(|_| old.firewall != new.firewall && !rules_come_first(old, new));
    if let Some(firewall) = later {
        let ruleset = firewall.ruleset.clone().unwrap_or_default();
        ops.push(Op::SetFirewall { place: at(), ruleset });
    }
}

fn add_traffic(place: &Place, old: &Space, new: &Space, ops: &mut Vec<Op>) {
    let at = || place.clone();
    let kept = |link: &String| survives(link, old, new);
    for (name, link) in &new.links {
        let before = old.links.get(name).filter(|_| kept(name));
        if before.map_or(link.up, |before| before.up != link.up) {
            ops.push(Op::RaiseLink { place: at(), link: name.clone(), up: link.up });
        }
    }
    for route in &new.routes {
        if !(kept(&route.link) && old.routes.contains(route)) {
            ops.push(Op::AddRoute { place: at(), route: route.clone() });
        }
    }
    for (mark, backends) in &new.services {
        let before = old.services.get(mark);
        if before.is_none() {
            ops.push(Op::AddService { place: at(), mark: *mark });
        }
        for (backend, weight) in backends {
            let known = before.and_then(|before| before.get(backend));
            let drained = *weight == 0 && known.is_some();
            if known != Some(weight) && !drained {
                ops.push(Op::SetBackend { place: at(), mark: *mark, backend: *backend, weight: *weight });
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
