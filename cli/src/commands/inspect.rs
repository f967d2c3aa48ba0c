//! `inspect`: whatever has this name, container first, as docker looks.

use anyhow::{Result, anyhow, bail};
use serde_json::Value;
use skep_engine::ErrorKind;

use super::{container, image, network, node as nodes, service, volume};
use crate::args::system::Inspect;
use crate::context::Node;
use crate::failure;
use crate::format::output;

const KINDS: [&str; 7] = ["container", "image", "network", "volume", "service", "task", "node"];

/// `inspect`
pub(super) fn run(node: &Node, args: &Inspect) -> Result<i32> {
    show(&args.names, args.format.as_deref(), |name| object(node, name, args.r#type.as_deref()))
}

/// Prints what these names stand for. A name that stands for nothing is told on the standard error, and the exit code
/// says so, too.
pub(super) fn show(names: &[String], format: Option<&str>, object: impl Fn(&str) -> Result<Value>) -> Result<i32> {
    let mut found = Vec::new();
    let mut code = 0;
    for name in names {
        match object(name) {
            Ok(object) => found.push(object),
            Err(error) => {
                eprintln!("{}", failure::describe(&error).message);
                code = 1;
            }
        }
    }
    output::inspect(&found, format)?;
    Ok(code)
}

fn object(node: &Node, name: &str, kind: Option<&str>) -> Result<Value> {
    if let Some(kind) = kind {
        return of_kind(node, name, kind);
    }
    for kind in KINDS {
        if matches!(kind, "service" | "task" | "node") && !node.engine().is_in_swarm() {
            continue;
        }
        match of_kind(node, name, kind) {
            Ok(found) => return Ok(found),
            Err(error) if failure::kind(&error).is_none_or(may_be_of_another_kind) => {}
            Err(error) => return Err(error),
        }
    }
    bail!("No such object: {name}")
}

/// Whether the name may be another object's.
fn may_be_of_another_kind(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::BadArgument | ErrorKind::NotAManager | ErrorKind::NotInSwarm)
}

fn of_kind(node: &Node, name: &str, kind: &str) -> Result<Value> {
    match kind {
        "container" => container::inspect::object(node, name),
        "image" => image::inspect::object(node, name),
        "network" => network::inspect::object(node, name),
        "volume" => volume::object(node, name),
        "service" => service::inspect::object(node, name),
        "task" => service::inspect::task(node, name),
        "node" => nodes::object(node, name),
        other => Err(anyhow!("{other:?} is not a kind of object")),
    }
}
