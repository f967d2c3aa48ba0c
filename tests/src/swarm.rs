//! What the tests ask of a swarm again and again, in terms of `skep` commands.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::lab::{Lab, Node};
use crate::wait_until;

/// One line of `service ps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// `service.slot`.
    pub name: String,
    /// The image as it was asked for, without its digest.
    pub image: String,
    /// The hostname of its node, empty before it has one.
    pub node: String,
    /// What the manager wants of it.
    pub desired: String,
    /// What it does, and since when.
    pub current: String,
    /// Why it failed, or waits.
    pub error: String,
}

/// Makes a swarm of all nodes of `lab`: the first `managers` of them managers, `node1` the first leader.
///
/// # Panics
/// When a command fails or a node does not become ready.
#[track_caller]
pub fn form(lab: &Lab, managers: usize) {
    let first = lab.node(1);
    init(first);
    for (index, node) in lab.nodes.iter().enumerate().skip(1) {
        let role = if index < managers { "manager" } else { "worker" };
        join(first, node, role).ok();
    }
    wait_until(Duration::from_secs(20), "all nodes to be ready", || {
        let listed = first.skep(&["node", "ls", "--format", "{{.Status}}"]);
        let ready = listed.stdout.lines().filter(|line| *line == "Ready").count();
        (ready == lab.nodes.len()).then_some(()).ok_or(listed.to_string())
    });
}

/// `swarm init` on `node`.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn init(node: &Node) -> String {
    let address = node.address.to_string();
    node.skep(&["swarm", "init", "--advertise-addr", &address]).ok()
}

/// `swarm join` on `node` with the token that `manager` gives for `role`.
#[track_caller]
pub fn join(manager: &Node, node: &Node, role: &str) -> crate::Finished {
    let token = manager.skep(&["swarm", "join-token", "-q", role]).ok();
    let there = format!("{}:2377", manager.address);
    let own = node.address.to_string();
    node.skep(&["swarm", "join", "--token", &token, "--advertise-addr", &own, &there])
}

/// The tasks of `service` as `service ps` lists them, newest first within a slot.
///
/// # Panics
/// When the command fails.
#[must_use]
#[track_caller]
pub fn tasks(manager: &Node, service: &str) -> Vec<Task> {
    let format = "{{.Name}}|{{.Image}}|{{.Node}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}}";
    let listed = manager.skep(&["service", "ps", "--no-trunc", "--format", format, service]).ok();
    listed
        .lines()
        .map(|line| {
            let mut fields = line.trim().split('|').map(|field| field.trim().to_owned());
            let mut field = || fields.next().unwrap_or_default();
            Task {
                name: field().trim_start_matches("\\_ ").to_owned(),
                image: field().split('@').next().unwrap_or_default().to_owned(),
                node: field(),
                desired: field(),
                current: field(),
                error: field(),
            }
        })
        .collect()
}

/// The tasks of `service` that run and are meant to.
///
/// # Panics
/// When the command fails.
#[must_use]
#[track_caller]
pub fn running(manager: &Node, service: &str) -> Vec<Task> {
    tasks(manager, service)
        .into_iter()
        .filter(|task| task.desired == "Running" && task.current.starts_with("Running"))
        .collect()
}

/// Waits until exactly `count` tasks of `service` run.
///
/// # Panics
/// When half a minute (stretched on slow machines) passes without it.
#[track_caller]
pub fn wait_running(manager: &Node, service: &str, count: usize) -> Vec<Task> {
    let what = format!("{count} running tasks of {service}");
    wait_until(Duration::from_secs(40), &what, || {
        let tasks = tasks(manager, service);
        let running: Vec<Task> = tasks
            .iter()
            .filter(|task| task.desired == "Running" && task.current.starts_with("Running"))
            .cloned()
            .collect();
        if running.len() == count { Ok(running) } else { Err(format!("{tasks:#?}")) }
    })
}

/// Waits until `node ls` on `manager` shows `status` for the node called `name`.
///
/// # Panics
/// When a minute (stretched on slow machines) passes without it.
#[track_caller]
pub fn wait_status(manager: &Node, name: &str, status: &str) {
    let what = format!("{name} to be {status}");
    let wanted = format!("{name} {status}");
    wait_until(Duration::from_secs(60), &what, || {
        let listed = manager.skep(&["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]);
        let found = listed.stdout.lines().any(|line| line == wanted);
        found.then_some(()).ok_or(listed.to_string())
    });
}

/// The names of all running containers on `node`.
///
/// # Panics
/// When the command fails.
#[must_use]
#[track_caller]
pub fn containers(node: &Node) -> Vec<String> {
    let listed = node.skep(&["ps", "--format", "{{.Names}}"]).ok();
    listed.lines().map(ToOwned::to_owned).collect()
}

/// The running container on `node` that is a task of `service`.
///
/// # Panics
/// When there is none.
#[must_use]
#[track_caller]
pub fn container_of(node: &Node, service: &str) -> String {
    let prefix = format!("{service}.");
    let all = containers(node);
    match all.iter().find(|name| name.starts_with(&prefix)) {
        Some(name) => name.clone(),
        None => panic!("{} runs no task of {service}, but {all:?}", node.name),
    }
}

/// The answer of `path` at port `port` of `node`, asked from `client`.
///
/// # Errors
/// Why there is no answer with status 200.
pub fn fetch(client: &Node, node: &Node, port: u16, path: &str) -> Result<String, String> {
    match client.get(node.at(port), path) {
        Ok(answer) if answer.status == 200 => Ok(answer.text()),
        Ok(answer) => Err(format!("status {}: {}", answer.status, answer.text())),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// Waits until every node of `lab` answers on `port` with a page that holds `words`.
///
/// # Panics
/// When half a minute (stretched on slow machines) passes without it.
#[track_caller]
pub fn wait_mesh(lab: &Lab, port: u16, words: &str) {
    for node in &lab.nodes {
        let what = format!("{} to answer on port {port} with {words:?}", node.name);
        wait_until(Duration::from_secs(30), &what, || {
            let page = fetch(lab.node(1), node, port, "/")?;
            page.contains(words).then_some(()).ok_or(page)
        });
    }
}

/// The addresses that busybox's nslookup in `container` on `node` finds for `name`.
#[track_caller]
pub fn lookup(node: &Node, container: &str, name: &str) -> Vec<Ipv4Addr> {
    let answer = node.skep(&["exec", container, "nslookup", name]);
    let mut addresses: Vec<Ipv4Addr> = answer
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("Name:"))
        .filter(|line| line.starts_with("Address"))
        .filter_map(|line| line.split_whitespace().find_map(|word| word.parse().ok()))
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}
