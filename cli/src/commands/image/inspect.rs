//! `image inspect`.

use anyhow::Result;
use serde_json::Value;

use crate::args::image::Inspect;
use crate::context::Node;
use crate::failure;
use crate::format::output;

/// `image inspect`
pub fn run(node: &Node, args: &Inspect) -> Result<i32> {
    node.runtime()?;
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.images {
        match object(node, name) {
            Ok(image) => found.push(image),
            Err(error) => {
                eprintln!("{}", failure::describe(&error).message);
                code = 1;
            }
        }
    }
    output::inspect(&found, args.format.as_deref())?;
    Ok(code)
}

/// One image, in docker's shape.
pub fn object(node: &Node, name: &str) -> Result<Value> {
    Ok(serde_json::to_value(node.engine().inspect_image(name)?)?)
}
