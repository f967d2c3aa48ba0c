//! `service rm`.

use anyhow::Result;
use skep_cluster::api::RemoveServiceRequest;

use super::not_found;
use crate::args::service::Remove;
use crate::context::{self, Node};
use crate::failure;
use crate::format::output;
use crate::swarm::{self, is_not_found, said};

/// `service rm`
pub fn run(node: &Node, args: &Remove) -> Result<i32> {
    context::block_on(async {
        let client = swarm::client(node).await?;
        let mut code = 0;
        for name in &args.services {
            let error = match client.control().remove_service(RemoveServiceRequest { r#ref: name.clone() }).await {
                Ok(_) => {
                    output::line(name)?;
                    continue;
                }
                Err(status) if is_not_found(&status) => anyhow::anyhow!(not_found(name)),
                Err(status) => said(status),
            };
            eprintln!("{}", failure::describe(&error).message);
            code = 1;
        }
        Ok(code)
    })
}
