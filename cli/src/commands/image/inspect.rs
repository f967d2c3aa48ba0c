//! `image inspect`.

use anyhow::Result;
use serde_json::Value;

use crate::args::image::Inspect;
use crate::commands::inspect::show;
use crate::context::Node;

/// `image inspect`
pub(crate) fn run(node: &Node, args: &Inspect) -> Result<i32> {
    node.runtime()?;
    show(&args.images, args.format.as_deref(), |name| object(node, name))
}

/// One image, in docker's shape.
pub(crate) fn object(node: &Node, name: &str) -> Result<Value> {
    Ok(serde_json::to_value(node.engine().inspect_image(name)?)?)
}
