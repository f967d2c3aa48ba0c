//! `inspect`: whatever has this name, container first, as docker looks.

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use super::{container, image, network, node as nodes, service, volume};
use crate::args::system::Inspect;
use crate::context::Node;
use crate::failure;
use crate::format::output;
use crate::swarm;

const KINDS: [&str; 7] = ["container", "image", "network", "volume", "service", "task", "node"];

/// `inspect`
pub fn run(node: &Node, args: &Inspect) -> Result<i32> {
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.names {
        match object(node, name, args.r#type.as_deref()) {
            Ok(object) => found.push(object),
            Err(error) => {
                eprintln!("{}", failure::describe(&error).message);
                code = 1;
            }
        }
    }
    output::inspect(&found, args.format.as_deref())?;
    Ok(code)
}

fn object(node: &Node, name: &str, kind: Option<&str>) -> Result<Value> {
    if let Some(kind) = kind {
        return of_kind(node, name, kind);
    }
    for kind in KINDS {
        if matches!(kind, "service" | "task" | "node") && !swarm::is_active(node) {
            continue;
        }
        if let Ok(found) = of_kind(node, name, kind) {
            return Ok(found);
        }
    }
    bail!("No such object: {name}")
}

fn of_kind(node: &Node, name: &str, kind: &str) -> Result<Value> {
    match kind {
        "container" => container::inspect::object(node, name),
        "image" => image::inspect::object(&node.runtime()?, name),
        "network" => network::inspect::object(node, name),
        "volume" => volume::object(node, name),
        "service" => service::inspect::object(node, name),
        "task" => service::inspect::task(node, name),
        "node" => nodes::object(node, name),
        other => Err(anyhow!("{other:?} is not a kind of object")),
    }
}
