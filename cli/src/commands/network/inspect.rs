//! `network inspect`.

use anyhow::Result;
use serde_json::Value;

use crate::args::network::Inspect;
use crate::commands::inspect::show;
use crate::context::{self, Node};

/// `network inspect`
pub(crate) fn run(node: &Node, args: &Inspect) -> Result<i32> {
    show(&args.networks, args.format.as_deref(), |name| object(node, name))
}

/// One network, in docker's shape: what this machine has of it, and what the swarm knows.
pub(crate) fn object(node: &Node, name: &str) -> Result<Value> {
    let network = match node.engine().begin_network_inspection(name)? {
        Some(network) => network,
        None => context::block_on(async { Ok(node.engine().inspect_overlay(name).await?) })?,
    };
    Ok(serde_json::to_value(network)?)
}
