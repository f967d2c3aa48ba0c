//! A model of the kernel, and the properties of diff against it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::apply::{self, Kernel};
use crate::error::{Error, Result};
use crate::model::{Firewall, PortMode};
use crate::nft::Chain;

/// Namespaces that obey the kernel's rules: what hangs on something needs it to be there.
pub(crate) struct Model(pub(crate) Plan);

impl Model {
    fn refuse(what: &str) -> Result<()> {
        Err(Error::InvalidIntent { subject: "model".to_owned(), reason: what.to_owned() })
    }

    fn with_link(&mut self, place: &Place, link: &str, change: impl FnOnce(&mut Space)) -> Result<()> {
        match self.0.places.get_mut(place) {
            Some(space) if space.links.contains_key(link) => {
                change(space);
                Ok(())
            }
            _ => Self::refuse(link),
        }
    }

    fn drop_link(&mut self, place: &Place, name: &str) {
        let Some(space) = self.0.places.get_mut(place) else { return };
        let Some(link) = space.links.remove(name) else { return };
        space.addresses.retain(|(on, _)| on != name);
        space.routes.retain(|route| route.link != name);
        space.neighbours.retain(|(on, _), _| on != name);
        space.forwarding.retain(|(on, _), _| on != name);
        space.sysctls.retain(|key, _| !key.contains(&format!("/{name}/")));
        for other in space.links.values_mut().filter(|other| other.master.as_deref() == Some(name)) {
            other.master = None;
        }
        if let LinkKind::Veth { peer: Some((other, peer)), .. } = link.kind {
            self.drop_link(&other, &peer);
        }
    }

    fn add_link(&mut self, place: &Place, name: &str, link: &Link, inner_mac: Option<MacAddress>) -> Result<()> {
        let made = Link { up: false, master: None, port: PortMode::default(), ..link.clone() };
        if let LinkKind::Veth { peer: Some((other, peer)), .. } = &link.kind {
            let kind = LinkKind::Veth { peer: Some((place.clone(), name.to_owned())), outer: false };
            let inner = Link { mac: inner_mac, mtu: link.mtu, up: false, ..Link::new(kind) };
            self.insert(other, peer, inner)?;
        }
        self.insert(place, name, made)
    }

    fn insert(&mut self, place: &Place, name: &str, link: Link) -> Result<()> {
        let taken = self.0.places.get_mut(place).map(|space| space.links.insert(name.to_owned(), link));
        if taken == Some(None) { Ok(()) } else { Self::refuse(name) }
    }

    fn change_link(&mut self, place: &Place, name: &str, wanted: &Link) -> Result<()> {
        let master = wanted.master.clone();
        if let (Some(master), Some(space)) = (&master, self.0.places.get(place))
            && !space.links.contains_key(master)
        {
            return Self::refuse(master);
        }
        self.with_link(place, name, |space| {
            let link = space.links.get_mut(name).unwrap();
            link.mac = wanted.mac.or(link.mac);
            link.mtu = wanted.mtu.or(link.mtu);
            link.master = master.or(link.master.take());
            link.port = wanted.port;
        })
    }
}

impl Kernel for Model {
    fn execute(&mut self, op: &Op) -> Result<()> {
        match op.clone() {
            Op::AddNamespace { name } => {
                let loopback = Link { up: false, ..Link::new(LinkKind::Loopback) };
                let space = Space { links: [("lo".to_owned(), loopback)].into(), ..Space::default() };
                if self.0.places.insert(Place::Named(name.clone()), space).is_some() {
                    return Self::refuse(&name);
                }
            }
            Op::RemoveNamespace { name } => {
                let place = Place::Named(name.clone());
                let is_left = |link: &Link| link.kind != LinkKind::Loopback;
                if self.0.places.get(&place).is_none_or(|space| space.links.values().any(is_left)) {
                    return Self::refuse(&name);
                }
                self.0.places.remove(&place);
            }
            Op::RemoveLink { place, link } => self.drop_link(&place, &link),
            Op::AddLink { place, name, link, inner_mac } => self.add_link(&place, &name, &link, inner_mac)?,
            Op::ChangeLink { place, name, link } => self.change_link(&place, &name, &link)?,
            Op::RaiseLink { place, link, up } => {
                self.with_link(&place, &link, |space| space.links.get_mut(&link).unwrap().up = up)?;
            }
            Op::AddAddress { place, link, address } => {
                self.with_link(&place, &link, |space| assert!(space.addresses.insert((link.clone(), address))))?;
            }
            Op::RemoveAddress { place, link, address } => {
                self.with_link(&place, &link, |space| assert!(space.addresses.remove(&(link.clone(), address))))?;
            }
            Op::AddRoute { place, route } => {
                let link = route.link.clone();
                self.with_link(&place, &link, |space| {
                    assert!(space.links[&link].up, "a route needs its link up");
                    space.routes.insert(route);
                })?;
            }
            Op::RemoveRoute { place, route } => {
                self.with_link(&place, &route.link, |space| assert!(space.routes.remove(&route)))?;
            }
            Op::SetNeighbour { place, link, address, mac } => {
                self.with_link(&place, &link, |space| {
                    space.neighbours.insert((link.clone(), address), mac);
                })?;
            }
            Op::RemoveNeighbour { place, link, address, .. } => {
                self.with_link(&place, &link, |space| {
                    assert!(space.neighbours.remove(&(link.clone(), address)).is_some());
                })?;
            }
            Op::SetForwarding { place, link, mac, node } => {
                self.with_link(&place, &link, |space| {
                    space.forwarding.insert((link.clone(), mac), node);
                })?;
            }
            Op::RemoveForwarding { place, link, mac, .. } => {
                self.with_link(&place, &link, |space| {
                    assert!(space.forwarding.remove(&(link.clone(), mac)).is_some());
                })?;
            }
            Op::SetSysctl { place, name, value } => {
                self.0.places.get_mut(&place).unwrap().sysctls.insert(name, value);
            }
            Op::SetFirewall { place, ruleset } => {
                self.0.places.get_mut(&place).unwrap().firewall = Some(Firewall::new(ruleset));
            }
            Op::RemoveFirewall { place } => self.0.places.get_mut(&place).unwrap().firewall = None,
            Op::AddService { place, mark } => {
                self.0.places.get_mut(&place).unwrap().services.insert(mark, Default::default());
            }
            Op::RemoveService { place, mark } => {
                self.0.places.get_mut(&place).unwrap().services.remove(&mark).unwrap();
            }
            Op::SetBackend { place, mark, backend, weight } => {
                self.0.places.get_mut(&place).unwrap().services.get_mut(&mark).unwrap().insert(backend, weight);
            }
            Op::RemoveBackend { place, mark, backend } => {
                self.0.places.get_mut(&place).unwrap().services.get_mut(&mark).unwrap().remove(&backend).unwrap();
            }
        }
        Ok(())
    }
}

/// A plan from octets: every octet decides about one thing, so that two plans share much.
fn plan_of(octets: &[u8]) -> Plan {
    let octets = std::cell::RefCell::new(octets.iter().copied());
    let next = || octets.borrow_mut().next().unwrap_or(0);
    let mut plan = Plan::default();
    plan.space(&Place::Host);
    let inner: Vec<Place> =
        ["a", "b"].into_iter().filter(|_| next() % 4 > 0).map(|name| Place::Named(name.to_owned())).collect();
    for place in inner.iter().chain([&Place::Host]) {
        let space = plan.space(place);
        for name in ["br0", "br1"].into_iter().filter(|_| next() % 2 > 0) {
            let link =
                Link { mtu: Some(1400 + u32::from(next() % 2)), up: next() % 4 > 0, ..Link::new(LinkKind::Bridge) };
            space.links.insert(name.to_owned(), link);
            space.sysctls.insert(format!("net/ipv4/conf/{name}/route_localnet"), (next() % 2).to_string());
        }
        space.sysctls.insert("net/ipv4/ip_forward".to_owned(), (next() % 2).to_string());
        if next() % 2 > 0 {
            let kind = LinkKind::Vxlan {
                vni: 4096 + u32::from(next() % 2),
                port: 4789 + u16::from(next() % 2),
                local: Ipv4Addr::LOCALHOST,
            };
            let master = space.links.contains_key("br0").then(|| "br0".to_owned());
            space.links.insert("vxlan0".to_owned(), Link { master, ..Link::new(kind) });
            for last in (1..4).filter(|_| next() % 2 > 0) {
                let mac = MacAddress([2, 0x42, 10, 0, 0, last]);
                let node = Ipv4Addr::new(192, 0, 2, next() % 2);
                space.neighbours.insert(("vxlan0".to_owned(), Ipv4Addr::new(10, 0, 0, last)), mac);
                space.forwarding.insert(("vxlan0".to_owned(), mac), node);
            }
        }
        if next() % 2 > 0 {
            let mut ruleset = Ruleset::default();
            ruleset.chains.push(Chain::plain(format!("c{}", next() % 3), Vec::new()));
            space.firewall = Some(Firewall::new(ruleset));
        }
        for mark in (1..3).filter(|_| next() % 2 > 0) {
            let backends = (1..4).map(|last| (Ipv4Addr::new(10, 0, 0, last), u32::from(next() % 3)));
            space.services.insert(mark, backends.filter(|(_, weight)| *weight < 2).collect());
        }
    }
    for number in 0..3 {
        let Some(place) = inner.get(usize::from(next() % 3)) else { continue };
        let (outer, name) = (format!("skv{number}"), format!("eth{number}"));
        let master = plan.places[&Place::Host].links.contains_key("br0").then(|| "br0".to_owned());
        let port = PortMode { isolated: master.is_some() && next() % 2 > 0, hairpin: false };
        let kind = LinkKind::Veth { peer: Some((place.clone(), name.clone())), outer: true };
        plan.space(&Place::Host).links.insert(outer.clone(), Link { master, port, ..Link::new(kind) });
        let kind = LinkKind::Veth { peer: Some((Place::Host, outer)), outer: false };
        let mac = Some(MacAddress([2, 0x42, 0, 0, 0, next() % 2]));
        let space = plan.space(place);
        space.links.insert(name.clone(), Link { mac, ..Link::new(kind) });
        let address = Ipv4Net::new(Ipv4Addr::new(10, number, 0, 2 + next() % 2), 24).unwrap();
        space.addresses.insert((name.clone(), address));
        if next() % 2 > 0 {
            space.routes.insert(Route::default(Ipv4Addr::new(10, number, 0, 1), &name));
        }
    }
    plan
}

/// What the model holds beyond what the plan names.
pub(crate) fn extras(model: &Plan, plan: &Plan) -> Vec<String> {
    let mut extras = Vec::new();
    for (place, space) in &model.places {
        let Some(wanted) = plan.places.get(place) else {
            extras.push(place.to_string());
            continue;
        };
        // A loopback comes with its namespace.
        let names =
            |space: &Space| -> BTreeSet<String> { space.links.keys().filter(|name| *name != "lo").cloned().collect() };
        if names(space) != names(wanted) || space.addresses != wanted.addresses || space.routes != wanted.routes {
            extras.push(format!("{place}: {space:?}"));
        }
    }
    extras
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_is_done_when_nothing_differs(octets in proptest::collection::vec(any::<u8>(), 0..120)) {
        let plan = plan_of(&octets);
        prop_assert_eq!(diff(&plan, &plan), vec![]);
    }

    #[test]
    fn carrying_the_operations_out_reaches_the_plan(
        from in proptest::collection::vec(any::<u8>(), 0..120),
        to in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let (from, to) = (plan_of(&from), plan_of(&to));
        let mut model = Model(from.clone());
        apply::up(&mut model, &diff(&from, &to)).unwrap();
        prop_assert_eq!(diff(&model.0, &to), vec![]);
        prop_assert_eq!(extras(&model.0, &to), Vec::<String>::new());
    }

    #[test]
    fn tearing_down_leaves_nothing(octets in proptest::collection::vec(any::<u8>(), 0..120)) {
        let from = plan_of(&octets);
        let mut to = Plan::default();
        to.space(&Place::Host);
        let mut model = Model(from.clone());
        apply::down(&mut model, &diff(&from, &to)).unwrap();
        model.0.space(&Place::Host).sysctls.clear();
        prop_assert_eq!(model.0, to);
    }
}

#[test]
fn rules_are_there_before_a_link_comes_up_and_traffic_stops_before_links_go() {
    let mut plan = Plan::default();
    let place = Place::Named("a".to_owned());
    let space = plan.space(&place);
    space.links.insert("br0".to_owned(), Link::new(LinkKind::Bridge));
    space.firewall = Some(Firewall::new(Ruleset::default()));
    space.services.insert(1, [(Ipv4Addr::LOCALHOST, 1)].into());
    let position = |ops: &[Op], wanted: &dyn Fn(&Op) -> bool| ops.iter().position(wanted).unwrap();
    let up = diff(&Plan::default(), &plan);
    let rules = position(&up, &|op| matches!(op, Op::SetFirewall { .. }));
    assert!(rules < position(&up, &|op| matches!(op, Op::RaiseLink { .. })));
    assert_eq!(position(&up, &|op| matches!(op, Op::AddNamespace { .. })), 0);
    let down = diff(&plan, &Plan::default());
    let services = position(&down, &|op| matches!(op, Op::RemoveService { .. }));
    assert!(services < position(&down, &|op| matches!(op, Op::RemoveLink { .. })));
    assert_eq!(position(&down, &|op| matches!(op, Op::RemoveNamespace { .. })), down.len() - 1);
}

/// Fails at the operations of this number, and counts.
struct Failing {
    at: Vec<usize>,
    done: usize,
}

impl Kernel for Failing {
    fn execute(&mut self, _: &Op) -> Result<()> {
        self.done += 1;
        if self.at.contains(&self.done) { Model::refuse(&self.done.to_string()) } else { Ok(()) }
    }
}

#[test]
fn the_way_up_ends_at_the_first_failure_and_the_way_down_goes_on() {
    let ops = vec![Op::RemoveFirewall { place: Place::Host }; 5];
    let mut kernel = Failing { at: vec![2, 4], done: 0 };
    assert!(apply::up(&mut kernel, &ops).is_err());
    assert_eq!(kernel.done, 2);
    let mut kernel = Failing { at: vec![2, 4], done: 0 };
    let failure = apply::down(&mut kernel, &ops).unwrap_err();
    assert_eq!(kernel.done, 5);
    assert!(matches!(failure, Error::Teardown { count: 2, .. }), "{failure}");
}
