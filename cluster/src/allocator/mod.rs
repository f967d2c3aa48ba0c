//! Gives out what must be unique in the swarm: subnets and VXLAN ids, virtual addresses, published ports, the
//! addresses of tasks, of the nodes' load balancers and of single containers. A task that has all becomes PENDING.
//!
//! What is used is read from the committed objects at each call, so nothing can leak and nothing has to be rebuilt.
//! Addresses are given serially: the next after the one given last, so that a freed one rests before it is used again.

pub(crate) mod addresses;
mod endpoints;
mod networks;
mod nodes;
pub(crate) mod ports;
mod tasks;

use crate::brain::{Brain, Decision, IdSource};
use crate::store::View;
use addresses::Spaces;

/// The brain that allocates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocator;

impl Brain for Allocator {
    fn name(&self) -> &'static str {
        "allocator"
    }

    fn decide(&self, view: &View, now_ns: i64, _: IdSource<'_>) -> Decision {
        let mut decision = Decision::default();
        let networks = networks::allocate(view, &mut decision);
        let mut spaces = Spaces::new(view, &networks);
        let ingress = networks.values().find(|n| n.spec.ingress && !n.ipam.is_empty()).map(|n| n.id.clone());
        nodes::allocate(view, ingress.as_ref(), &mut spaces, &mut decision);
        let endpoints = endpoints::allocate(view, ingress.as_ref(), &mut spaces, &mut decision);
        tasks::allocate(view, now_ns, ingress.as_ref(), &endpoints, &mut spaces, &mut decision);
        tasks::allocate_attachments(view, &mut spaces, &mut decision);
        decision
    }
}
