//! `skep volume …`.

use anyhow::Result;
use serde_json::{Value, json};
use skep_engine::docker::volume::{CreateRequest, Volume};
use skep_engine::volumes::PruneVolumes;

use super::container::prune::{confirmed, report};
use super::inspect::show;
use crate::args::volume::{Command, Create, Inspect, List as ListFlags, Prune, Remove};
use crate::context::Node;
use crate::failure::each;
use crate::format::output::{self, List};
use crate::parse::{env, filter};

/// Runs one of them.
pub(super) fn dispatch(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Create(args) => create(node, &args),
        Command::Inspect(args) => inspect(node, &args),
        Command::Ls(args) => list(node, &args),
        Command::Prune(args) => prune(node, &args),
        Command::Rm(args) => remove(node, &args),
    }
}

fn create(node: &Node, args: &Create) -> Result<i32> {
    let request = CreateRequest {
        name: args.name.clone(),
        driver: Some(args.driver.clone()),
        driver_opts: Some(env::pairs(&args.opt)),
        labels: Some(env::pairs(&args.label)),
        ..CreateRequest::default()
    };
    output::line(node.engine().create_volume(&request)?.name)?;
    Ok(0)
}

/// One volume, in docker's shape.
pub(super) fn object(node: &Node, name: &str) -> Result<Value> {
    Ok(serde_json::to_value(node.engine().inspect_volume(name)?)?)
}

fn inspect(node: &Node, args: &Inspect) -> Result<i32> {
    show(&args.volumes, args.format.as_deref(), |name| object(node, name))
}

fn list(node: &Node, args: &ListFlags) -> Result<i32> {
    let volumes = node.engine().list_volumes(&filter::all(&args.list.filter))?.volumes;
    let rows = volumes.iter().map(row).collect();
    let list = List {
        columns: &[("DRIVER", "Driver"), ("VOLUME NAME", "Name")],
        more: &[
            ("SCOPE", "Scope"),
            ("MOUNTPOINT", "Mountpoint"),
            ("LABELS", "Labels"),
            ("LINKS", "Links"),
            ("SIZE", "Size"),
        ],
        rows,
    };
    list.print(args.list.format.as_deref(), args.list.quiet.then_some("Name"))?;
    Ok(0)
}

fn row(volume: &Volume) -> Value {
    let labels = volume.labels.clone().unwrap_or_default();
    let listed: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "Driver": volume.driver,
        "Name": volume.name,
        "Scope": volume.scope,
        "Mountpoint": volume.mountpoint,
        "Labels": listed.join(","),
        "Label": labels,
        "Links": "N/A",
        "Size": "N/A",
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    })
}

fn remove(node: &Node, args: &Remove) -> Result<i32> {
    node.runtime()?;
    each(&args.volumes, |name| {
        node.engine().remove_volume(name, args.force)?;
        Ok(name.to_owned())
    })
}

fn prune(node: &Node, args: &Prune) -> Result<i32> {
    let mut request = PruneVolumes { filters: filter::all(&args.filter) };
    if args.all {
        request.filters.set("all", "true");
    }
    let warning = match request.all()? {
        true => "WARNING! This will remove all local volumes not used by at least one container.",
        false => "WARNING! This will remove anonymous local volumes not used by at least one container.",
    };
    if !args.force && !confirmed(warning)? {
        return Ok(0);
    }
    let pruned = node.engine().prune_volumes(&request)?;
    report("Deleted Volumes:", &pruned.volumes_deleted, pruned.space_reclaimed)?;
    Ok(0)
}
