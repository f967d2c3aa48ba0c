//! `service update` and `service rollback`.

use anyhow::Result;
use skep_image::PullOptions;

use super::{converge, edit, pinning};
use crate::args::service::Rollback;
use crate::args::update::Update;
use crate::context::{self, Node};
use crate::format::output;

/// `service update`
pub(crate) fn run(node: &Node, args: &Update) -> Result<i32> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let changed = match args.roll_back {
            true => swarm.roll_back_service(&args.service).await?,
            false => {
                let registries = || PullOptions::for_environment(&context::environment());
                let edit = edit::of_flags(args)?;
                swarm.edit_service(&args.service, &edit, registries, pinning(&args.common)).await?
            }
        };
        for warning in &changed.warnings {
            eprintln!("{warning}");
        }
        output::line(&args.service)?;
        if !args.common.detach {
            converge::wait(&swarm, &changed.id, args.common.quiet).await?;
        }
        Ok(0)
    })
}

/// `service rollback`
pub(crate) fn rollback(node: &Node, args: &Rollback) -> Result<i32> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let changed = swarm.roll_back_service(&args.service).await?;
        output::line(&args.service)?;
        if !args.detach {
            converge::wait(&swarm, &changed.id, args.quiet).await?;
        }
        Ok(0)
    })
}
