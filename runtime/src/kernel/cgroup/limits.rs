//! Limits, in the files of version 1 and of version 2.

use std::fs;
use std::io;
use std::path::Path;

use super::{CgroupLimits, KernelError, Paths, Result, cgroup_error, write};

/// Sets what is asked for. A controller that is missing is an error only then.
pub(super) fn apply(paths: &Paths, limits: &CgroupLimits, warnings: &mut Vec<String>) -> Result<()> {
    match paths.version() {
        1 => apply_legacy(paths, limits, warnings),
        _ => apply_unified(paths, limits, warnings),
    }
}

/// Memory plus swap: as docker, twice the memory when only that is given.
fn memory_and_swap(limits: &CgroupLimits) -> Option<i64> {
    match (limits.memory_swap, limits.memory) {
        (Some(swap), _) if swap != 0 => Some(swap),
        (_, Some(memory)) if memory > 0 => Some(memory.saturating_mul(2)),
        _ => None,
    }
}

fn apply_legacy(paths: &Paths, limits: &CgroupLimits, warnings: &mut Vec<String>) -> Result<()> {
    if limits.memory.is_some() || limits.memory_reservation.is_some() || limits.oom_kill_disable {
        legacy_memory(&paths.require("memory", "a memory limit")?, limits, warnings)?;
    }
    if let Some(period) = limits.cpu_period {
        let cpu = paths.require("cpu", "a CPU limit")?;
        write(&cpu.join("cpu.cfs_period_us"), &period.to_string())?;
    }
    if let Some(quota) = limits.cpu_quota {
        let cpu = paths.require("cpu", "a CPU limit")?;
        write(&cpu.join("cpu.cfs_quota_us"), &quota.to_string())?;
    }
    if let Some(shares) = limits.cpu_shares {
        let cpu = paths.require("cpu", "a CPU weight")?;
        write(&cpu.join("cpu.shares"), &shares.to_string())?;
    }
    cpuset(paths, limits)?;
    if let Some(pids) = limits.pids {
        let directory = paths.require("pids", "a limit of processes")?;
        write(&directory.join("pids.max"), &or_max(pids))?;
    }
    if let Some(weight) = limits.blkio_weight {
        let directory = paths.require("blkio", "a block device weight")?;
        let names = ["blkio.weight", "blkio.bfq.weight"];
        match names.iter().find(|name| directory.join(name).exists()) {
            Some(name) => write(&directory.join(name), &weight.to_string())?,
            None => warnings.push("the kernel does not support block I/O weights: discarded".to_owned()),
        }
    }
    Ok(())
}

fn legacy_memory(directory: &Path, limits: &CgroupLimits, warnings: &mut Vec<String>) -> Result<()> {
    let limit = directory.join("memory.limit_in_bytes");
    let both = directory.join("memory.memsw.limit_in_bytes");
    if let Some(memory) = limits.memory {
        let swap = memory_and_swap(limits).filter(|_| both.exists());
        if swap.is_none() && limits.memory_swap.is_some_and(|swap| swap != 0 && swap != -1) {
            warnings.push("the kernel does not support swap limits: memory limited without swap".to_owned());
        }
        // Memory may never be above memory plus swap, not even in between.
        let grows = swap.is_some_and(|swap| {
            let now: u64 = read_number(&both);
            swap < 0 || swap as u64 > now
        });
        if let (Some(swap), true) = (swap, grows) {
            write(&both, &swap.to_string())?;
        }
        write(&limit, &memory.to_string())?;
        if let (Some(swap), false) = (swap, grows) {
            write(&both, &swap.to_string())?;
        }
    }
    if let Some(reservation) = limits.memory_reservation {
        write(&directory.join("memory.soft_limit_in_bytes"), &reservation.to_string())?;
    }
    if limits.oom_kill_disable {
        write(&directory.join("memory.oom_control"), "1")?;
    }
    Ok(())
}

fn cpuset(paths: &Paths, limits: &CgroupLimits) -> Result<()> {
    if let Some(cpus) = &limits.cpuset_cpus {
        write(&paths.require("cpuset", "a set of CPUs")?.join("cpuset.cpus"), cpus)?;
    }
    if let Some(nodes) = &limits.cpuset_mems {
        write(&paths.require("cpuset", "a set of memory nodes")?.join("cpuset.mems"), nodes)?;
    }
    Ok(())
}

fn apply_unified(paths: &Paths, limits: &CgroupLimits, warnings: &mut Vec<String>) -> Result<()> {
    if let Some(memory) = limits.memory {
        let directory = paths.require("memory", "a memory limit")?;
        write(&directory.join("memory.max"), &or_max(memory))?;
        let swap_file = directory.join("memory.swap.max");
        match memory_and_swap(limits) {
            Some(both) if swap_file.exists() => {
                let swap = if both < 0 { -1 } else { (both - memory).max(0) };
                write(&swap_file, &or_max(swap))?;
            }
            Some(_) if limits.memory_swap.is_some_and(|swap| swap > 0) => {
                warnings.push("the kernel does not support swap limits: memory limited without swap".to_owned());
            }
            _ => {}
        }
    }
    if let Some(reservation) = limits.memory_reservation {
        let directory = paths.require("memory", "a memory reservation")?;
        write(&directory.join("memory.low"), &or_max(reservation))?;
    }
    if limits.oom_kill_disable {
        warnings.push("cgroup version 2 does not support --oom-kill-disable: discarded".to_owned());
    }
    if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
        let directory = paths.require("cpu", "a CPU limit")?;
        let quota = limits.cpu_quota.map_or_else(|| "max".to_owned(), or_max);
        let period = limits.cpu_period.unwrap_or(100_000);
        write(&directory.join("cpu.max"), &format!("{quota} {period}"))?;
    }
    if let Some(shares) = limits.cpu_shares.filter(|shares| *shares > 0) {
        let directory = paths.require("cpu", "a CPU weight")?;
        write(&directory.join("cpu.weight"), &weight_of_shares(shares).to_string())?;
    }
    cpuset(paths, limits)?;
    if let Some(pids) = limits.pids {
        let directory = paths.require("pids", "a limit of processes")?;
        write(&directory.join("pids.max"), &or_max(pids))?;
    }
    if let Some(weight) = limits.blkio_weight {
        let directory = paths.require("io", "a block device weight")?;
        let weight = 1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990;
        let file = directory.join("io.weight");
        if file.exists() {
            write(&file, &weight.to_string())?;
        } else {
            warnings.push("the kernel does not support block I/O weights: discarded".to_owned());
        }
    }
    Ok(())
}

/// Version 1's shares (2 to 262144) as version 2's weight (1 to 10000).
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn or_max(value: i64) -> String {
    if value < 0 || value == i64::MAX { "max".to_owned() } else { value.to_string() }
}

pub(super) fn read_number(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    match text.trim() {
        "max" => u64::MAX,
        number => number.parse().unwrap_or(0),
    }
}

/// Version 1: a new cpuset is empty, and no process can join it before it got something.
pub(super) fn inherit_cpuset(directory: &Path) -> Result<()> {
    let Some(parent) = directory.parent() else {
        return Ok(());
    };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = directory.join(file);
        let current = fs::read_to_string(&own).map_err(cgroup_error("read", &own))?;
        if current.trim().is_empty() {
            let above = parent.join(file);
            let value = fs::read_to_string(&above).map_err(cgroup_error("read", &above))?;
            write(&own, value.trim())?;
        }
    }
    Ok(())
}

/// Version 2: lets the children of `directory` use the controllers.
///
/// A cgroup with processes of its own cannot do that, except for the host's root. In a container,
/// where the root of the name space is an ordinary cgroup, its processes are moved to a leaf.
pub(super) fn hand_on_controllers(directory: &Path, controllers: &[String], is_root: bool) -> Result<()> {
    let file = directory.join("cgroup.subtree_control");
    let handed_on = fs::read_to_string(&file).map_err(cgroup_error("read", &file))?;
    let own_path = directory.join("cgroup.controllers");
    let own = fs::read_to_string(&own_path).map_err(cgroup_error("read", &own_path))?;
    const USED: [&str; 7] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"];
    let missing: Vec<String> = controllers
        .iter()
        .filter(|name| USED.contains(&name.as_str()))
        .filter(|name| own.split_whitespace().any(|own| own == *name))
        .filter(|name| !handed_on.split_whitespace().any(|on| on == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    match write(&file, &missing.join(" ")) {
        Err(KernelError::Cgroup { source, .. }) if is_root && is_busy(&source) => {
            move_to_leaf(directory)?;
            write(&file, &missing.join(" "))
        }
        other => other,
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EOPNOTSUPP))
}

fn move_to_leaf(directory: &Path) -> Result<()> {
    let leaf = directory.join("init");
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(cgroup_error("create", &leaf)(error));
        }
        _ => {}
    }
    let (from, to) = (directory.join("cgroup.procs"), leaf.join("cgroup.procs"));
    let list = fs::read_to_string(&from).map_err(cgroup_error("read", &from))?;
    for pid in list.lines() {
        match write(&to, pid) {
            Err(KernelError::Cgroup { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_over_the_whole_range() {
        assert_eq!(weight_of_shares(0), 1);
        assert_eq!(weight_of_shares(2), 1);
        assert_eq!(weight_of_shares(1024), 39);
        assert_eq!(weight_of_shares(262_144), 10_000);
        assert_eq!(weight_of_shares(u64::MAX), 10_000);
    }

    #[test]
    fn swap_follows_memory_as_in_docker() {
        let of =
            |memory, memory_swap| memory_and_swap(&CgroupLimits { memory, memory_swap, ..CgroupLimits::default() });
        assert_eq!(of(Some(100), None), Some(200));
        assert_eq!(of(Some(100), Some(0)), Some(200));
        assert_eq!(of(Some(100), Some(-1)), Some(-1));
        assert_eq!(of(Some(100), Some(150)), Some(150));
        assert_eq!(of(None, None), None);
    }
}
