//! `service inspect`.

use anyhow::{Result, anyhow};
use serde_json::Value;
use skep_cluster::api::{GetTaskRequest, ListNetworksRequest};

use super::{get, no_such, pretty, shape};
use crate::args::service::Inspect;
use crate::context::{self, Node};
use crate::failure;
use crate::format::output;
use crate::swarm::{self, is_not_found, said};

/// `service inspect`
pub fn run(node: &Node, args: &Inspect) -> Result<i32> {
    let mut code = 0;
    let (services, networks) = context::block_on(async {
        let client = swarm::client(node).await?;
        let mut found = Vec::new();
        for name in &args.services {
            match get(&client, name, no_such).await {
                Ok(service) => found.push(service),
                Err(error) => {
                    eprintln!("{}", failure::describe(&error).message);
                    code = 1;
                }
            }
        }
        let networks = match args.pretty {
            true => client.control().list_networks(ListNetworksRequest {}).await.map_err(said)?.into_inner().networks,
            false => Vec::new(),
        };
        Ok((found, networks))
    })?;
    if args.pretty {
        let pages: Vec<String> = services.iter().map(|service| pretty::page(service, &networks)).collect();
        output::print(&pages.join("\n"))?;
    } else {
        output::inspect(&services.iter().map(shape::service).collect::<Vec<_>>(), args.format.as_deref())?;
    }
    Ok(code)
}

/// One service, in docker's shape.
pub fn object(node: &Node, name: &str) -> Result<Value> {
    context::block_on(async {
        let client = swarm::client(node).await?;
        Ok(shape::service(&get(&client, name, no_such).await?))
    })
}

/// One task, in docker's shape.
pub fn task(node: &Node, name: &str) -> Result<Value> {
    context::block_on(async {
        let client = swarm::client(node).await?;
        match client.control().get_task(GetTaskRequest { r#ref: name.to_owned() }).await {
            Ok(answer) => Ok(shape::task(&answer.into_inner().task.unwrap_or_default())),
            Err(status) if is_not_found(&status) => Err(anyhow!("no such task: {name}")),
            Err(status) => Err(said(status)),
        }
    })
}
