//! What the end-to-end tests, the demo and the benchmark stand on: a lab of nodes on one machine.
//!
//! Nothing here links against the product: it drives the `skep` binary as a person at a shell would, and looks at
//! the results with Debian's own tools. A [`Lab`] is a switch, a registry and any number of nodes, each node a pair
//! of network and UTS namespaces with directories and cgroups of its own.
//!
//! **Invariant:** whatever a lab made is gone when it is dropped, when the process is interrupted, or (after
//! `kill -9`) when the next lab starts.
#![allow(clippy::panic, reason = "an expectation that does not hold is a failed test, and says so where it was made")]

pub mod dns;
pub mod golden;
pub mod http;
pub mod images;
pub mod lab;
pub mod leaks;
pub mod namespace;
pub mod program;
pub mod pty;
pub mod registry;
pub mod rogue;
pub mod skep;
pub mod swarm;
pub mod sweep;
pub mod wait;

pub use lab::{Lab, Node};
pub use program::Finished;
pub use wait::{slow, wait_until};
