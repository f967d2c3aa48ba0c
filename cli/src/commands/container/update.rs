//! `update`.

use anyhow::{Result, anyhow, bail};
use skep_runtime::Update;
use skep_runtime::config::Limits;

use super::config::restart_policy;
use crate::args::container::Update as Flags;
use crate::context::Node;
use crate::failure::each;
use crate::parse::{options, size};

/// `update`
pub fn run(node: &Node, args: &Flags) -> Result<i32> {
    let limits = Limits {
        memory: args.memory,
        memory_reservation: args.memory_reservation,
        memory_swap: args.memory_swap,
        nano_cpus: args.cpus,
        cpu_quota: args.cpu_quota,
        cpu_period: args.cpu_period,
        cpu_shares: args.cpu_shares,
        cpuset_cpus: args.cpuset_cpus.clone(),
        cpuset_mems: args.cpuset_mems.clone(),
        pids: args.pids_limit,
        blkio_weight: args.blkio_weight,
        ..Limits::default()
    };
    let restart = args.restart.as_deref().map(options::restart).transpose().map_err(|error| anyhow!(error))?;
    if limits == Limits::default() && restart.is_none() {
        bail!("you must provide one or more flags when using this command");
    }
    size::check_memory(limits.memory)
        .and_then(|()| size::check_reservation(limits.memory, limits.memory_reservation))
        .and_then(|()| {
            let wanted = limits.cpuset_cpus.as_deref();
            size::check_set(wanted, &size::online("cpu"), "CPUs", "cpuset cpus")
        })
        .and_then(|()| {
            let wanted = limits.cpuset_mems.as_deref();
            size::check_set(wanted, &size::online("node"), "memory nodes", "cpuset mems")
        })
        .map_err(|error| anyhow!(error))?;
    let update = Update { limits, restart: restart.map(restart_policy) };
    let runtime = node.runtime()?;
    each(&args.containers, |name| {
        runtime.update(name, &update)?;
        Ok(name.to_owned())
    })
}
