//! `info`.

use anyhow::Result;
use serde_json::Value;
use skep_engine::VERSION;
use skep_engine::docker::info as docker;

use crate::args::system::Info;
use crate::context::{self, Node};
use crate::format::human;
use crate::format::output;

/// The order in which the facts are shown as JSON.
const ORDER: [&str; 25] = [
    "ID",
    "Containers",
    "ContainersRunning",
    "ContainersPaused",
    "ContainersStopped",
    "Images",
    "ServerVersion",
    "Driver",
    "LoggingDriver",
    "CgroupDriver",
    "CgroupVersion",
    "CgroupParent",
    "Swarm",
    "LoadBalancer",
    "SecurityOptions",
    "KernelVersion",
    "OperatingSystem",
    "OSType",
    "Architecture",
    "NCPU",
    "MemTotal",
    "Name",
    "RootDir",
    "RunRootDir",
    "Warnings",
];

/// Likewise of a node without a swarm.
const ORDER_WITHOUT_SWARM: [&str; 4] = ["LocalNodeState", "NodeID", "ControlAvailable", "Error"];

/// `info`
pub(super) fn run(node: &Node, args: &Info) -> Result<i32> {
    let mut info = node.engine().machine_info()?;
    if node.engine().is_in_swarm() {
        info.swarm = context::block_on(async { Ok(node.engine().swarm_info().await) })?;
    }
    let facts = facts(&info)?;
    match output::given(args.format.as_deref()) {
        Some(format) => output::inspect(&[facts], Some(format))?,
        None => {
            output::print(&page(&facts))?;
            for warning in info.warnings.iter().flatten() {
                eprintln!("WARNING: {warning}");
            }
        }
    }
    Ok(0)
}

fn facts(info: &docker::Info) -> Result<Value> {
    let mut facts = ordered(serde_json::to_value(info)?, &ORDER);
    if let Some(swarm) = facts.get_mut("Swarm").filter(|swarm| swarm.get("Cluster").is_none()) {
        *swarm = ordered(swarm.take(), &ORDER_WITHOUT_SWARM);
    }
    Ok(facts)
}

/// The fields that are named first, the others after them.
fn ordered(object: Value, order: &[&str]) -> Value {
    let Value::Object(mut fields) = object else { return object };
    let first: Vec<_> = order.iter().filter_map(|name| fields.shift_remove_entry(*name)).collect();
    Value::Object(first.into_iter().chain(fields).collect())
}

fn page(facts: &Value) -> String {
    let get = |name: &str| match facts.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let memory = facts.get("MemTotal").and_then(Value::as_u64).unwrap_or(0);
    let mut text = format!("Client: skep\n Version:    {VERSION}\n\nServer:\n");
    for (title, field) in [
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Server Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
        ("Cgroup Parent", "CgroupParent"),
    ] {
        text.push_str(&format!(" {title}: {}\n", get(field)));
    }
    text.push_str(&swarm_page(facts.get("Swarm").unwrap_or(&Value::Null)));
    text.push_str(&format!(
        " Load Balancer: {}\n Security Options:\n  seccomp\n   Profile: builtin\n",
        get("LoadBalancer")
    ));
    for (title, field) in [
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
    ] {
        text.push_str(&format!(" {title}: {}\n", get(field)));
    }
    text.push_str(&format!(" Total Memory: {}\n", human::binary_size(memory as f64)));
    for (title, field) in
        [("Name", "Name"), ("ID", "ID"), ("Skep Root Dir", "RootDir"), ("Skep Run Root Dir", "RunRootDir")]
    {
        text.push_str(&format!(" {title}: {}\n", get(field)));
    }
    text
}

fn swarm_page(swarm: &Value) -> String {
    let get = |name: &str| match swarm.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let state = get("LocalNodeState");
    let mut text = format!(" Swarm: {state}\n");
    if state == "inactive" {
        return text;
    }
    text.push_str(&format!("  NodeID: {}\n", get("NodeID")));
    if !get("Error").is_empty() {
        text.push_str(&format!("  Error: {}\n", get("Error")));
    }
    text.push_str(&format!("  Is Manager: {}\n", get("ControlAvailable")));
    if get("ControlAvailable") == "true" {
        let cluster = swarm.pointer("/Cluster/ID").and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!(
            "  ClusterID: {cluster}\n  Managers: {}\n  Nodes: {}\n  Leader: {}\n",
            get("Managers"),
            get("Nodes"),
            get("IsLeader")
        ));
    }
    text.push_str(&format!("  Node Address: {}\n", get("NodeAddr")));
    let managers = swarm.get("RemoteManagers").and_then(Value::as_array).cloned().unwrap_or_default();
    if !managers.is_empty() {
        text.push_str("  Manager Addresses:\n");
        for manager in managers {
            text.push_str(&format!("   {}\n", manager.get("Addr").and_then(Value::as_str).unwrap_or_default()));
        }
    }
    text
}
