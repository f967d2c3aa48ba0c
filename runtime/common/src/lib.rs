//! The ground floor of skep: what every other crate stands on, and what must exist once only.
//!
//! Used by all crates; uses none of them. Nothing here knows of containers, networks or swarms as such: it is files,
//! names, the system's text formats, and docker's rules and words for values.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests are programs"))]

mod architecture;
pub mod duration;
pub mod error;
pub mod files;
pub mod health;
pub mod human;
pub mod limits;
pub mod mount_point;
pub mod names;
pub mod port;
pub mod procfs;
pub mod resolv_conf;
pub mod signal;
pub mod tls;

pub use architecture::{architecture, host_architecture};
pub use error::ErrorKind;
pub use health::HealthCheck;
pub use port::PortProtocol;
