//! Facts of this machine, read anew each time. Used by `info`, by the worker and where a share of the machine counts.

use skep_net::{Backend, Net};

/// Bytes of memory that this machine has: `MemTotal` of /proc/meminfo (proc(5)); 0 where it cannot be read.
pub fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
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
