//! `service update` and `service rollback`.

use anyhow::{Result, anyhow, bail};
use skep_cluster::api::{Service, ServiceSpec, service_spec};
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
                let edit =
                    async |service: &Service, wanted: &mut ServiceSpec| apply(&swarm, args, service, wanted).await;
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

async fn apply(swarm: &Swarm, args: &Update, service: &Service, wanted: &mut ServiceSpec) -> Result<()> {
    let before = image_of(wanted);
    edit::apply(wanted, args).map_err(|error| anyhow!(error))?;
    for network in &args.network_rm {
        let id = swarm.network(network).await?.id;
        let networks = &mut wanted.task.get_or_insert_default().networks;
        networks.retain(|attached| attached.target != id && attached.target != *network);
    }
    if let Some(replicas) = args.common.replicas {
        match &mut wanted.mode {
            Some(service_spec::Mode::Replicated(mode)) => mode.replicas = replicas,
            _ => bail!("replicas can only be used with replicated or replicated-job mode"),
        }
    }
    spec::common_flags(wanted, &args.common)?;
    check::check(wanted)?;
    let task = wanted.task.get_or_insert_default();
    if args.force {
        let running = service.spec.as_ref().and_then(|spec| spec.task.as_ref()).map_or(0, |task| task.force_update);
        task.force_update = running + 1;
    }
    let mut pinning = pinning(&args.common);
    if let Some(new) = &args.image {
        task.container.get_or_insert_default().image.clone_from(new);
        if let Some(warning) =
            image::settle(task, &PullOptions::for_environment(&context::environment())?, pinning).await?
        {
            eprintln!("{warning}");
        }
    } else if pinning.with_auth {
        pinning.no_resolve = true;
        image::settle(task, &PullOptions::for_environment(&context::environment())?, pinning).await?;
        task.container.get_or_insert_default().image = before;
    }
    Ok(())
}

fn image_of(spec: &ServiceSpec) -> String {
    let container = spec.task.as_ref().and_then(|task| task.container.as_ref());
    container.map(|container| container.image.clone()).unwrap_or_default()
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
