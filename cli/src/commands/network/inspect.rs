//! `network inspect`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use skep_cluster::api::{GetNetworkRequest, GetNetworkResponse};
use skep_net::{Error, NetworkView};

use super::list::driver;
use crate::args::network::Inspect;
use crate::context::{self, Node};
use crate::failure;
use crate::format::{human, output};
use crate::swarm;

/// `network inspect`
pub fn run(node: &Node, args: &Inspect) -> Result<i32> {
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.networks {
        match object(node, name) {
            Ok(network) => found.push(network),
            Err(error) => {
                eprintln!("{}", failure::describe(&error).message);
                code = 1;
            }
        }
    }
    output::inspect(&found, args.format.as_deref())?;
    Ok(code)
}

/// One network, in docker's shape: what this machine has of it, and what the swarm knows.
pub fn object(node: &Node, name: &str) -> Result<Value> {
    let net = node.runtime()?.net().clone();
    let local = match net.inspect_network(name) {
        Ok(view) => Some(view),
        Err(Error::NetworkNotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(view) = local.as_ref().filter(|view| view.definition.is_some()) {
        return Ok(of_machine(view));
    }
    if swarm::is_active(node) {
        let asked = local.as_ref().map_or_else(|| name.to_owned(), |view| view.id.to_string());
        let answer = context::block_on(async {
            let client = swarm::client(node).await?;
            let answer = client.control().get_network(GetNetworkRequest { r#ref: asked.clone() }).await;
            Ok(answer.map_err(swarm::said)?.into_inner())
        });
        match (answer, &local) {
            (Ok(answer), _) => return Ok(of_swarm(&answer, local.as_ref())),
            // A worker cannot ask, but knows what it carries.
            (Err(_), Some(view)) => return Ok(of_machine(view)),
            (Err(error), None) if error.to_string().contains("not found") => {}
            (Err(error), None) => return Err(error),
        }
    }
    match local {
        Some(view) => Ok(of_machine(&view)),
        None => bail!("network {name} not found"),
    }
}

fn containers(view: &NetworkView) -> Map<String, Value> {
    let entry = |endpoint: &skep_net::EndpointView| {
        let described = json!({
            "Name": endpoint.name,
            "EndpointID": format!("{}-{}", endpoint.sandbox, view.id).chars().take(64).collect::<String>(),
            "MacAddress": endpoint.mac.to_string(),
            "IPv4Address": endpoint.address.to_string(),
            "IPv6Address": "",
        });
        (endpoint.sandbox.clone(), described)
    };
    view.endpoints.iter().map(entry).collect()
}

fn of_machine(view: &NetworkView) -> Value {
    let definition = view.definition.as_ref();
    let ipam: Vec<Value> = definition
        .and_then(|definition| definition.subnet)
        .map(|subnet| {
            let mut config = Map::from_iter([("Subnet".to_owned(), json!(subnet.to_string()))]);
            let definition = definition.map(|definition| (definition.gateway, definition.ip_range));
            if let Some((Some(gateway), _)) = definition {
                config.insert("Gateway".to_owned(), json!(gateway.to_string()));
            }
            if let Some((_, Some(range))) = definition {
                config.insert("IPRange".to_owned(), json!(range.to_string()));
            }
            Value::Object(config)
        })
        .into_iter()
        .collect();
    let created = definition.and_then(|definition| i64::try_from(definition.created_seconds).ok());
    let mut options: BTreeMap<String, String> = definition.map(|d| d.options.clone()).unwrap_or_default();
    if let Some(bridge) = definition.and_then(|definition| definition.bridge.clone()) {
        options.insert("com.docker.network.bridge.name".to_owned(), bridge);
    }
    json!({
        "Name": view.name,
        "Id": view.id.to_string(),
        "Created": human::rfc3339(created.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())),
        "Scope": if definition.is_some() { "local" } else { "swarm" },
        "Driver": definition.map_or("overlay", |definition| driver(definition.driver)),
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": ipam},
        "Internal": definition.is_some_and(|definition| definition.internal),
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers(view),
        "Options": options,
        "Labels": definition.map(|definition| definition.labels.clone()).unwrap_or_default(),
    })
}

fn of_swarm(answer: &GetNetworkResponse, local: Option<&NetworkView>) -> Value {
    let network = answer.network.clone().unwrap_or_default();
    let spec = network.spec.clone().unwrap_or_default();
    let annotations = spec.annotations.clone().unwrap_or_default();
    let configs = if network.ipam.is_empty() { &spec.ipam } else { &network.ipam };
    let ipam: Vec<Value> = configs
        .iter()
        .map(|config| {
            let mut fields = Map::from_iter([
                ("Subnet".to_owned(), json!(config.subnet)),
                ("Gateway".to_owned(), json!(config.gateway)),
            ]);
            if !config.range.is_empty() {
                fields.insert("IPRange".to_owned(), json!(config.range));
            }
            Value::Object(fields)
        })
        .collect();
    let peers: Vec<Value> = answer
        .nodes
        .iter()
        .map(|node| {
            let hostname = node.description.as_ref().map_or("", |description| description.hostname.as_str());
            json!({"Name": hostname, "IP": node.data_path_addr})
        })
        .collect();
    let mut options = spec.driver_options.clone();
    options.insert("com.docker.network.driver.overlay.vxlanid_list".to_owned(), network.vni.to_string());
    let mut object = json!({
        "Name": annotations.name,
        "Id": network.id,
        "Created": human::rfc3339(human::timestamp(network.meta.unwrap_or_default().created_at_ns)),
        "Scope": "swarm",
        "Driver": "overlay",
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": ipam},
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "Ingress": spec.ingress,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": local.map(containers),
        "Options": options,
        "Labels": annotations.labels,
        "Peers": peers,
    });
    if !network.allocation_error.is_empty()
        && let Some(fields) = object.as_object_mut()
    {
        fields.insert("AllocationError".to_owned(), json!(network.allocation_error));
    }
    object
}
