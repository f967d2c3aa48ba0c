//! `service inspect`.

use anyhow::Result;
use serde_json::Value;

use super::{get, pretty};
use crate::args::service::Inspect;
use crate::context::{self, Node};
use crate::failure;
use crate::format::output;

/// `service inspect`
pub(crate) fn run(node: &Node, args: &Inspect) -> Result<i32> {
    let mut code = 0;
    let (services, networks) = context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let mut found = Vec::new();
        for name in &args.services {
            match get(&swarm, name).await {
                Ok(service) => found.push(service),
                Err(error) => {
                    eprintln!("{}", failure::describe(&error).message);
                    code = 1;
                }
            }
        }
        let networks = if args.pretty { swarm.networks().await? } else { Vec::new() };
        Ok((found, networks))
    })?;
    if args.pretty {
        let pages: Vec<String> = services.iter().map(|service| pretty::page(service, &networks)).collect();
        output::print(&pages.join("\n"))?;
    } else {
        output::inspect(
            &services.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?,
            args.format.as_deref(),
        )?;
    }
    Ok(code)
}

/// One service, in docker's shape.
pub(crate) fn object(node: &Node, name: &str) -> Result<Value> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        Ok(serde_json::to_value(get(&swarm, name).await?)?)
    })
}

/// One task, in docker's shape.
pub(crate) fn task(node: &Node, name: &str) -> Result<Value> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        Ok(serde_json::to_value(swarm.task(name).await?)?)
    })
}
