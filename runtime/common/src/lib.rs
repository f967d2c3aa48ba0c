//! The ground floor of skep: what every other crate stands on, and what must exist once only.
//!
//! Used by all crates; uses none of them. Nothing here knows of containers, networks or swarms.

pub mod error;

pub use error::ErrorKind;
