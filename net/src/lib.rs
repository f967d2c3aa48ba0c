//! Networks of skep: plan, observe, diff, apply; addresses, load balancing, DNS records.
//!
//! The way of every change, first set-up, repair and teardown alike:
//!
//! ```text
//! intent ─validate→ resolve ─plan→ Plan ─┐
//!                                         diff → Vec<Op> ─apply→ kernel
//! kernel ─observe→ Plan ─────────────────┘
//! ```
//!
//! Knows nothing of containers' processes, images or clusters. Start at [`Net`].

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests are programs"))]

pub mod dns;

mod apply;
mod balance;
mod diff;
mod error;
mod files;
mod ids;
mod inspect;
mod intent;
mod ipam;
mod ipvs;
mod linux;
mod model;
mod names;
mod net;
mod netlink;
mod netns;
mod nft;
mod node;
mod observe;
mod parts;
mod plan;
mod ports;
mod resolve;
mod results;
mod state;
mod store;
mod sys;
mod sysctl;

pub use error::{Error, Result};
pub use files::NetPaths;
pub use ids::{MacAddress, NetworkId, SandboxId, ServiceId};
pub use intent::{
    DnsPorts, EndpointIntent, NetworkRef, NodeIntent, OverlayEndpoint, OverlayIntent, PortMapping, PublishedPort,
    SandboxIntent, ServiceIntent,
};
pub use names::{GATEWAY_BRIDGE, mac_of, of_network as name_of_network};
pub use net::Net;
pub use netns::in_namespace;
pub use results::{
    Backend, BoundPort, DisplacedPort, Endpoint, EndpointView, Finding, NetworkView, NodeFailure, NodeReport, Sandbox,
};
pub use skep_common::PortProtocol;
pub use store::{NetworkDefinition, NetworkDriver, NetworkSpec, NetworkStore};
