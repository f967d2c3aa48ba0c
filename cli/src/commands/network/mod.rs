//! `skep network …`: this machine's networks and, where there is one, the swarm's.

pub mod create;
pub mod inspect;
pub mod list;
pub mod remove;

use anyhow::Result;
use skep_cluster::api::{Annotations, ListNetworksRequest, Network, NetworkSpec};
use skep_net::OverlayIntent;

use crate::args::network::Command;
use crate::context::{self, Node};
use crate::swarm;

/// Runs one of them.
pub fn dispatch(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Create(args) => create::run(node, &args),
        Command::Inspect(args) => inspect::run(node, &args),
        Command::Ls(args) => list::run(node, &args),
        Command::Prune(args) => remove::prune(node, &args),
        Command::Rm(args) => remove::run(node, &args),
    }
}

/// The swarm's networks, of which a worker knows only those that it carries; none where there is no swarm.
fn of_swarm(node: &Node) -> Result<Vec<Network>> {
    if !swarm::is_active(node) {
        return Ok(Vec::new());
    }
    let answer = context::block_on(async {
        let client = swarm::client(node).await?;
        Ok(client.control().list_networks(ListNetworksRequest {}).await)
    })?;
    match answer {
        Ok(answer) => Ok(answer.into_inner().networks),
        Err(status) if status.code() == tonic::Code::FailedPrecondition => {
            Ok(node.runtime()?.net().overlays()?.into_iter().map(carried).collect())
        }
        Err(status) => Err(swarm::said(status)),
    }
}

fn carried(overlay: OverlayIntent) -> Network {
    let annotations = Annotations { name: overlay.name, ..Annotations::default() };
    let spec = NetworkSpec { annotations: Some(annotations), internal: overlay.internal, ..NetworkSpec::default() };
    Network { id: overlay.id.to_string(), spec: Some(spec), ..Network::default() }
}

fn network_name(network: &Network) -> &str {
    let spec = network.spec.as_ref();
    spec.and_then(|spec| spec.annotations.as_ref()).map_or("", |annotations| annotations.name.as_str())
}
