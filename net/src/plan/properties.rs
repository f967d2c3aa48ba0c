//! What holds of the plan of every valid intent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;
use skep_common::PortProtocol;

use super::tests::{HERE, THERE, local, network_id, overlay};
use super::*;
use crate::apply;
use crate::diff::diff;
use crate::diff::tests::{Model, extras};
use crate::files::NetPaths;
use crate::ids::{SandboxId, ServiceId};
use crate::intent::{
    EndpointIntent, NetworkRef, NodeIntent, OverlayEndpoint, PortMapping, PublishedPort, SandboxIntent, ServiceIntent,
};
use crate::results::Backend;
use crate::state::{self, NodeRecord, SandboxRecord, State};
use crate::{names, resolve};

const OVERLAYS: [&str; 3] = ["ingress", "app", "back"];
const SERVICES: [&str; 2] = ["web", "db"];

/// Octets that decide, one after the other, and zeros when they have run out.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    /// Once in so many times not.
    fn mostly(&mut self, times: u8) -> bool {
        !self.next().is_multiple_of(times)
    }

    fn some<T>(&mut self, value: T) -> Option<T> {
        self.mostly(3).then_some(value)
    }
}

fn intent_of(choices: &mut Choices<'_>) -> NodeIntent {
    let mut intent = NodeIntent::new("node", HERE);
    intent.data_path_port = 4789 + u16::from(choices.next() % 2);
    for (third, name) in (0..).zip(OVERLAYS) {
        if !choices.mostly(4) {
            continue;
        }
        let mut network = overlay(name, third, name == "ingress");
        network.internal = name != "ingress" && !choices.mostly(3);
        network.mtu = choices.some(1400);
        network.lb_address = choices.some(Ipv4Addr::new(10, 0, third, 2));
        for last in 4..10 {
            let node_address = [HERE, THERE, Ipv4Addr::new(192, 0, 2, 3)][usize::from(choices.next() % 3)];
            let service = SERVICES.get(usize::from(choices.next() % 3)).map(|name| ServiceId::new(*name).unwrap());
            if choices.mostly(3) {
                intent.endpoints.push(OverlayEndpoint {
                    network: network.id.clone(),
                    address: Ipv4Addr::new(10, 0, third, last),
                    node_address,
                    service,
                    serving: choices.mostly(3),
                    names: vec![format!("task.{last}")],
                });
            }
        }
        for (index, name) in (0..).zip(SERVICES) {
            if choices.mostly(3) {
                let protocol = if choices.mostly(2) { PortProtocol::Tcp } else { PortProtocol::Udp };
                let port = PublishedPort { published: 8080 + index, target: 80, protocol };
                intent.services.push(ServiceIntent {
                    id: ServiceId::new(name).unwrap(),
                    name: name.to_owned(),
                    aliases: Vec::new(),
                    network: network.id.clone(),
                    vip: choices.some(Ipv4Addr::new(10, 0, third, 20 + index as u8)),
                    ports: if network.ingress && choices.mostly(2) { vec![port] } else { Vec::new() },
                });
            }
        }
        intent.networks.push(network);
    }
    intent
}

/// A valid state of everything on a node; `before` is the one it follows.
fn state_of(octets: &[u8], before: Option<&State>) -> State {
    let mut choices = Choices(octets.iter());
    let networks = [local("one", "172.17.0.0/16"), local(names::GATEWAY_BRIDGE, "172.18.0.0/16")];
    let mut state = State {
        networks: networks.into_iter().map(|network| (network.id.clone(), network)).collect(),
        filters_bridged: choices.mostly(2),
        ..State::default()
    };
    let intent = intent_of(&mut choices);
    intent.validate().unwrap();
    let ingress = intent.networks.iter().any(|network| network.ingress && network.lb_address.is_some());
    let held = before.and_then(|state| state.node.as_ref()).map(|node| node.marks.clone());
    state.node = Some(NodeRecord {
        version: state::VERSION,
        marks: state::assign_marks(&held.unwrap_or_default(), &intent.services),
        intent,
        tunnel_address: if choices.mostly(4) { HERE } else { Ipv4Addr::UNSPECIFIED },
        underlay_mtu: 1500,
        ingress_gateway_address: ingress.then_some(Ipv4Addr::new(172, 18, 0, 2)),
        backend: if choices.mostly(2) { Backend::Ipvs } else { Backend::Nftables },
    });
    for number in 0..3_u8 {
        let mut sandbox = SandboxIntent::new(SandboxId::new(format!("{number:012}")).unwrap(), format!("c{number}"));
        for (third, name) in (0..).zip(OVERLAYS) {
            if choices.mostly(2) && state.overlay(&network_id(name)).is_ok() {
                let mut leg = EndpointIntent::new(NetworkRef::Overlay(network_id(name)));
                leg.address = Some(Ipv4Addr::new(10, 0, third, 30 + number));
                leg.published = vec![PublishedPort { published: 8080, target: 80, protocol: PortProtocol::Tcp }];
                sandbox.endpoints.push(leg);
            }
        }
        if choices.mostly(2) {
            sandbox.endpoints.push(EndpointIntent::new(NetworkRef::Local(network_id("one"))));
            let host_port = Some(20_000 + u16::from(number));
            let port = PortMapping { host_ip: None, host_port, container_port: 80, protocol: PortProtocol::Sctp };
            sandbox.ports.extend(choices.some(port));
        }
        sandbox.validate().unwrap();
        let previous = before.and_then(|state| state.sandboxes.get(&sandbox.id));
        let resolved = resolve::resolve(&state, &NetPaths::new("/nowhere", "/nowhere"), &sandbox, previous).unwrap();
        let record = SandboxRecord { version: state::VERSION, intent: sandbox, sandbox: resolved };
        state.sandboxes.insert(record.intent.id.clone(), record);
    }
    state
}

/// The plan of all that there is.
fn plan_of(state: &State) -> Plan {
    let (mut plan, mut scope) = (Plan::default(), Scope::new());
    let present = state.sandboxes.keys().cloned().collect();
    node(state, &present, &mut plan, &mut scope).unwrap();
    look_at_host_firewall(&mut scope);
    plan.space(&Place::Host).firewall = host_firewall(state);
    for place in plan.places.keys() {
        assert!(scope.contains_key(place), "{place} is planned and not looked at");
    }
    plan
}

/// What a plan says of a link that is not there, or twice of one that is.
fn contradictions(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let mut identifiers = BTreeMap::new();
    for (place, space) in &plan.places {
        let mut check = |holds: bool, what: String| {
            if !holds {
                found.push(format!("{place}: {what}"));
            }
        };
        let is_there = |link: &String| space.links.contains_key(link);
        for (name, link) in &space.links {
            check(link.master.as_ref().is_none_or(is_there), format!("{name} is a port of nothing"));
            match &link.kind {
                LinkKind::Veth { peer: Some((other, peer)), outer } => {
                    let end = plan.places.get(other).and_then(|space| space.links.get(peer));
                    let back = Some((place.clone(), name.clone()));
                    let fits = end.is_some_and(|end| end.kind == LinkKind::Veth { peer: back, outer: !outer });
                    check(fits, format!("{name} has no other end"));
                    check(end.is_none_or(|end| end.mtu == link.mtu), format!("{name} has two MTUs"));
                }
                LinkKind::Vxlan { vni, .. } => {
                    check(identifiers.insert(*vni, ()).is_none(), format!("{vni} is the identifier of two networks"));
                }
                _ => {}
            }
        }
        let on = space.addresses.iter().map(|(link, _)| link).chain(space.routes.iter().map(|route| &route.link));
        let on = on.chain(space.neighbours.keys().map(|(link, _)| link));
        for link in on.chain(space.forwarding.keys().map(|(link, _)| link)) {
            check(is_there(link), format!("something is on {link}"));
        }
        let mut held: Vec<Ipv4Addr> = space.addresses.iter().map(|(_, address)| address.addr()).collect();
        held.sort();
        held.dedup();
        check(held.len() == space.addresses.len(), "an address is there twice".to_owned());
        check(space.routes.len() <= 1, "there are two ways out".to_owned());
    }
    found
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..260)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_plan_is_stable_and_does_not_contradict_itself(octets in octets()) {
        let state = state_of(&octets, None);
        let plan = plan_of(&state);
        prop_assert_eq!(contradictions(&plan), Vec::<String>::new());
        prop_assert_eq!(diff(&plan, &plan_of(&state)), vec![]);
        prop_assert_eq!(diff(&plan, &plan), vec![]);
    }

    #[test]
    fn one_intent_after_another_is_reached(from in octets(), to in octets()) {
        let before = state_of(&from, None);
        let after = state_of(&to, Some(&before));
        let (from, to) = (plan_of(&before), plan_of(&after));
        let mut model = Model(Plan::default());
        model.0.space(&Place::Host);
        let ops = diff(&model.0, &from);
        apply::up(&mut model, &ops).unwrap();
        prop_assert_eq!(diff(&model.0, &from), vec![]);
        let ops = diff(&model.0, &to);
        apply::up(&mut model, &ops).unwrap();
        prop_assert_eq!(diff(&model.0, &to), vec![]);
        prop_assert_eq!(extras(&model.0, &to), Vec::<String>::new());
    }

    #[test]
    fn doing_the_same_again_keeps_what_containers_have(octets in octets()) {
        let state = state_of(&octets, None);
        let again = state_of(&octets, Some(&state));
        prop_assert_eq!(&again.sandboxes, &state.sandboxes);
        prop_assert_eq!(diff(&plan_of(&state), &plan_of(&again)), vec![]);
    }
}
