//! `update`.

use anyhow::{Result, anyhow, bail};
use skep_engine::containers::UpdateContainer;
use skep_engine::docker::create::{Resources, UpdateRequest};

use super::request::limits;
use crate::args::container::Update as Flags;
use crate::context::Node;
use crate::failure::each;
use crate::parse::options;

/// `update`
pub(crate) fn run(node: &Node, args: &Flags) -> Result<i32> {
    let resources = Resources {
        blkio_weight: args.blkio_weight,
        pids_limit: args.pids_limit.map(Some),
        ..limits(&args.processors, &args.memory)
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
