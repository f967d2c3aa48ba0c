//! `service scale`.

use std::num::IntErrorKind;

use anyhow::{Result, bail};

use super::converge;
use crate::args::service::Scale;
use crate::context::{self, Node};
use crate::failure::{self, Failure};
use crate::format::output;

/// `service scale`
pub(crate) fn run(node: &Node, args: &Scale) -> Result<i32> {
    let mut wanted = Vec::new();
    for text in &args.services {
        let Some((name, count)) = text.split_once('=') else {
            let message = format!("invalid scale specifier '{text}'.\nSee 'skep service scale --help'.");
            return Err(Failure { message, code: 1 }.into());
        };
        match count.parse::<u64>() {
            Ok(count) => wanted.push((name, count)),
            Err(error) => {
                let reason = match error.kind() {
                    IntErrorKind::PosOverflow => "value out of range",
                    _ => "invalid syntax",
                };
                bail!("{name}: invalid replicas value {count}: strconv.ParseUint: parsing {count:?}: {reason}");
            }
        }
    }
    context::block_on(async {
        let swarm = node.engine().swarm().await?;
        let mut scaled = Vec::new();
        let mut code = 0;
        for (name, replicas) in wanted {
            match swarm.scale_service(name, replicas).await {
                Ok(changed) => {
                    output::line(format!("{name} scaled to {replicas}"))?;
                    scaled.push(changed.id);
                }
                Err(error) => {
                    eprintln!("{}", failure::describe(&error.into()).message);
                    code = 1;
                }
            }
        }
        if !args.detach {
            for id in scaled {
                converge::wait(&swarm, &id, false).await?;
            }
        }
        Ok(code)
    })
}
