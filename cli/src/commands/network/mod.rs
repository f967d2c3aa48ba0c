//! `skep network …`: this machine's networks and, where there is one, the swarm's.

pub mod create;
pub mod inspect;
pub mod list;
pub mod remove;

use anyhow::Result;
use skep_cluster::api::{ListNetworksRequest, Network};

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

/// The swarm's networks; none where there is no swarm, or where this node may not ask.
fn of_swarm(node: &Node) -> Vec<Network> {
    if !swarm::is_active(node) {
        return Vec::new();
    }
    let found = context::block_on(async {
        let client = swarm::client(node).await?;
        let answer = client.control().list_networks(ListNetworksRequest {}).await.map_err(swarm::said)?;
        Ok(answer.into_inner().networks)
    });
    found.unwrap_or_else(|error| {
        tracing::debug!(error = format!("{error:#}"), "the swarm's networks are not known here");
        Vec::new()
    })
}

fn network_name(network: &Network) -> &str {
    let spec = network.spec.as_ref();
    spec.and_then(|spec| spec.annotations.as_ref()).map_or("", |annotations| annotations.name.as_str())
}
