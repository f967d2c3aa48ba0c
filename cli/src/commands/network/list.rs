//! `network ls`.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use skep_net::NetworkDriver;

use super::{network_name, of_swarm};
use crate::args::network::List as Flags;
use crate::context::Node;
use crate::format::human;
use crate::format::output::List;
use crate::parse::filter;

/// One network of either kind, as far as a list shows it.
pub struct Entry {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// bridge, host, null, overlay.
    pub driver: &'static str,
    /// local or swarm.
    pub scope: &'static str,
    /// No way out.
    pub internal: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

impl Entry {
    /// Whether users did not make it.
    pub fn is_builtin(&self) -> bool {
        matches!(self.name.as_str(), "bridge" | "host" | "none")
    }
}

/// Every network, by name; and why the swarm's are missing, if they are.
pub fn all(node: &Node) -> Result<(Vec<Entry>, Option<anyhow::Error>)> {
    let mut entries = Vec::new();
    for network in node.runtime()?.net().networks().list()? {
        entries.push(Entry {
            id: network.id.to_string(),
            name: network.name.clone(),
            driver: driver(network.driver),
            scope: "local",
            internal: network.internal,
            labels: network.labels.clone(),
            created: i64::try_from(network.created_seconds).ok().and_then(|s| Timestamp::from_second(s).ok()),
        });
    }
    let (of_swarm, failure) = match of_swarm(node) {
        Ok(networks) => (networks, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    for network in of_swarm {
        let spec = network.spec.clone().unwrap_or_default();
        entries.push(Entry {
            id: network.id.clone(),
            name: network_name(&network).to_owned(),
            driver: "overlay",
            scope: "swarm",
            internal: spec.internal,
            labels: spec.annotations.unwrap_or_default().labels,
            created: human::timestamp(network.meta.unwrap_or_default().created_at_ns),
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    Ok((entries, failure))
}

/// Docker's name of a driver.
pub fn driver(driver: NetworkDriver) -> &'static str {
    match driver {
        NetworkDriver::Bridge => "bridge",
        NetworkDriver::Host => "host",
        NetworkDriver::Null => "null",
    }
}

/// `network ls`
pub fn run(node: &Node, args: &Flags) -> Result<i32> {
    let filters = filter::known(&args.list.filter, &["driver", "id", "label", "name", "scope", "type"])?;
    filters.check("type", &["custom", "builtin"])?;
    filters.check("scope", &["swarm", "global", "local"])?;
    let names = filters.names("name")?;
    let (entries, failure) = all(node)?;
    let rows = entries
        .iter()
        .filter(|entry| {
            filters.any("driver", |driver| driver == entry.driver)
                && filters.any("id", |id| entry.id.starts_with(id))
                && (names.has(&entry.name) || filters.any("name", |name| entry.name == skep_net::name_of_network(name)))
                && filters.any("scope", |scope| scope == entry.scope)
                && filters.any("type", |kind| (kind == "builtin") == entry.is_builtin())
                && filters.labels("label", &entry.labels)
        })
        .map(|entry| row(entry, args.no_trunc))
        .collect();
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
    failure.map_or(Ok(0), Err)
}

fn row(entry: &Entry, whole: bool) -> Value {
    let labels: Vec<String> = entry.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "ID": if whole { &entry.id } else { human::short_id(&entry.id) },
        "Name": entry.name,
        "Driver": entry.driver,
        "Scope": entry.scope,
        "IPv4": "true",
        "IPv6": "false",
        "Internal": entry.internal.to_string(),
        "Labels": labels.join(","),
        "Label": entry.labels,
        "CreatedAt": entry.created.map(human::local_time).unwrap_or_default(),
    })
}
