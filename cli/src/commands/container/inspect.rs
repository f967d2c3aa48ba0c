//! `container inspect`.

use anyhow::Result;
use serde_json::Value;
use skep_runtime::Runtime;

use crate::args::container::Inspect;
use crate::context::Node;
use crate::failure;
use crate::format::output;

/// `container inspect`
pub fn run(node: &Node, args: &Inspect) -> Result<i32> {
    let runtime = node.runtime()?;
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.containers {
        match object(&runtime, name) {
            Ok(container) => found.push(container),
            Err(error) => {
                eprintln!("{}", failure::describe(&error).message);
                code = 1;
            }
        }
    }
    output::inspect(&found, args.format.as_deref())?;
    Ok(code)
}

/// One container, in docker's shape.
pub fn object(runtime: &Runtime, name: &str) -> Result<Value> {
    Ok(serde_json::to_value(runtime.inspect(name)?)?)
}
