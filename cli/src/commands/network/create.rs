//! `network create`.

use anyhow::{Result, bail};
use skep_cluster::api::{Annotations, CreateNetworkRequest, IpamConfig, NetworkSpec as SwarmSpec};
use skep_net::NetworkSpec;

use crate::args::network::Create;
use crate::context::{self, Node};
use crate::format::output;
use crate::parse::env;
use crate::swarm;

/// `network create`
pub fn run(node: &Node, args: &Create) -> Result<i32> {
    let id = match (args.driver.as_str(), args.scope.as_deref()) {
        ("overlay", _) => overlay(node, args)?,
        ("bridge", Some("swarm")) => bail!("a swarm-scoped network needs the driver overlay"),
        ("bridge", _) => bridge(node, args)?,
        ("host" | "null" | "none", _) => bail!("only one instance of \"{}\" network is allowed", args.driver),
        (driver, _) => bail!("could not find plugin {driver} in v1 plugin registry: use bridge or overlay"),
    };
    output::line(id)?;
    Ok(0)
}

fn bridge(node: &Node, args: &Create) -> Result<String> {
    if args.attachable || args.ingress {
        bail!("--attachable and --ingress are for overlay networks only: add --driver overlay");
    }
    let subnet = match args.subnet.as_slice() {
        [] => None,
        [one] => Some(*one),
        _ => bail!("bridge networks have one IPv4 subnet"),
    };
    if subnet.is_none() && (!args.gateway.is_empty() || !args.ip_range.is_empty()) {
        bail!("no matching subnet for {}", if args.gateway.is_empty() { "range" } else { "gateway" });
    }
    let spec = NetworkSpec {
        name: args.network.clone(),
        subnet,
        gateway: args.gateway.first().copied(),
        ip_range: args.ip_range.first().copied(),
        internal: args.internal,
        labels: env::pairs(&args.label),
        options: env::pairs(&args.opt),
    };
    Ok(node.runtime()?.net().networks().create(&spec)?.id.to_string())
}

fn overlay(node: &Node, args: &Create) -> Result<String> {
    if args.subnet.is_empty() && (!args.gateway.is_empty() || !args.ip_range.is_empty()) {
        bail!("no matching subnet for {}", if args.gateway.is_empty() { "range" } else { "gateway" });
    }
    if args.subnet.len() > 1 {
        bail!("overlay networks have one IPv4 subnet");
    }
    let ipam = args.subnet.iter().map(|subnet| IpamConfig {
        subnet: subnet.to_string(),
        gateway: args.gateway.first().map(ToString::to_string).unwrap_or_default(),
        range: args.ip_range.first().map(ToString::to_string).unwrap_or_default(),
    });
    let spec = SwarmSpec {
        annotations: Some(Annotations { name: args.network.clone(), labels: env::pairs(&args.label) }),
        driver: "overlay".to_owned(),
        driver_options: env::pairs(&args.opt),
        internal: args.internal,
        attachable: args.attachable,
        ingress: args.ingress,
        ipam: ipam.collect(),
    };
    context::block_on(async {
        let client = swarm::client(node).await?;
        let request = CreateNetworkRequest { spec: Some(spec) };
        let answer = client.control().create_network(request).await.map_err(swarm::said)?;
        Ok(answer.into_inner().network.unwrap_or_default().id)
    })
}
