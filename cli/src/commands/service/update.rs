//! `service update` and `service rollback`.

use anyhow::{Result, anyhow, bail};
use skep_cluster::api::{Service, ServiceSpec, UpdateServiceRequest, service_spec};
use skep_cluster::client::Client;

use super::{change, converge, edit, get, image, not_found, spec};
use crate::args::service::Rollback;
use crate::args::update::Update;
use crate::context::{self, Node};
use crate::format::output;
use crate::swarm::{self, said};

/// `service update`
pub fn run(node: &Node, args: &Update) -> Result<i32> {
    context::block_on(async {
        let client = swarm::client(node).await?;
        let service = match args.roll_back {
            true => roll_back(&client, &args.service).await?,
            false => {
                change(&client, &args.service, async |service, wanted| apply(&client, args, service, wanted).await)
                    .await?
            }
        };
        output::line(&args.service)?;
        if !args.common.detach {
            converge::wait(&client, &service.id, args.common.quiet).await?;
        }
        Ok(0)
    })
}

async fn apply(client: &Client, args: &Update, service: &Service, wanted: &mut ServiceSpec) -> Result<()> {
    let before = image_of(wanted);
    edit::apply(wanted, args).map_err(|error| anyhow!(error))?;
    for network in &args.network_rm {
        let answer = client
            .control()
            .get_network(skep_cluster::api::GetNetworkRequest { r#ref: network.clone() })
            .await
            .map_err(said)?
            .into_inner();
        let id = answer.network.unwrap_or_default().id;
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
    spec::check(wanted)?;
    let task = wanted.task.get_or_insert_default();
    if args.force {
        let running = service.spec.as_ref().and_then(|spec| spec.task.as_ref()).map_or(0, |task| task.force_update);
        task.force_update = running + 1;
    }
    if let Some(new) = &args.image {
        task.container.get_or_insert_default().image.clone_from(new);
        image::settle(task, args.common.no_resolve_image, args.common.with_registry_auth).await?;
    } else if args.common.with_registry_auth {
        let pinned = before;
        image::settle(task, true, true).await?;
        task.container.get_or_insert_default().image = pinned;
    }
    Ok(())
}

fn image_of(spec: &ServiceSpec) -> String {
    let container = spec.task.as_ref().and_then(|task| task.container.as_ref());
    container.map(|container| container.image.clone()).unwrap_or_default()
}

async fn roll_back(client: &Client, name: &str) -> Result<Service> {
    let service = get(client, name, not_found).await?;
    if service.previous_spec.is_none() {
        bail!("service {name} does not have a previous spec to roll back to");
    }
    let request = UpdateServiceRequest {
        r#ref: service.id.clone(),
        version: service.meta.unwrap_or_default().version,
        spec: None,
        rollback: true,
    };
    Ok(client.control().update_service(request).await.map_err(said)?.into_inner().service.unwrap_or_default())
}

/// `service rollback`
pub fn rollback(node: &Node, args: &Rollback) -> Result<i32> {
    context::block_on(async {
        let client = swarm::client(node).await?;
        let service = roll_back(&client, &args.service).await?;
        output::line(&args.service)?;
        if !args.detach {
            converge::wait(&client, &service.id, args.quiet).await?;
        }
        Ok(0)
    })
}
