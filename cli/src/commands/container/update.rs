//! `update`.

use anyhow::{Result, anyhow, bail};
use skep_engine::containers::UpdateContainer;
use skep_engine::docker::create::{Resources, UpdateRequest};

use crate::args::container::Update as Flags;
use crate::context::Node;
use crate::failure::each;
use crate::parse::options;

/// `update`
pub fn run(node: &Node, args: &Flags) -> Result<i32> {
    let signed = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    let resources = Resources {
        cpu_shares: signed(args.cpu_shares),
        memory: args.memory,
        nano_cpus: args.cpus,
        blkio_weight: args.blkio_weight,
        cpu_period: signed(args.cpu_period),
        cpu_quota: args.cpu_quota,
        cpuset_cpus: args.cpuset_cpus.clone(),
        cpuset_mems: args.cpuset_mems.clone(),
        memory_reservation: args.memory_reservation,
        memory_swap: args.memory_swap,
        pids_limit: args.pids_limit.map(Some),
        ..Resources::default()
    };
    let restart = args.restart.as_deref().map(options::restart).transpose().map_err(|error| anyhow!(error))?;
    if resources == Resources::default() && restart.is_none() {
        bail!("you must provide one or more flags when using this command");
    }
    let request = UpdateRequest { resources, restart_policy: restart, ..UpdateRequest::default() };
    let change = UpdateContainer::read(&request)?;
    node.runtime()?;
    each(&args.containers, |name| {
        node.engine().update_container(name, &change)?;
        Ok(name.to_owned())
    })
}
