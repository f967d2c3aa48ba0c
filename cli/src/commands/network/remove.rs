//! `network rm` and `network prune`.

use anyhow::Result;
use skep_engine::ErrorKind;
use skep_engine::networks::PruneNetworks;

use crate::args::Prune;
use crate::args::network::Remove;
use crate::commands::container::prune::confirmed;
use crate::context::{self, Node};
use crate::failure::{self, each};
use crate::format::output;
use crate::parse::filter;

/// `network rm`
pub(crate) fn run(node: &Node, args: &Remove) -> Result<i32> {
    each(&args.networks, |name| match remove(node, name) {
        Ok(()) => Ok(name.to_owned()),
        Err(error) if args.force && failure::kind(&error) == Some(ErrorKind::NotFound) => Ok(String::new()),
        Err(error) => Err(error),
    })
}

fn remove(node: &Node, name: &str) -> Result<()> {
    match node.engine().begin_network_removal(name)? {
        true => Ok(()),
        false => context::block_on(async { Ok(node.engine().remove_overlay(name).await?) }),
    }
}

/// `network prune`
pub(crate) fn prune(node: &Node, args: &Prune) -> Result<i32> {
    let request = PruneNetworks { filters: filter::all(&args.filter) };
    request.check()?;
    if !args.force && !confirmed("WARNING! This will remove all custom networks not used by at least one container.")? {
        return Ok(0);
    }
    let pruned = match node.engine().begin_network_prune(&request)? {
        Some(pruned) => pruned,
        None => context::block_on(async { Ok(node.engine().prune_networks(&request).await?) })?,
    };
    if !pruned.networks_deleted.is_empty() {
        output::print(&format!("Deleted Networks:\n{}\n\n", pruned.networks_deleted.join("\n")))?;
    }
    pruned.missing.map_or(Ok(0), |error| Err(error.into()))
}
