//! `skep volume …`.

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};
use skep_runtime::Volume;

use super::container::list::disk_usage;
use super::container::prune::{confirmed, report};
use crate::args::volume::{Command, Create, Inspect, List as ListFlags, Prune, Remove};
use crate::context::Node;
use crate::failure::{self, each};
use crate::format::output::{self, List};
use crate::parse::env;
use crate::parse::filter::Filters;

/// Runs one of them.
pub fn dispatch(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Create(args) => create(node, &args),
        Command::Inspect(args) => inspect(node, &args),
        Command::Ls(args) => list(node, &args),
        Command::Prune(args) => prune(node, &args),
        Command::Rm(args) => remove(node, &args),
    }
}

fn create(node: &Node, args: &Create) -> Result<i32> {
    if args.driver != "local" {
        bail!("error looking up volume plugin {}: plugin \"{}\" not found", args.driver, args.driver);
    }
    if !args.opt.is_empty() {
        bail!("create {}: driver options are not supported", args.name.as_deref().unwrap_or_default());
    }
    let labels = env::pairs(&args.label);
    let volume = node.runtime()?.volumes().create(args.name.as_deref(), &labels)?;
    output::line(&volume.name)?;
    Ok(0)
}

/// One volume, in docker's shape.
pub fn object(node: &Node, name: &str) -> Result<Value> {
    Ok(serde_json::to_value(node.runtime()?.volumes().get(name)?.inspect())?)
}

fn inspect(node: &Node, args: &Inspect) -> Result<i32> {
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.volumes {
        match object(node, name) {
            Ok(volume) => found.push(volume),
            Err(error) => {
                eprintln!("{}", failure::describe(&error).message);
                code = 1;
            }
        }
    }
    output::inspect(&found, args.format.as_deref())?;
    Ok(code)
}

fn list(node: &Node, args: &ListFlags) -> Result<i32> {
    let runtime = node.runtime()?;
    let filters =
        Filters::new(&args.list.filter, &["dangling", "driver", "label", "name"]).map_err(|error| anyhow!(error))?;
    let dangling = filters.flag("dangling").map_err(|error| anyhow!(error))?;
    let used: Vec<String> = match dangling {
        Some(_) => runtime.list(true)?.into_iter().flat_map(|container| container.mounts).collect(),
        None => Vec::new(),
    };
    let wanted = |volume: &Volume| {
        filters.labels("label", &volume.labels)
            && filters.any("name", |name| volume.name.contains(name))
            && filters.any("driver", |driver| driver == "local")
            && dangling.is_none_or(|dangling| dangling != used.contains(&volume.name))
    };
    let rows = runtime.volumes().list()?.iter().filter(|volume| wanted(volume)).map(row).collect();
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
    let labels: Vec<String> = volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "Driver": "local",
        "Name": volume.name,
        "Scope": "local",
        "Mountpoint": volume.mountpoint,
        "Labels": labels.join(","),
        "Label": volume.labels,
        "Links": "N/A",
        "Size": "N/A",
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    })
}

fn remove(node: &Node, args: &Remove) -> Result<i32> {
    let runtime = node.runtime()?;
    each(&args.volumes, |name| {
        runtime.volumes().remove(name, args.force)?;
        Ok(name.to_owned())
    })
}

fn prune(node: &Node, args: &Prune) -> Result<i32> {
    let filters = Filters::new(&args.filter, &["label", "label!", "all"]).map_err(|error| anyhow!(error))?;
    let all = args.all || filters.flag("all").map_err(|error| anyhow!(error))?.unwrap_or(false);
    let warning = match all {
        true => "WARNING! This will remove all local volumes not used by at least one container.",
        false => "WARNING! This will remove anonymous local volumes not used by at least one container.",
    };
    if !args.force && !confirmed(warning)? {
        return Ok(0);
    }
    let runtime = node.runtime()?;
    let volumes = runtime.volumes();
    let sizes: Vec<(String, u64)> =
        volumes.list()?.into_iter().map(|volume| (volume.name, disk_usage(&volume.mountpoint))).collect();
    let removed: Vec<String> = volumes.prune(all)?.into_iter().map(|volume| volume.name).collect();
    let bytes = sizes.iter().filter(|(name, _)| removed.contains(name)).map(|(_, size)| size).sum();
    report("Deleted Volumes:", &removed, bytes)?;
    Ok(0)
}
