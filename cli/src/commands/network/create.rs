//! `network create`.

use anyhow::Result;
use skep_engine::docker::network::{CreateRequest, Ipam, IpamConfig};

use crate::args::network::Create;
use crate::context::{self, Node};
use crate::format::output;
use crate::parse::env;

/// `network create`
pub(crate) fn run(node: &Node, args: &Create) -> Result<i32> {
    let (engine, request) = (node.engine(), request(args));
    let id = match engine.begin_network(&request)? {
        Some(id) => id,
        None => context::block_on(async { Ok(engine.create_overlay(&request).await?) })?,
    };
    output::line(id)?;
    Ok(0)
}

fn request(args: &Create) -> CreateRequest {
    let mut pools: Vec<IpamConfig> = args
        .subnet
        .iter()
        .map(|subnet| IpamConfig { subnet: Some(subnet.to_string()), ..IpamConfig::default() })
        .collect();
    let (gateway, range) = (args.gateway.first(), args.ip_range.first());
    if pools.is_empty() && (gateway.is_some() || range.is_some()) {
        pools.push(IpamConfig::default());
    }
    if let Some(first) = pools.first_mut() {
        first.gateway = gateway.map(ToString::to_string);
        first.ip_range = range.map(ToString::to_string);
    }
    CreateRequest {
        name: args.network.clone(),
        driver: args.driver.clone(),
        scope: args.scope.clone(),
        ipam: Some(Ipam { driver: args.ipam_driver.clone(), options: None, config: Some(pools) }),
        internal: args.internal,
        attachable: args.attachable,
        ingress: args.ingress,
        options: Some(env::pairs(&args.opt)),
        labels: Some(env::pairs(&args.label)),
        ..CreateRequest::default()
    }
}
