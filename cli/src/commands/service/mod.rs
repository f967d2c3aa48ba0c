//! `skep service …`.

pub mod converge;
pub mod create;
pub mod edit;
pub mod image;
pub mod inspect;
pub mod list;
pub mod logs;
pub mod pretty;
pub mod remove;
pub mod scale;
pub mod shape;
pub mod spec;
pub mod tasks;
pub mod update;

use anyhow::{Result, anyhow};
use skep_cluster::api::{GetServiceRequest, Service, ServiceSpec, UpdateServiceRequest};
use skep_cluster::client::Client;

use crate::args::service::Command;
use crate::context::Node;
use crate::swarm::{is_not_found, said};

/// Runs one of them.
pub fn dispatch(node: &Node, command: Command) -> Result<i32> {
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

/// One service; `missing` words a service that is not there.
async fn get(client: &Client, name: &str, missing: impl Fn(&str) -> String) -> Result<Service> {
    match client.control().get_service(GetServiceRequest { r#ref: name.to_owned() }).await {
        Ok(answer) => Ok(answer.into_inner().service.unwrap_or_default()),
        Err(status) if is_not_found(&status) => Err(anyhow!(missing(name))),
        Err(status) => Err(said(status)),
    }
}

fn no_such(name: &str) -> String {
    format!("no such service: {name}")
}

fn not_found(name: &str) -> String {
    format!("service {name} not found")
}

/// Changes a service's spec; what somebody else changed meanwhile is read again.
async fn change(
    client: &Client,
    name: &str,
    mut edit: impl AsyncFnMut(&Service, &mut ServiceSpec) -> Result<()>,
) -> Result<Service> {
    let mut attempts = 0;
    loop {
        let service = get(client, name, not_found).await?;
        let mut spec = service.spec.clone().unwrap_or_default();
        edit(&service, &mut spec).await?;
        let request = UpdateServiceRequest {
            r#ref: service.id.clone(),
            version: service.meta.unwrap_or_default().version,
            spec: Some(spec),
            rollback: false,
        };
        match client.control().update_service(request).await {
            Ok(answer) => return Ok(answer.into_inner().service.unwrap_or_default()),
            Err(status) if attempts < 5 && status.message().contains("out of sequence") => attempts += 1,
            Err(status) => return Err(said(status)),
        }
    }
}

/// The name of a service.
pub fn name_of(service: &Service) -> &str {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.annotations.as_ref()).map_or("", |annotations| annotations.name.as_str())
}
