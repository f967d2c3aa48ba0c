//! Facts of this machine, read anew each time. Used by `info`, by the worker and where a share of the machine counts.

use skep_net::{Backend, Net};

/// Bytes of memory that this machine has; 0 where that cannot be read.
pub fn memory_bytes() -> u64 {
    skep_common::procfs::memory_total_bytes()
}

/// The machine's id (machine-id(5)), if it has one.
pub(crate) fn machine_id() -> String {
    std::fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned()
}

/// The name of its distribution (os-release(5)).
pub(crate) fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// `1` or `2`.
pub(crate) fn cgroup_version() -> &'static str {
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" }
}

/// This node's name: that of its UTS namespace.
pub fn hostname() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The load balancer's name, for `info` and for the managers.
pub fn load_balancer(net: &Net) -> &'static str {
    match net.load_balancer() {
        Backend::Ipvs => "ipvs",
        Backend::Nftables => "nftables",
    }
}
