//! `service rm`.

use anyhow::Result;

use crate::args::service::Remove;
use crate::context::{self, Node};
use crate::failure;
use crate::format::output;

/// `service rm`
pub(crate) fn run(node: &Node, args: &Remove) -> Result<i32> {
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let mut code = 0;
        for name in &args.services {
            match swarm.remove_service(name).await {
                Ok(()) => output::line(name)?,
                Err(error) => {
                    eprintln!("{}", failure::describe(&error.into()).message);
                    code = 1;
                }
            }
        }
        Ok(code)
    })
}
