//! What a node's data plane consists of, so that one part that cannot be made does not stop the others.
//!
//! Used by `node`. Invariant: every operation belongs to one part. What joins two namespaces belongs to the one that
//! lives by it: a container's leg, with what is on it, to the container, a load balancer's to its network.

use std::collections::BTreeMap;

use crate::diff::Op;
use crate::ids::NetworkId;
use crate::intent::NodeIntent;
use crate::model::{LinkKind, Place, Plan};
use crate::names;
use crate::plan;
use crate::results::NodeFailure;

/// A part of the data plane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// An overlay, with its load balancer.
    Network(NetworkId),
    /// A link in any other namespace, and what is on it: a container's leg, say. The namespace and the link's name.
    Leg(String, String),
    /// What else is in such a namespace: a container's, or that of an overlay which goes.
    Other(String),
    /// What belongs to the host.
    Host,
}

/// Which namespace, and which link, belongs to which part.
#[derive(Debug)]
pub(crate) struct Parts {
    places: BTreeMap<Place, NetworkId>,
    /// Outer ends of pairs, and the inner ones.
    ends: BTreeMap<(Place, String), (Place, String)>,
}

impl Parts {
    /// Those of a plan for a node.
    pub(crate) fn new(intent: Option<&NodeIntent>, plan: &Plan) -> Self {
        let networks = intent.into_iter().flat_map(|intent| &intent.networks);
        let places = networks.flat_map(|network| {
            let own = Place::Named(names::overlay_namespace(&network.id));
            [own, plan::balancer_place(network)].map(|place| (place, network.id.clone()))
        });
        let mut ends = BTreeMap::new();
        for (place, space) in &plan.places {
            for (name, link) in &space.links {
                if let LinkKind::Veth { peer: Some(inner), outer: true } = &link.kind {
                    ends.insert((place.clone(), name.clone()), inner.clone());
                }
            }
        }
        Self { places: places.collect(), ends }
    }

    /// Whose an operation is.
    pub(crate) fn of(&self, op: &Op) -> Part {
        let Some(link) = op.link() else { return self.of_place(op.place(), None) };
        let own = (op.place(), link.to_owned());
        let (place, link) = self.ends.get(&own).cloned().unwrap_or(own);
        self.of_place(place, Some(link))
    }

    fn of_place(&self, place: Place, link: Option<String>) -> Part {
        match (self.places.get(&place), place, link) {
            (Some(network), ..) => Part::Network(network.clone()),
            (None, Place::Named(name), Some(link)) => Part::Leg(name, link),
            (None, Place::Named(name), None) => Part::Other(name),
            (None, Place::Host, _) => Part::Host,
        }
    }
}

/// What was asked for, without the networks that contradict themselves or those before them; of these, what was asked
/// for before, if that can stay. Networks that were there before come first.
pub(crate) fn without_contradictions(
    wanted: NodeIntent,
    before: Option<&NodeIntent>,
) -> (NodeIntent, Vec<NodeFailure>) {
    if wanted.validate().is_ok() {
        return (wanted, Vec::new());
    }
    let mut ids: Vec<NetworkId> = wanted.networks.iter().map(|network| network.id.clone()).collect();
    let is_new = |id: &NetworkId| !before.is_some_and(|before| before.networks.iter().any(|known| known.id == *id));
    ids.sort_by_key(|id| (is_new(id), id.clone()));
    ids.dedup();
    let mut sound = NodeIntent { networks: Vec::new(), endpoints: Vec::new(), services: Vec::new(), ..wanted.clone() };
    let mut failures = Vec::new();
    for id in ids {
        let mut candidates = std::iter::once(&wanted).chain(before).map(|source| sound.with_network(source, &id));
        let Some(first) = candidates.next() else { continue };
        match first.validate() {
            Ok(()) => sound = first,
            Err(error) => {
                let earlier = candidates.next().filter(|earlier| earlier.validate().is_ok());
                drop(candidates);
                sound = earlier.unwrap_or(sound);
                failures.push(NodeFailure { network: Some(id), error });
            }
        }
    }
    (sound, failures)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::apply::{Kernel, up_in_parts};
    use crate::diff::diff;
    use crate::error::{Error, Result};
    use crate::intent::OverlayIntent;
    use crate::model::Link;

    fn overlay(id: &str, vni: u32) -> OverlayIntent {
        OverlayIntent {
            id: NetworkId::new(id).unwrap(),
            name: id.to_owned(),
            subnet: "10.0.1.0/24".parse().unwrap(),
            gateway: [10, 0, 1, 1].into(),
            vni,
            ingress: false,
            mtu: None,
            internal: false,
            encrypted: false,
            lb_address: None,
        }
    }

    fn node(networks: Vec<OverlayIntent>) -> NodeIntent {
        NodeIntent { networks, ..NodeIntent::new("n", [192, 0, 2, 1].into()) }
    }

    fn names(intent: &NodeIntent) -> Vec<(&str, u32)> {
        intent.networks.iter().map(|network| (network.name.as_str(), network.vni)).collect()
    }

    fn failed(failures: &[NodeFailure]) -> Vec<&str> {
        failures.iter().filter_map(|failure| failure.network.as_ref()).map(NetworkId::as_str).collect()
    }

    #[test]
    fn networks_without_a_contradiction_stay() {
        let encrypted = OverlayIntent { encrypted: true, ..overlay("bad", 5) };
        let (sound, failures) = without_contradictions(node(vec![encrypted, overlay("good", 6)]), None);
        assert_eq!(names(&sound), [("good", 6)]);
        assert_eq!(failed(&failures), ["bad"]);
        let wanted = node(vec![overlay("good", 6)]);
        let (sound, failures) = without_contradictions(wanted.clone(), None);
        assert!(sound == wanted && failures.is_empty());
    }

    #[test]
    fn a_network_that_turns_bad_stays_as_it_was() {
        let before = node(vec![overlay("a", 5)]);
        let (sound, failures) = without_contradictions(node(vec![overlay("a", 0), overlay("b", 6)]), Some(&before));
        assert_eq!(names(&sound), [("a", 5), ("b", 6)]);
        assert_eq!(failed(&failures), ["a"]);
    }

    #[test]
    fn of_two_that_clash_the_one_that_was_there_stays() {
        let before = node(vec![overlay("old", 5)]);
        let wanted = node(vec![overlay("new", 5), overlay("old", 5)]);
        let (sound, failures) = without_contradictions(wanted, Some(&before));
        assert_eq!(names(&sound), [("old", 5)]);
        assert_eq!(failed(&failures), ["new"]);
    }

    /// A kernel in which a link with this name cannot be made.
    struct Without(&'static str, Vec<Op>);

    impl Kernel for Without {
        fn execute(&mut self, op: &Op) -> Result<()> {
            if matches!(op, Op::AddLink { name, .. } if name == self.0) {
                return Err(Error::NoVxlan { source: std::io::Error::other("not here") });
            }
            self.1.push(op.clone());
            Ok(())
        }
    }

    #[test]
    fn a_leg_that_cannot_be_made_does_not_stop_the_containers_others() {
        let (outside, container) = (Place::Named("outside".into()), Place::Named("container".into()));
        let mut plan = Plan::default();
        for (outer, inner, address) in [("veth0", "eth0", "10.0.1.2/24"), ("veth1", "eth1", "10.0.2.2/24")] {
            let end = |place: &Place, name: &str, outer| {
                Link::new(LinkKind::Veth { peer: Some((place.clone(), name.to_owned())), outer })
            };
            plan.space(&outside).links.insert(outer.to_owned(), end(&container, inner, true));
            let within = plan.space(&container);
            within.links.insert(inner.to_owned(), end(&outside, outer, false));
            within.addresses.insert((inner.to_owned(), address.parse().unwrap()));
        }
        let parts = Parts::new(None, &plan);
        let mut kernel = Without("veth0", Vec::new());
        let failed = up_in_parts(&mut kernel, &diff(&Plan::default(), &plan), |op| parts.of(op));
        assert_eq!(failed.into_keys().collect::<Vec<_>>(), [Part::Leg("container".into(), "eth0".into())]);
        let addressed =
            |wanted: &str| kernel.1.iter().any(|op| matches!(op, Op::AddAddress { link, .. } if link == wanted));
        assert!(addressed("eth1") && !addressed("eth0"), "{:?}", kernel.1);
    }
}
