//! `ps`.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use skep_engine::containers::ListContainers;
use skep_engine::docker::container::{MountPoint, Port, Summary};
use skep_image::Platform;

use crate::args::container::List as Flags;
use crate::context::Node;
use crate::format::human;
use crate::format::output::List;
use crate::parse::filter;

/// `ps`
pub(crate) fn run(node: &Node, args: &Flags) -> Result<i32> {
    let limit = match (args.latest, args.last) {
        (true, _) => Some(1),
        (false, last) => last.and_then(|last| usize::try_from(last).ok()).filter(|last| *last > 0),
    };
    let request = ListContainers { all: args.all, limit, size: args.size, filters: filter::all(&args.list.filter) };
    let containers = node.engine().list_containers(&request)?;
    let now = Timestamp::now();
    let rows = containers.iter().map(|container| row(container, now, args)).collect();
    let mut columns = vec![
        ("CONTAINER ID", "ID"),
        ("IMAGE", "Image"),
        ("COMMAND", "Command"),
        ("CREATED", "RunningFor"),
        ("STATUS", "Status"),
        ("PORTS", "Ports"),
        ("NAMES", "Names"),
    ];
    if args.size {
        columns.push(("SIZE", "Size"));
    }
    let more = [
        ("CREATED AT", "CreatedAt"),
        ("SIZE", "Size"),
        ("LABELS", "Labels"),
        ("STATE", "State"),
        ("MOUNTS", "Mounts"),
        ("LOCAL VOLUMES", "LocalVolumes"),
        ("NETWORKS", "Networks"),
    ];
    let list = List { columns: &columns, more: &more, rows };
    list.print(args.list.format.as_deref(), args.list.quiet.then_some("ID"))?;
    Ok(0)
}

fn row(container: &Summary, now: Timestamp, args: &Flags) -> Value {
    let cut = |text: &str, limit: usize| match args.no_trunc {
        true => text.to_owned(),
        false => human::ellipsis(text, limit),
    };
    let created = Timestamp::from_second(container.created).unwrap_or_default();
    let labels: Vec<String> = container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mounts: Vec<String> = container.mounts.iter().map(|mount| cut(mount_name(mount), 15)).collect();
    let names: Vec<&str> = container.names.iter().map(|name| name.trim_start_matches('/')).collect();
    let networks: Vec<&str> = container.network_settings.networks.names().collect();
    json!({
        "ID": if args.no_trunc { container.id.clone() } else { human::short_id(&container.id).to_owned() },
        "Image": image(&container.image, args.no_trunc),
        "Command": human::quote(&cut(&container.command, 20)),
        "CreatedAt": human::local_time(created),
        "RunningFor": human::ago(created, now),
        "Status": container.status,
        "State": container.state,
        "HealthStatus": container.health.as_ref().map_or("", |health| health.status.as_str()),
        "Ports": ports(&container.ports),
        "Names": names.join(","),
        "Labels": labels.join(","),
        "Label": container.labels,
        "Mounts": mounts.join(","),
        "LocalVolumes": container.mounts.iter().filter(|mount| mount.kind == "volume").count().to_string(),
        "Networks": networks.join(","),
        "Size": container.size_rw.map(|bytes| human::size(bytes as f64, 3)).unwrap_or_default(),
        "Platform": platform(),
    })
}

/// The platform of this machine, whose containers these are; a variant is not told, as docker has it.
fn platform() -> String {
    let host = Platform::host();
    format!("{}/{}", host.os, host.architecture)
}

/// A volume's name, the host's path, or the place of what is in memory.
fn mount_name(mount: &MountPoint) -> &str {
    let names = [&mount.name, &mount.source, &mount.destination];
    names.into_iter().find(|name| !name.is_empty()).map_or("", String::as_str)
}

/// An image as the user named it; an id is shortened, a digest is left out.
fn image(name: &str, whole: bool) -> String {
    if whole {
        return name.to_owned();
    }
    if name.starts_with("sha256:") {
        return human::short_id(name).to_owned();
    }
    match name.split_once('@') {
        Some((tagged, _)) if tagged.rsplit('/').next().is_some_and(|last| last.contains(':')) => tagged.to_owned(),
        _ => name.to_owned(),
    }
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`
fn ports(ports: &[Port]) -> String {
    let shown: Vec<String> = ports
        .iter()
        .map(|port| match (&port.ip, port.public_port) {
            (Some(address), Some(public)) => format!("{address}:{public}->{}/{}", port.private_port, port.kind),
            _ => format!("{}/{}", port.private_port, port.kind),
        })
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_ports_as_docker_does() {
        let exposed = Port { private_port: 443, kind: "tcp".to_owned(), ..Port::default() };
        let bound =
            Port { ip: Some("0.0.0.0".to_owned()), private_port: 80, public_port: Some(8080), kind: "tcp".to_owned() };
        assert_eq!(ports(&[exposed, bound]), "443/tcp, 0.0.0.0:8080->80/tcp");
    }

    #[test]
    fn hides_digests() {
        assert_eq!(image("nginx:latest@sha256:ab", false), "nginx:latest");
        assert_eq!(image("sha256:0123456789abcdef", false), "0123456789ab");
        assert_eq!(image("localhost:5000/x@sha256:ab", false), "localhost:5000/x@sha256:ab");
    }
}
