//! `service update` and `service rollback`.

use anyhow::{Result, anyhow};
use skep_cluster::api::{Service, ServiceSpec};
use skep_engine::services::{check, image};
use skep_engine::swarm::Swarm;
use skep_image::PullOptions;

use super::{converge, edit, pinning, spec};
use crate::args::service::Rollback;
use crate::args::update::Update;
use crate::context::{self, Node};
use crate::format::output;

/// `service update`
pub fn run(node: &Node, args: &Update) -> Result<i32> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let service = match args.roll_back {
            true => swarm.roll_back_service(&args.service).await?,
            false => {
                let edit = async |_: &Service, wanted: &mut ServiceSpec| apply(&swarm, args, wanted).await;
                swarm.change_service(&args.service, edit).await?
            }
        };
        output::line(&args.service)?;
        if !args.common.detach {
            converge::wait(&swarm, &service.id, args.common.quiet).await?;
        }
        Ok(0)
    })
}

async fn apply(swarm: &Swarm, args: &Update, wanted: &mut ServiceSpec) -> Result<()> {
    let changes = edit::of_flags(args).map_err(|error| anyhow!(error))?;
    swarm.edit(wanted, &changes).await?;
    spec::common_flags(wanted, &args.common)?;
    check::check(wanted)?;
    let task = wanted.task.get_or_insert_default();
    let pinning = pinning(&args.common);
    if let Some(new) = &args.image {
        task.container.get_or_insert_default().image.clone_from(new);
        if let Some(warning) =
            image::settle(task, &PullOptions::for_environment(&context::environment())?, pinning).await?
        {
            eprintln!("{warning}");
        }
    } else if pinning.with_auth {
        image::send_credentials(task, &PullOptions::for_environment(&context::environment())?).await?;
    }
    Ok(())
}

/// `service rollback`
pub fn rollback(node: &Node, args: &Rollback) -> Result<i32> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let service = swarm.roll_back_service(&args.service).await?;
        output::line(&args.service)?;
        if !args.detach {
            converge::wait(&swarm, &service.id, args.quiet).await?;
        }
        Ok(0)
    })
}
