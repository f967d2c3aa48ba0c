//! Names of containers and services: record files, and the server at 127.0.0.11 of each container.
//!
//! ```text
//! connect / apply_node ─write→ RUN_ROOT/dns/NETWORK.json ─re-read on change→ Zones ─┐
//! container ─UDP, TCP→ Server ─→ answer (pure) ─→ reply                             │
//!                        └─────── forward ─→ the machine's own name servers   ←────┘
//! ```
//!
//! The server runs in the container's shim, in its one thread, and so lives as long as the container.

mod answer;
pub mod records;
mod server;
mod stream;
mod upstream;
mod zones;

pub use server::{Config, Server, ServerError};
pub use upstream::Upstream;
