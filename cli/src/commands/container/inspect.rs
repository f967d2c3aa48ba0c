//! `container inspect`.

use anyhow::Result;
use serde_json::Value;

use crate::args::container::Inspect;
use crate::commands::inspect::show;
use crate::context::Node;

/// `container inspect`
pub(crate) fn run(node: &Node, args: &Inspect) -> Result<i32> {
    node.runtime()?;
    show(&args.containers, args.format.as_deref(), |name| object(node, name))
}

/// One container, in docker's shape.
pub(crate) fn object(node: &Node, name: &str) -> Result<Value> {
    Ok(serde_json::to_value(node.engine().inspect_container(name)?)?)
}
