//! `skep node …`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use skep_cluster::api::{
    GetNodeRequest, InfoRequest, ListNodesRequest, ListServicesRequest, ListTasksRequest, Node as SwarmNode,
    NodeAvailability, NodeRole, NodeState, Reachability, RemoveNodeRequest, UpdateNodeRequest,
};
use skep_cluster::client::Client;

use super::service::tasks;
use super::swarm::availability;
use crate::args::node::{Command, Inspect, List as ListFlags, Names, Remove, Tasks, Update};
use crate::context::{self, Node};
use crate::failure;
use crate::format::human;
use crate::format::output::{self, List};
use crate::parse::env;
use crate::parse::filter;
use crate::swarm::{self, said};

/// Runs one of them.
pub fn dispatch(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Demote(args) => set_role(node, &args, NodeRole::Worker),
        Command::Inspect(args) => inspect(node, &args),
        Command::Ls(args) => list(node, &args),
        Command::Promote(args) => set_role(node, &args, NodeRole::Manager),
        Command::Ps(args) => ps(node, &args),
        Command::Rm(args) => remove(node, &args),
        Command::Update(args) => update(node, &args),
    }
}

/// `Ready`, `Down`, …
fn state(node: &SwarmNode) -> &'static str {
    match node.status.as_ref().map(|status| status.state()).unwrap_or_default() {
        NodeState::Unknown => "Unknown",
        NodeState::Down => "Down",
        NodeState::Ready => "Ready",
        NodeState::Disconnected => "Disconnected",
    }
}

fn availability_of(node: &SwarmNode) -> &'static str {
    match node.spec.as_ref().map(|spec| spec.availability()).unwrap_or_default() {
        NodeAvailability::Active => "Active",
        NodeAvailability::Pause => "Pause",
        NodeAvailability::Drain => "Drain",
    }
}

fn manager_status(node: &SwarmNode) -> &'static str {
    match &node.manager_status {
        Some(status) if status.leader => "Leader",
        Some(status) => match status.reachability() {
            Reachability::Reachable => "Reachable",
            Reachability::Unreachable => "Unreachable",
            Reachability::Unknown => "Unknown",
        },
        None => "",
    }
}

fn role(node: &SwarmNode) -> &'static str {
    match node.spec.as_ref().map(|spec| spec.desired_role()).unwrap_or_default() {
        NodeRole::Manager => "manager",
        NodeRole::Worker => "worker",
    }
}

/// The node's host name.
pub fn hostname(node: &SwarmNode) -> &str {
    node.description.as_ref().map_or("", |description| description.hostname.as_str())
}

async fn resolve(client: &Client, name: &str) -> Result<String> {
    match name {
        "self" => Ok(client.local().info(InfoRequest {}).await.map_err(said)?.into_inner().node_id),
        name => Ok(name.to_owned()),
    }
}

async fn get(client: &Client, name: &str) -> Result<SwarmNode> {
    let request = GetNodeRequest { r#ref: resolve(client, name).await? };
    Ok(client.control().get_node(request).await.map_err(said)?.into_inner().node.unwrap_or_default())
}

fn list(node: &Node, args: &ListFlags) -> Result<i32> {
    let filters = filter::known(&args.list.filter, &["id", "label", "node.label", "membership", "name", "role"])?;
    for (key, possible) in [("role", ["worker", "manager"]), ("membership", ["accepted", "pending"])] {
        if let Some(value) = filters.values(key).iter().find(|value| !possible.contains(&value.as_str())) {
            bail!("invalid {key} filter: '{value}'");
        }
    }
    let (nodes, own) = context::block_on(async {
        let client = swarm::client(node).await?;
        let nodes = client.control().list_nodes(ListNodesRequest {}).await.map_err(said)?.into_inner().nodes;
        let own = client.local().info(InfoRequest {}).await.map_err(said)?.into_inner().node_id;
        Ok((nodes, own))
    })?;
    let empty = BTreeMap::new();
    let mut shown: Vec<&SwarmNode> = nodes
        .iter()
        .filter(|node| {
            let annotations = node.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
            filters.any("id", |id| node.id.starts_with(id))
                && filters.any("name", |name| hostname(node).starts_with(name))
                && filters.any("role", |wanted| wanted == role(node))
                && filters.any("membership", |wanted| wanted == "accepted")
                && filters.labels("node.label", annotations.map_or(&empty, |annotations| &annotations.labels))
                && filters.labels("label", node.description.as_ref().map_or(&empty, |found| &found.engine_labels))
        })
        .collect();
    shown.sort_by(|a, b| hostname(a).cmp(hostname(b)).then_with(|| a.id.cmp(&b.id)));
    let rows = shown.iter().map(|node| row(node, &own)).collect();
    let list = List {
        columns: &[
            ("ID", "IDAndSelf"),
            ("HOSTNAME", "Hostname"),
            ("STATUS", "Status"),
            ("AVAILABILITY", "Availability"),
            ("MANAGER STATUS", "ManagerStatus"),
            ("ENGINE VERSION", "EngineVersion"),
        ],
        more: &[("ID", "ID"), ("TLS STATUS", "TLSStatus"), ("SELF", "Self")],
        rows,
    };
    list.print(args.list.format.as_deref(), args.list.quiet.then_some("ID"))?;
    Ok(0)
}

fn row(node: &SwarmNode, own: &str) -> Value {
    let is_self = node.id == own;
    json!({
        "ID": node.id,
        "IDAndSelf": format!("{} {}", node.id, if is_self { "*" } else { " " }),
        "Self": is_self,
        "Hostname": hostname(node),
        "Status": state(node),
        "Availability": availability_of(node),
        "ManagerStatus": manager_status(node),
        "TLSStatus": "Ready",
        "EngineVersion": node.description.as_ref().map_or("", |found| found.engine_version.as_str()),
        "Label": node.spec.as_ref().and_then(|spec| spec.annotations.as_ref()).map(|annotations| &annotations.labels),
    })
}

/// One node, in docker's shape.
pub fn object(node: &Node, name: &str) -> Result<Value> {
    context::block_on(async {
        let client = swarm::client(node).await?;
        Ok(shape(&get(&client, name).await?))
    })
}

fn shape(node: &SwarmNode) -> Value {
    let meta = node.meta.unwrap_or_default();
    let spec = node.spec.clone().unwrap_or_default();
    let annotations = spec.annotations.clone().unwrap_or_default();
    let description = node.description.clone().unwrap_or_default();
    let platform = description.platform.clone().unwrap_or_default();
    let resources = description.resources.clone().unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    let mut object = json!({
        "ID": node.id,
        "Version": {"Index": meta.version},
        "CreatedAt": human::rfc3339(human::timestamp(meta.created_at_ns)),
        "UpdatedAt": human::rfc3339(human::timestamp(meta.updated_at_ns)),
        "Spec": {
            "Name": annotations.name,
            "Labels": annotations.labels,
            "Role": role(node),
            "Availability": availability_of(node).to_ascii_lowercase(),
        },
        "Description": {
            "Hostname": description.hostname,
            "Platform": {"Architecture": platform.architecture, "OS": platform.os},
            "Resources": {"NanoCPUs": resources.nano_cpus, "MemoryBytes": resources.memory_bytes},
            "Engine": {
                "EngineVersion": description.engine_version,
                "Labels": description.engine_labels,
                "LoadBalancer": description.load_balancer,
            },
        },
        "Status": {"State": state(node).to_ascii_lowercase(), "Message": status.message, "Addr": status.addr},
    });
    if let (Some(manager), Some(fields)) = (&node.manager_status, object.as_object_mut()) {
        let mut shown = serde_json::Map::new();
        if manager.leader {
            shown.insert("Leader".to_owned(), json!(true));
        }
        let reachability = match manager.reachability() {
            Reachability::Reachable => "reachable",
            Reachability::Unreachable => "unreachable",
            Reachability::Unknown => "unknown",
        };
        shown.insert("Reachability".to_owned(), json!(reachability));
        shown.insert("Addr".to_owned(), json!(manager.addr));
        fields.insert("ManagerStatus".to_owned(), Value::Object(shown));
    }
    object
}

fn inspect(node: &Node, args: &Inspect) -> Result<i32> {
    let mut code = 0;
    let mut found = Vec::new();
    context::block_on(async {
        let client = swarm::client(node).await?;
        for name in &args.nodes {
            match get(&client, name).await {
                Ok(one) => found.push(one),
                Err(error) => {
                    eprintln!("{}", failure::describe(&error).message);
                    code = 1;
                }
            }
        }
        Ok(())
    })?;
    if args.pretty {
        let pages: Vec<String> = found.iter().map(pretty).collect();
        output::print(&pages.join("\n"))?;
    } else {
        output::inspect(&found.iter().map(shape).collect::<Vec<_>>(), args.format.as_deref())?;
    }
    Ok(code)
}

fn pretty(node: &SwarmNode) -> String {
    let meta = node.meta.unwrap_or_default();
    let annotations = node.spec.clone().unwrap_or_default().annotations.unwrap_or_default();
    let description = node.description.clone().unwrap_or_default();
    let (platform, resources) = (description.platform.unwrap_or_default(), description.resources.unwrap_or_default());
    let created = human::timestamp(meta.created_at_ns).map(human::local_time).unwrap_or_default();
    let mut text = format!("ID:\t\t\t{}\n", node.id);
    if !annotations.labels.is_empty() {
        text.push_str("Labels:\n");
        for (key, value) in &annotations.labels {
            text.push_str(&format!(" - {key}={value}\n"));
        }
    }
    text.push_str(&format!("Hostname:              \t{}\nJoined at:             \t{created}\n", description.hostname));
    text.push_str(&format!(
        "Status:\n State:\t\t\t{}\n Availability:         \t{}\n Address:\t\t{}\n",
        state(node),
        availability_of(node),
        node.status.clone().unwrap_or_default().addr
    ));
    if let Some(manager) = &node.manager_status {
        let leader = if manager.leader { "Yes" } else { "No" };
        let reach = if manager.reachability() == Reachability::Reachable { "Reachable" } else { "Unreachable" };
        text.push_str(&format!(
            "Manager Status:\n Address:\t\t{}\n Raft Status:\t\t{reach}\n Leader:\t\t{leader}\n",
            manager.addr
        ));
    }
    text.push_str(&format!(
        "Platform:\n Operating System:\t{}\n Architecture:\t\t{}\nResources:\n CPUs:\t\t\t{}\n Memory:\t\t{}\nEngine Version:\t\t{}\n",
        platform.os,
        platform.architecture,
        resources.nano_cpus / 1_000_000_000,
        human::binary_size(resources.memory_bytes as f64),
        description.engine_version
    ));
    text
}

fn update(node: &Node, args: &Update) -> Result<i32> {
    let given = args.availability.as_deref().map(availability).transpose()?;
    let wanted = match args.role.as_deref() {
        None => None,
        Some("worker") => Some(NodeRole::Worker),
        Some("manager") => Some(NodeRole::Manager),
        Some(other) => bail!("invalid role {other:?}, only worker and manager are supported"),
    };
    context::block_on(async {
        let client = swarm::client(node).await?;
        change(&client, &args.node, |spec| {
            if let Some(given) = given {
                spec.set_availability(given);
            }
            if let Some(wanted) = wanted {
                spec.set_desired_role(wanted);
            }
            let labels = &mut spec.annotations.get_or_insert_default().labels;
            labels.extend(env::pairs(&args.label_add));
            for key in &args.label_rm {
                if labels.remove(key).is_none() {
                    bail!("key {key} doesn't exist in node's labels");
                }
            }
            Ok(())
        })
        .await?;
        Ok(())
    })?;
    output::line(&args.node)?;
    Ok(0)
}

/// Changes a node's spec; what somebody else changed meanwhile is read again.
async fn change(
    client: &Client,
    name: &str,
    edit: impl Fn(&mut skep_cluster::api::NodeSpec) -> Result<()>,
) -> Result<()> {
    let mut attempts = 0;
    loop {
        let found = get(client, name).await?;
        let mut spec = found.spec.clone().unwrap_or_default();
        edit(&mut spec)?;
        let request = UpdateNodeRequest {
            r#ref: found.id.clone(),
            version: found.meta.unwrap_or_default().version,
            spec: Some(spec),
        };
        match client.control().update_node(request).await {
            Ok(_) => return Ok(()),
            Err(status) if attempts < 5 && status.message().contains("out of sequence") => attempts += 1,
            Err(status) => return Err(said(status)),
        }
    }
}

fn set_role(node: &Node, args: &Names, wanted: NodeRole) -> Result<i32> {
    context::block_on(async {
        let client = swarm::client(node).await?;
        for name in &args.nodes {
            let found = get(&client, name).await?;
            let is = found.spec.as_ref().map(|spec| spec.desired_role()).unwrap_or_default();
            let (done, already) = match wanted {
                NodeRole::Manager => ("promoted to a manager in the swarm", "already a manager"),
                NodeRole::Worker => ("demoted in the swarm", "already a worker"),
            };
            if is == wanted {
                output::line(format!("Node {name} is {already}."))?;
                continue;
            }
            change(&client, name, |spec| {
                spec.set_desired_role(wanted);
                Ok(())
            })
            .await?;
            match wanted {
                NodeRole::Manager => output::line(format!("Node {name} {done}."))?,
                NodeRole::Worker => output::line(format!("Manager {name} {done}."))?,
            }
        }
        Ok(0)
    })
}

fn remove(node: &Node, args: &Remove) -> Result<i32> {
    context::block_on(async {
        let client = swarm::client(node).await?;
        let mut code = 0;
        for name in &args.nodes {
            let request = RemoveNodeRequest { r#ref: name.clone(), force: args.force };
            match client.control().remove_node(request).await {
                Ok(_) => output::line(name)?,
                Err(status) => {
                    eprintln!("{}", failure::describe(&said(status)).message);
                    code = 1;
                }
            }
        }
        Ok(code)
    })
}

fn ps(node: &Node, args: &Tasks) -> Result<i32> {
    let names = if args.nodes.is_empty() { vec!["self".to_owned()] } else { args.nodes.clone() };
    let (found, nodes, services) = context::block_on(async {
        let client = swarm::client(node).await?;
        let mut node_ids = Vec::new();
        for name in &names {
            node_ids.push(get(&client, name).await?.id);
        }
        let request = ListTasksRequest { node_ids, ..ListTasksRequest::default() };
        let found = client.control().list_tasks(request).await.map_err(said)?.into_inner().tasks;
        let nodes = client.control().list_nodes(ListNodesRequest {}).await.map_err(said)?.into_inner().nodes;
        let services =
            client.control().list_services(ListServicesRequest {}).await.map_err(said)?.into_inner().services;
        Ok((found, nodes, services))
    })?;
    let view = tasks::View { tasks: &found, nodes: &nodes, services: &services };
    tasks::print(&view, &args.list, args.no_resolve, args.no_trunc)?;
    Ok(0)
}
