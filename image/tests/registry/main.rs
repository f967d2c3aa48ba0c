//! The crate against registries in this process: honest ones and all others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, clippy::disallowed_methods)]

mod faults;
mod killed;
mod pulls;
mod support;
