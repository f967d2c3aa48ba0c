//! `service create`.

use anyhow::Result;
use skep_cluster::api::CreateServiceRequest;

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
        let request = CreateServiceRequest { spec: Some(wanted) };
        let service =
            client.control().create_service(request).await.map_err(said)?.into_inner().service.unwrap_or_default();
        output::line(&service.id)?;
        if !args.common.detach {
            converge::wait(&client, &service.id, args.common.quiet).await?;
        }
        Ok(0)
    })
}
