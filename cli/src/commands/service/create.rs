//! `service create`.

use anyhow::Result;
use skep_engine::services;
use skep_image::PullOptions;

use super::{converge, pinning, spec};
use crate::args::service::Create;
use crate::context::{self, Node};
use crate::format::output;

/// `service create`
pub(crate) fn run(node: &Node, args: Create) -> Result<i32> {
    let request = spec::from_flags(&args)?;
    services::check(&request)?;
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let registries = PullOptions::for_environment(&context::environment())?;
        let created = swarm.create_service(&request, &registries, pinning(&args.common)).await?;
        for warning in created.warnings.iter().flatten() {
            eprintln!("{warning}");
        }
        output::line(&created.id)?;
        if !args.common.detach {
            converge::wait(&swarm, &created.id, args.common.quiet).await?;
        }
        Ok(0)
    })
}
