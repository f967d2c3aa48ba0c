//! What containers that are gone may have left behind on a node.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::{Node, words};
use crate::sweep;

/// What the name of a container's link outside of the container begins with.
const LINK_PREFIX: &str = "skv";
/// Where a node keeps what it knows of its containers' networks, below its run root.
const RECORDS: [&str; 2] = ["net/sandboxes", "netns"];

/// Whether process `pid` works for the node whose run root is `run_root`.
#[must_use]
pub fn belongs(pid: i32, run_root: &Path) -> bool {
    let run_root = run_root.display().to_string();
    words(pid, "environ").contains(&format!("SKEP_RUN_ROOT={run_root}"))
        || words(pid, "cmdline").iter().any(|word| word.contains(&run_root))
}

/// Mounts, processes, cgroups, links, records and rules that only a container or a swarm can have made; the node's
/// bridges are not among them. For a node that is in no swarm and has no running container.
#[must_use]
pub fn of(node: &Node) -> Vec<String> {
    let mut left = Vec::new();
    for directory in [&node.root, &node.run_root] {
        for mount in sweep::mounts_below(directory) {
            left.push(format!("mount {}", mount.display()));
        }
    }
    for pid in sweep::pids() {
        if belongs(pid, &node.run_root) {
            left.push(format!("process {pid} {}", words(pid, "cmdline").join(" ")));
        }
    }
    let parent = node.cgroup_parent.trim_start_matches('/');
    for hierarchy in sweep::hierarchies() {
        let parent: PathBuf = hierarchy.join(parent);
        for cgroup in sweep::cgroups_below(&parent) {
            if cgroup != parent {
                left.push(format!("cgroup {}", cgroup.display()));
            }
        }
    }
    for link in links(node) {
        if link.starts_with(LINK_PREFIX) {
            left.push(format!("link {link}"));
        }
    }
    for directory in RECORDS.map(|directory| node.run_root.join(directory)) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            left.push(format!("file {}", entry.path().display()));
        }
    }
    let tables = node.namespace.tool(&["nft", "list", "tables"]);
    if tables.is_ok_and(|tables| tables.lines().any(|table| table.trim() == "table ip skep")) {
        left.push("table ip skep".to_owned());
    }
    left
}

/// The names of the links in the node's own network namespace.
#[must_use]
pub fn links(node: &Node) -> BTreeSet<String> {
    let listed = node.namespace.tool(&["ip", "-o", "link", "show"]).unwrap_or_default();
    listed
        .lines()
        .filter_map(|line| line.split(": ").nth(1))
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .filter(|name| name != "lo" && name != "eth0")
        .collect()
}
