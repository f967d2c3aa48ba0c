//! `network inspect`.

use anyhow::Result;
use serde_json::Value;

use crate::args::network::Inspect;
use crate::context::{self, Node};
use crate::failure;
use crate::format::output;

/// `network inspect`
pub fn run(node: &Node, args: &Inspect) -> Result<i32> {
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.networks {
        match object(node, name) {
            Ok(network) => found.push(network),
            Err(error) => {
                eprintln!("{}", failure::describe(&error).message);
                code = 1;
            }
        }
    }
    output::inspect(&found, args.format.as_deref())?;
    Ok(code)
}

/// One network, in docker's shape: what this machine has of it, and what the swarm knows.
pub fn object(node: &Node, name: &str) -> Result<Value> {
    let network = context::block_on(async { Ok(node.engine().inspect_network(name).await?) })?;
    Ok(serde_json::to_value(network)?)
}
