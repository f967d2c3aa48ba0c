//! `info`.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};
use skep_cluster::api::{InfoRequest, InfoResponse, LocalState};
use skep_engine::VERSION;
use skep_engine::host::{load_balancer, memory_bytes};
use skep_runtime::Runtime;
use skep_runtime::state::Status;

use crate::args::system::Info;
use crate::context::{self, Node};
use crate::format::human;
use crate::format::output;
use crate::swarm;

/// `info`
pub fn run(node: &Node, args: &Info) -> Result<i32> {
    let runtime = node.runtime()?;
    let facts = facts(node, &runtime)?;
    match output::given(args.format.as_deref()) {
        Some(format) => output::inspect(&[facts], Some(format))?,
        None => {
            output::print(&page(&facts))?;
            for warning in facts.get("Warnings").and_then(Value::as_array).into_iter().flatten() {
                eprintln!("WARNING: {}", warning.as_str().unwrap_or_default());
            }
        }
    }
    Ok(0)
}

fn facts(node: &Node, runtime: &Runtime) -> Result<Value> {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    let containers = runtime.list(true)?;
    for container in &containers {
        let state = match container.state.status {
            Status::Running | Status::Restarting => "running",
            Status::Paused => "paused",
            _ => "stopped",
        };
        *states.entry(state).or_default() += 1;
    }
    let count = |state: &str| states.get(state).copied().unwrap_or(0);
    let host = nix::sys::utsname::uname().ok();
    let text =
        |value: Option<&std::ffi::OsStr>| value.map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
    let cgroup_version = if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" };
    let mut warnings = Vec::new();
    for finding in runtime.net().diagnose().unwrap_or_default() {
        warnings.push(format!("{} ({})", finding.problem, finding.remedy));
    }
    Ok(json!({
        "ID": machine_id(),
        "Containers": containers.len(),
        "ContainersRunning": count("running"),
        "ContainersPaused": count("paused"),
        "ContainersStopped": count("stopped"),
        "Images": runtime.images().list()?.len(),
        "ServerVersion": VERSION,
        "Driver": "overlay",
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": cgroup_version,
        "CgroupParent": node.roots().cgroup_parent,
        "Swarm": swarm_facts(node),
        "LoadBalancer": load_balancer(runtime.net()),
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        "KernelVersion": text(host.as_ref().map(|host| host.release())),
        "OperatingSystem": operating_system(),
        "OSType": "linux",
        "Architecture": text(host.as_ref().map(|host| host.machine())),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory_bytes(),
        "Name": text(host.as_ref().map(|host| host.nodename())),
        "RootDir": node.roots().root,
        "RunRootDir": node.roots().run_root,
        "Warnings": warnings,
    }))
}

fn machine_id() -> String {
    std::fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned()
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn swarm_facts(node: &Node) -> Value {
    if !swarm::is_active(node) {
        return json!({"LocalNodeState": "inactive", "NodeID": "", "ControlAvailable": false, "Error": ""});
    }
    let answer = context::block_on(async {
        let client = swarm::client(node).await?;
        Ok(client.local().info(InfoRequest {}).await.map_err(swarm::said)?.into_inner())
    });
    match answer {
        Ok(info) => of_agent(&info),
        Err(error) => {
            json!({"LocalNodeState": "error", "NodeID": "", "ControlAvailable": false, "Error": format!("{error:#}")})
        }
    }
}

fn of_agent(info: &InfoResponse) -> Value {
    let state = match info.state() {
        LocalState::Inactive => "inactive",
        LocalState::Pending => "pending",
        LocalState::Active => "active",
        LocalState::Error => "error",
        LocalState::Locked => "locked",
    };
    let managers: Vec<Value> =
        info.managers.iter().map(|manager| json!({"NodeID": manager.node_id, "Addr": manager.addr})).collect();
    json!({
        "NodeID": info.node_id,
        "NodeAddr": info.node_addr,
        "LocalNodeState": state,
        "ControlAvailable": info.control_available,
        "Error": info.error,
        "RemoteManagers": managers,
        "Nodes": info.node_count,
        "Managers": info.manager_count,
        "IsLeader": info.is_leader,
        "Cluster": {"ID": info.cluster_id},
    })
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
