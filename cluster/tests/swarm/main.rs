//! Swarms in one process: real raft, real TLS over loopback, real files, and machines without a kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod expiry;
mod lab;
mod refusals;
mod single;
mod spans;
mod three;
