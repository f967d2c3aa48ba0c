//! `network ls`.

use anyhow::Result;
use serde_json::{Value, json};
use skep_engine::docker;
use skep_engine::docker::network::Network;
use skep_engine::networks::ListNetworks;

use crate::args::network::List as Flags;
use crate::context::{self, Node};
use crate::format::human;
use crate::format::output::List;
use crate::parse::filter;

/// `network ls`
pub(crate) fn run(node: &Node, args: &Flags) -> Result<i32> {
    let request = ListNetworks { filters: filter::all(&args.list.filter) };
    let listed = match node.engine().begin_network_list(&request)? {
        Some(listed) => listed,
        None => context::block_on(async { Ok(node.engine().list_networks(&request).await?) })?,
    };
    let rows = listed.networks.iter().map(|network| row(network, args.no_trunc)).collect();
    let list = List {
        columns: &[("NETWORK ID", "ID"), ("NAME", "Name"), ("DRIVER", "Driver"), ("SCOPE", "Scope")],
        more: &[
            ("IPV4", "IPv4"),
            ("IPV6", "IPv6"),
            ("INTERNAL", "Internal"),
            ("LABELS", "Labels"),
            ("CREATED AT", "CreatedAt"),
        ],
        rows,
    };
    list.print(args.list.format.as_deref(), args.list.quiet.then_some("ID"))?;
    listed.missing.map_or(Ok(0), |error| Err(error.into()))
}

fn row(network: &Network, whole: bool) -> Value {
    let labels = network.labels.clone().unwrap_or_default();
    let listed: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "ID": if whole { &network.id } else { human::short_id(&network.id) },
        "Name": network.name,
        "Driver": network.driver,
        "Scope": network.scope,
        "IPv4": network.enable_ipv4.unwrap_or(true).to_string(),
        "IPv6": network.enable_ipv6.to_string(),
        "Internal": network.internal.to_string(),
        "Labels": listed.join(","),
        "Label": labels,
        "CreatedAt": docker::moment(&network.created).map(human::local_time).unwrap_or_default(),
    })
}
