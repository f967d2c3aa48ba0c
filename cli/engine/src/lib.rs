//! The use cases of skep: one function for each docker operation, from a request to an answer.
//!
//! ```text
//! command line ─┐
//! Engine API ───┼─ request → Engine → runtime, image, net (this machine)
//! agent ────────┘              └────→ cluster (the swarm)
//! ```
//!
//! Called by the command line, by whatever else serves people and programs, and by the swarm's agent (the
//! [`skep_cluster::executor::Executor`] is here).
//!
//! Invariants:
//! - **It prints nothing, reads no environment, knows no command line, keeps no global state, ends no process.**
//! - Requests and answers are docker's JSON, read and written.
//! - What concerns this machine only blocks, and needs no async runtime; what asks the swarm or a registry is async.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit, clippy::disallowed_methods)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests are programs"))]

pub mod agent;
mod blocking;
pub mod containers;
pub mod docker;
mod engine;
pub mod error;
mod executor;
pub mod filters;
pub mod host;
pub mod images;
pub mod info;
pub mod logins;
pub mod mount;
pub mod networks;
pub mod nodes;
mod ports;
pub mod services;
pub mod streams;
pub mod swarm;
pub mod template;
pub mod time;
pub mod volumes;

pub use engine::Engine;
pub use error::{Error, Result};
pub use skep_common::ErrorKind;

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
