//! `skep service …`.

pub(crate) mod converge;
pub(crate) mod create;
pub(crate) mod edit;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod pretty;
pub(crate) mod remove;
pub(crate) mod scale;
pub(crate) mod spec;
pub(crate) mod tasks;
pub(crate) mod update;

use anyhow::{Result, anyhow};
use skep_engine::ErrorKind;
use skep_engine::docker::service::Service;
use skep_engine::services::image::Pinning;
use skep_engine::swarm::Swarm;

use crate::args::service::{Command, Common};
use crate::context::Node;

/// Runs one of them.
pub(crate) fn dispatch(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Create(args) => create::run(node, *args),
        Command::Inspect(args) => inspect::run(node, &args),
        Command::Logs(args) => logs::run(node, &args),
        Command::Ls(args) => list::run(node, &args),
        Command::Ps(args) => tasks::run(node, &args),
        Command::Rm(args) => remove::run(node, &args),
        Command::Rollback(args) => update::rollback(node, &args),
        Command::Scale(args) => scale::run(node, &args),
        Command::Update(args) => update::run(node, &args),
    }
}

/// One service, where a missing one has other words than usual.
async fn get(swarm: &Swarm, name: &str) -> Result<Service> {
    swarm.service(name).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("no such service: {name}"),
        _ => error.into(),
    })
}

/// What the flags say about the image.
fn pinning(flags: &Common) -> Pinning {
    Pinning { no_resolve: flags.no_resolve_image, with_auth: flags.with_registry_auth }
}
