//! `service create`.

use anyhow::Result;
use skep_engine::services::image;
use skep_image::PullOptions;

use super::{converge, pinning, spec};
use crate::args::service::Create;
use crate::context::{self, Node};
use crate::format::output;

/// `service create`
pub fn run(node: &Node, args: Create) -> Result<i32> {
    let mut wanted = spec::from_flags(&args)?;
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let task = wanted.task.get_or_insert_default();
        if let Some(warning) =
            image::settle(task, &PullOptions::for_environment(&context::environment())?, pinning(&args.common)).await?
        {
            eprintln!("{warning}");
        }
        let service = swarm.create_service(wanted).await?;
        output::line(&service.id)?;
        if !args.common.detach {
            converge::wait(&swarm, &service.id, args.common.quiet).await?;
        }
        Ok(0)
    })
}
