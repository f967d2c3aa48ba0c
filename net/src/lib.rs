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

pub mod dns;
mod error;
mod files;
mod intent;
pub mod ipam;
mod names;
mod net;
mod netns;
mod observe;
mod store;

pub use error::{Error, Result};
pub use files::NetPaths;
pub use intent::{
    DnsPorts, EndpointIntent, MacAddress, NetworkId, NetworkRef, NodeIntent, OverlayEndpoint, OverlayIntent,
    PortMapping, PortProtocol, PublishedPort, SandboxId, SandboxIntent, ServiceId, ServiceIntent,
};
pub use names::{DEFAULT_BRIDGE, GATEWAY_BRIDGE, GATEWAY_BRIDGE_ALIAS, INGRESS_SANDBOX, mac_of};
pub use net::{Backend, BoundPort, Endpoint, EndpointView, Finding, Net, NetworkView, NodeReport, Sandbox};
pub use netns::in_namespace;
pub use store::{NetworkDefinition, NetworkDriver, NetworkSpec, NetworkStore};
