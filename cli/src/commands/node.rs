//! `skep node …`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use skep_cluster::api::{ListTasksRequest, Node as SwarmNode, NodeRole, NodeSpec};
use skep_engine::nodes;
use skep_engine::services::words::Word;
use skep_engine::swarm::availability;
use skep_engine::swarm::facts::NodeFacts;

use super::service::tasks::{self, capital};
use crate::args::node::{Command, Inspect, List as ListFlags, Names, Remove, Tasks, Update};
use crate::context::{self, Node};
use crate::failure;
use crate::format::human;
use crate::format::output::{self, List};
use crate::parse::env;
use crate::parse::filter;

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

fn manager_status(node: &SwarmNode) -> String {
    match &node.manager_status {
        Some(status) if status.leader => "Leader".to_owned(),
        Some(status) => capital(status.reachability().word()),
        None => String::new(),
    }
}

fn list(node: &Node, args: &ListFlags) -> Result<i32> {
    let filters = filter::known(&args.list.filter, &["id", "label", "node.label", "membership", "name", "role"])?;
    for (key, possible) in [("role", ["worker", "manager"]), ("membership", ["accepted", "pending"])] {
        if let Some(value) = filters.values(key).iter().find(|value| !possible.contains(&value.as_str())) {
            bail!("invalid {key} filter: '{value}'");
        }
    }
    let (nodes, own) = context::block_on(async {
        let swarm = node.engine().swarm().await?;
        Ok((swarm.nodes().await?, swarm.info().await?.node_id))
    })?;
    let empty = BTreeMap::new();
    let mut shown: Vec<&SwarmNode> = nodes
        .iter()
        .filter(|node| {
            let annotations = node.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
            filters.any("id", |id| node.id.starts_with(id))
                && filters.any("name", |name| node.hostname().starts_with(name))
                && filters.any("role", |wanted| wanted == node.desired_role().word())
                && filters.any("membership", |wanted| wanted == "accepted")
                && filters.labels("node.label", annotations.map_or(&empty, |annotations| &annotations.labels))
                && filters.labels("label", node.description.as_ref().map_or(&empty, |found| &found.engine_labels))
        })
        .collect();
    shown.sort_by(|a, b| a.hostname().cmp(b.hostname()).then_with(|| a.id.cmp(&b.id)));
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
        "Hostname": node.hostname(),
        "Status": capital(node.state().word()),
        "Availability": capital(node.availability().word()),
        "ManagerStatus": manager_status(node),
        "TLSStatus": "Ready",
        "EngineVersion": node.description.as_ref().map_or("", |found| found.engine_version.as_str()),
        "Label": node.spec.as_ref().and_then(|spec| spec.annotations.as_ref()).map(|annotations| &annotations.labels),
    })
}

/// One node, in docker's shape.
pub fn object(node: &Node, name: &str) -> Result<Value> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        Ok(serde_json::to_value(nodes::shape(&swarm.node(name).await?))?)
    })
}

fn inspect(node: &Node, args: &Inspect) -> Result<i32> {
    let mut code = 0;
    let mut found = Vec::new();
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        for name in &args.nodes {
            match swarm.node(name).await {
                Ok(one) => found.push(one),
                Err(error) => {
                    eprintln!("{}", failure::describe(&error.into()).message);
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
        let shown = found.iter().map(|node| serde_json::to_value(nodes::shape(node)));
        output::inspect(&shown.collect::<Result<Vec<_>, _>>()?, args.format.as_deref())?;
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
        capital(node.state().word()),
        capital(node.availability().word()),
        node.status.clone().unwrap_or_default().addr
    ));
    if let Some(manager) = &node.manager_status {
        let leader = if manager.leader { "Yes" } else { "No" };
        let reach = if nodes::is_reachable(node) { "Reachable" } else { "Unreachable" };
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
    let edit = |spec: &mut NodeSpec| {
        if let Some(given) = given {
            spec.set_availability(given);
        }
        if let Some(wanted) = wanted {
            spec.set_desired_role(wanted);
        }
        spec.annotations.get_or_insert_default().labels.extend(env::pairs(&args.label_add));
        args.label_rm.iter().try_for_each(|key| nodes::remove_label(spec, key))
    };
    context::block_on(async { Ok(node.engine().swarm().await?.change_node(&args.node, edit).await?) })?;
    output::line(&args.node)?;
    Ok(0)
}

fn set_role(node: &Node, args: &Names, wanted: NodeRole) -> Result<i32> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        for name in &args.nodes {
            let changed = swarm.set_role(name, wanted).await?;
            output::line(match (changed, wanted) {
                (true, NodeRole::Manager) => format!("Node {name} promoted to a manager in the swarm."),
                (true, NodeRole::Worker) => format!("Manager {name} demoted in the swarm."),
                (false, role) => format!("Node {name} is already a {}.", role.word()),
            })?;
        }
        Ok(0)
    })
}

fn remove(node: &Node, args: &Remove) -> Result<i32> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let mut code = 0;
        for name in &args.nodes {
            match swarm.remove_node(name, args.force).await {
                Ok(()) => output::line(name)?,
                Err(error) => {
                    eprintln!("{}", failure::describe(&error.into()).message);
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
        let swarm = node.engine().swarm().await?;
        let mut node_ids = Vec::new();
        for name in &names {
            node_ids.push(swarm.node(name).await?.id);
        }
        let found = swarm.tasks(ListTasksRequest { node_ids, ..ListTasksRequest::default() }).await?;
        Ok((found, swarm.nodes().await?, tasks::names(swarm.services().await?)))
    })?;
    let view = tasks::View { tasks: &found, nodes: &nodes, services: &services };
    tasks::print(&view, &args.shown)?;
    Ok(0)
}
