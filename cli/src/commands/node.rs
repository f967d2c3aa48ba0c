//! `skep node …`.

use anyhow::Result;
use serde_json::{Value, json};
use skep_engine::docker;
use skep_engine::docker::node::Node as SwarmNode;
use skep_engine::nodes::{ListNodes, NodeChange};
use skep_engine::services::tasks::ListTasks;
use skep_engine::swarm::Role;

use super::service::tasks::{self, capital};
use crate::args::node::{Command, Inspect, List as ListFlags, Names, Remove, Tasks, Update};
use crate::context::{self, Node};
use crate::failure;
use crate::format::human;
use crate::format::output::{self, List};
use crate::parse::env;
use crate::parse::filter;

/// Runs one of them.
pub(crate) fn dispatch(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Demote(args) => set_role(node, &args, Role::Worker),
        Command::Inspect(args) => inspect(node, &args),
        Command::Ls(args) => list(node, &args),
        Command::Promote(args) => set_role(node, &args, Role::Manager),
        Command::Ps(args) => ps(node, &args),
        Command::Rm(args) => remove(node, &args),
        Command::Update(args) => update(node, &args),
    }
}

fn manager_status(node: &SwarmNode) -> String {
    match &node.manager_status {
        Some(status) if status.leader == Some(true) => "Leader".to_owned(),
        Some(status) => capital(status.reachability.as_deref().unwrap_or_default()),
        None => String::new(),
    }
}

fn list(node: &Node, args: &ListFlags) -> Result<i32> {
    let request = ListNodes { filters: filter::all(&args.list.filter) };
    request.check()?;
    let (nodes, own) = context::block_on(async {
        let swarm = node.engine().swarm().await?;
        Ok((swarm.list_nodes(&request).await?, swarm.info().await?.node_id))
    })?;
    let rows = nodes.iter().map(|node| row(node, &own)).collect();
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
        "Status": capital(node.status.state.as_deref().unwrap_or_default()),
        "Availability": capital(node.spec.availability.as_deref().unwrap_or_default()),
        "ManagerStatus": manager_status(node),
        "TLSStatus": "Ready",
        "EngineVersion": node.description.engine.engine_version,
        "Label": node.spec.labels,
    })
}

/// One node, in docker's shape.
pub(crate) fn object(node: &Node, name: &str) -> Result<Value> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        Ok(serde_json::to_value(swarm.node(name).await?)?)
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
        output::inspect(
            &found.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?,
            args.format.as_deref(),
        )?;
    }
    Ok(code)
}

fn pretty(node: &SwarmNode) -> String {
    fn text(field: &Option<String>) -> &str {
        field.as_deref().unwrap_or_default()
    }
    let created = docker::moment(&node.created_at).map(human::local_time).unwrap_or_default();
    let mut page = format!("ID:\t\t\t{}\n", node.id);
    let labels = node.spec.labels.as_ref().filter(|labels| !labels.is_empty());
    if let Some(labels) = labels {
        page.push_str("Labels:\n");
        for (key, value) in labels {
            page.push_str(&format!(" - {key}={value}\n"));
        }
    }
    page.push_str(&format!("Hostname:              \t{}\nJoined at:             \t{created}\n", node.hostname()));
    page.push_str(&format!(
        "Status:\n State:\t\t\t{}\n Availability:         \t{}\n Address:\t\t{}\n",
        capital(text(&node.status.state)),
        capital(text(&node.spec.availability)),
        text(&node.status.addr)
    ));
    if let Some(manager) = &node.manager_status {
        let leader = if manager.leader == Some(true) { "Yes" } else { "No" };
        let is_reachable = manager.reachability.as_deref() == Some("reachable");
        let reach = if is_reachable { "Reachable" } else { "Unreachable" };
        page.push_str(&format!(
            "Manager Status:\n Address:\t\t{}\n Raft Status:\t\t{reach}\n Leader:\t\t{leader}\n",
            text(&manager.addr)
        ));
    }
    let (platform, resources) = (&node.description.platform, &node.description.resources);
    page.push_str(&format!(
        "Platform:\n Operating System:\t{}\n Architecture:\t\t{}\nResources:\n CPUs:\t\t\t{}\n Memory:\t\t{}\nEngine Version:\t\t{}\n",
        text(&platform.os),
        text(&platform.architecture),
        resources.nano_cpus.unwrap_or_default() / 1_000_000_000,
        human::binary_size(resources.memory_bytes.unwrap_or_default() as f64),
        text(&node.description.engine.engine_version)
    ));
    page
}

fn update(node: &Node, args: &Update) -> Result<i32> {
    let change = NodeChange {
        availability: args.availability.clone(),
        role: args.role.clone(),
        labels_added: env::pairs(&args.label_add),
        labels_removed: args.label_rm.clone(),
    };
    change.check()?;
    context::block_on(async { Ok(node.engine().swarm().await?.change_node(&args.node, &change).await?) })?;
    output::line(&args.node)?;
    Ok(0)
}

fn set_role(node: &Node, args: &Names, wanted: Role) -> Result<i32> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        for name in &args.nodes {
            let changed = swarm.set_role(name, wanted).await?;
            output::line(match (changed, wanted) {
                (true, Role::Manager) => format!("Node {name} promoted to a manager in the swarm."),
                (true, Role::Worker) => format!("Manager {name} demoted in the swarm."),
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
    let found = context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let mut node_ids = Vec::new();
        for name in &names {
            node_ids.push(swarm.node(name).await?.id);
        }
        let filters = filter::all(&args.shown.list.filter);
        Ok(swarm.list_tasks(&ListTasks { node_ids, filters, ..ListTasks::default() }).await?)
    })?;
    tasks::print(found, &args.shown)?;
    Ok(0)
}
