//! `network rm` and `network prune`.

use anyhow::Result;
use skep_cluster::api::RemoveNetworkRequest;
use skep_net::Error;

use super::list;
use crate::args::network::{Prune, Remove};

use crate::commands::container::prune::confirmed;
use crate::context::{self, Node};
use crate::failure::each;
use crate::format::output;
use crate::parse::duration::moment;
use crate::parse::filter;
use crate::swarm;

/// `network rm`
pub fn run(node: &Node, args: &Remove) -> Result<i32> {
    each(&args.networks, |name| match remove(node, name) {
        Ok(()) => Ok(name.to_owned()),
        Err(error) if args.force && error.to_string().contains("not found") => Ok(String::new()),
        Err(error) => Err(error),
    })
}

fn remove(node: &Node, name: &str) -> Result<()> {
    match node.runtime()?.net().remove_network(name) {
        Ok(_) => Ok(()),
        Err(Error::NetworkNotFound { .. }) if swarm::is_active(node) => context::block_on(async {
            let client = swarm::client(node).await?;
            let request = RemoveNetworkRequest { r#ref: name.to_owned() };
            client.control().remove_network(request).await.map_err(swarm::said)?;
            Ok(())
        }),
        Err(error) => Err(error.into()),
    }
}

/// `network prune`
pub fn prune(node: &Node, args: &Prune) -> Result<i32> {
    let filters = filter::known(&args.filter, &["until", "label", "label!"])?;
    if !args.force && !confirmed("WARNING! This will remove all custom networks not used by at least one container.")? {
        return Ok(0);
    }
    let now = jiff::Timestamp::now();
    let until = filters.values("until").first().map(|text| moment(text, now)).transpose()?;
    let mut removed = Vec::new();
    let (entries, failure) = list::all(node)?;
    for entry in entries {
        let wanted = !entry.is_builtin()
            && !matches!(entry.name.as_str(), "ingress" | skep_net::GATEWAY_BRIDGE)
            && until.is_none_or(|until| entry.created.is_some_and(|created| created < until))
            && filters.labels("label", &entry.labels)
            && (filters.values("label!").is_empty() || !filters.labels("label!", &entry.labels));
        // One that is in use says so, and stays.
        if wanted && remove(node, &entry.id).is_ok() {
            removed.push(entry.name);
        }
    }
    if !removed.is_empty() {
        output::print(&format!("Deleted Networks:\n{}\n\n", removed.join("\n")))?;
    }
    failure.map_or(Ok(0), Err)
}
