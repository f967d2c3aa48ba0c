//! `service create`.

use anyhow::Result;
use skep_cluster::api::{CreateServiceRequest, Service, ServiceSpec};
use skep_cluster::client::Client;
use skep_runtime::names;
use tonic::Code;

use super::{converge, image, spec};
use crate::args::service::Create;
use crate::context::{self, Node};
use crate::format::output;
use crate::swarm::{self, said};

/// `service create`
pub fn run(node: &Node, args: Create) -> Result<i32> {
    let mut wanted = spec::from_flags(&args)?;
    context::block_on(async {
        let client = swarm::client(node).await?;
        let task = wanted.task.get_or_insert_default();
        image::settle(task, args.common.no_resolve_image, args.common.with_registry_auth).await?;
        let service = create(&client, wanted).await?;
        output::line(&service.id)?;
        if !args.common.detach {
            converge::wait(&client, &service.id, args.common.quiet).await?;
        }
        Ok(0)
    })
}

/// Creates it; one without a name gets a made-up one.
async fn create(client: &Client, mut wanted: ServiceSpec) -> Result<Service> {
    let nameless = wanted.annotations.get_or_insert_default().name.is_empty();
    for attempt in 0.. {
        if nameless {
            wanted.annotations.get_or_insert_default().name = names::made_up(attempt);
        }
        let request = CreateServiceRequest { spec: Some(wanted.clone()) };
        match client.control().create_service(request).await {
            Err(status) if nameless && attempt < 9 && status.code() == Code::AlreadyExists => {}
            answer => return Ok(answer.map_err(said)?.into_inner().service.unwrap_or_default()),
        }
    }
    Ok(Service::default())
}
