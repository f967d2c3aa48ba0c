//! `ps`.

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde_json::{Value, json};
use skep_net::BoundPort;
use skep_runtime::state::{HealthStatus, Status};
use skep_runtime::{ContainerSummary, Runtime};

use crate::args::container::List as Flags;
use crate::context::Node;
use crate::format::human;
use crate::format::output::List;
use crate::parse::filter::Filters;

const FILTERS: [&str; 14] = [
    "id", "name", "label", "exited", "status", "ancestor", "before", "since", "volume", "network", "publish", "expose",
    "health", "is-task",
];
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

/// `ps`
pub fn run(node: &Node, args: &Flags) -> Result<i32> {
    let runtime = node.runtime()?;
    let filters = Filters::new(&args.list.filter, &FILTERS).map_err(|error| anyhow!(error))?;
    filters.check("status", &STATES).map_err(|error| anyhow!(error))?;
    filters.check("health", &HEALTH).map_err(|error| anyhow!(error))?;
    let last = match (args.latest, args.last) {
        (true, _) => Some(1),
        (false, last) => last.filter(|last| *last > 0),
    };
    let all =
        args.all || last.is_some() || !filters.values("status").is_empty() || !filters.values("exited").is_empty();
    let containers = runtime.list(true)?;
    let age = |key: &str| -> Result<Option<Timestamp>> {
        let Some(name) = filters.values(key).first() else { return Ok(None) };
        Ok(Some(runtime.record(name)?.0.created))
    };
    let (before, since) = (age("before")?, age("since")?);
    let mut shown: Vec<&ContainerSummary> = containers
        .iter()
        .filter(|container| {
            all || matches!(container.state.status, Status::Running | Status::Paused | Status::Restarting)
        })
        .filter(|container| before.is_none_or(|time| container.created < time))
        .filter(|container| since.is_none_or(|time| container.created > time))
        .filter(|container| matches(container, &filters))
        .collect();
    if let Some(last) = last {
        shown.truncate(usize::try_from(last).unwrap_or(usize::MAX));
    }
    let now = Timestamp::now();
    let rows = shown.iter().map(|container| row(&runtime, container, now, args)).collect();
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

fn matches(container: &ContainerSummary, filters: &Filters) -> bool {
    let health = match &container.state.health {
        Some(health) => health.status.as_str(),
        None => "none",
    };
    let port = |published: bool| {
        move |wanted: &str| {
            let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
            let (first, last) = number.split_once('-').unwrap_or((number, number));
            let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { return false };
            container.ports.iter().any(|port| {
                let number = if published { port.host_port } else { port.container_port };
                (first..=last).contains(&number) && port.protocol.to_string() == protocol
            }) || !published && container.exposed.iter().any(|exposed| exposed == &format!("{number}/{protocol}"))
        }
    };
    filters.any("id", |id| container.id.starts_with(id))
        && filters
            .any("name", |name| container.name.contains(name.trim_start_matches(['/', '^']).trim_end_matches('$')))
        && filters.labels("label", &container.labels)
        && filters.any("status", |status| container.state.status.as_str() == status)
        && filters.any("exited", |code| {
            container.state.status == Status::Exited && container.state.exit_code.to_string() == code
        })
        && filters.any("ancestor", |image| {
            container.image == image
                || container.image == format!("{image}:latest")
                || container.image_id.trim_start_matches("sha256:").starts_with(image.trim_start_matches("sha256:"))
        })
        && filters.any("volume", |volume| container.mounts.iter().any(|mount| mount == volume))
        && filters.any("network", |network| container.networks.iter().any(|name| name == network))
        && filters.any("publish", port(true))
        && filters.any("expose", port(false))
        && filters.any("health", |wanted| wanted == health)
        && filters.any("is-task", |wanted| {
            crate::parse::csv::boolean(wanted) == Some(container.labels.contains_key("com.docker.swarm.task.id"))
        })
}

fn row(runtime: &Runtime, container: &ContainerSummary, now: Timestamp, args: &Flags) -> Value {
    let cut = |text: &str, limit: usize| match args.no_trunc {
        true => text.to_owned(),
        false => human::ellipsis(text, limit),
    };
    let size = if args.size { size(runtime, &container.id) } else { String::new() };
    let labels: Vec<String> = container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mounts: Vec<String> = container.mounts.iter().map(|mount| cut(mount, 15)).collect();
    json!({
        "ID": if args.no_trunc { container.id.clone() } else { human::short_id(&container.id).to_owned() },
        "Image": image(&container.image, args.no_trunc),
        "Command": human::quote(&cut(&container.command, 20)),
        "CreatedAt": human::local_time(container.created),
        "RunningFor": human::ago(container.created, now),
        "Status": container.status_text(now),
        "State": container.state.status.as_str(),
        "HealthStatus": container.state.health.as_ref().map_or("", |health: &skep_runtime::state::Health| match health.status {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        }),
        "Ports": ports(&container.ports, &container.exposed),
        "Names": container.name,
        "Labels": labels.join(","),
        "Label": container.labels,
        "Mounts": mounts.join(","),
        "LocalVolumes": container.mounts.iter().filter(|mount| !mount.starts_with('/')).count().to_string(),
        "Networks": container.networks.join(","),
        "Size": size,
        "Platform": "linux/amd64",
    })
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

fn size(runtime: &Runtime, id: &str) -> String {
    let upper = runtime.roots().root.join("containers").join(id).join("upper");
    format!("{} (virtual)", human::size(disk_usage(&upper) as f64, 3)).replace(" (virtual)", "")
}

/// Bytes of the files below a directory; what goes away meanwhile does not count.
pub fn disk_usage(directory: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let mut total = 0;
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        total += if metadata.is_dir() { disk_usage(&entry.path()) } else { metadata.blocks() * 512 };
    }
    total
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`
pub fn ports(bound: &[BoundPort], exposed: &[String]) -> String {
    let mut shown: Vec<String> = exposed
        .iter()
        .filter(|exposed| !bound.iter().any(|port| format!("{}/{}", port.container_port, port.protocol) == **exposed))
        .cloned()
        .collect();
    shown.extend(
        bound
            .iter()
            .map(|port| format!("{}:{}->{}/{}", port.host_ip, port.host_port, port.container_port, port.protocol)),
    );
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_net::PortProtocol;
    use std::net::Ipv4Addr;

    #[test]
    fn shows_ports_as_docker_does() {
        let bound = BoundPort {
            host_ip: Ipv4Addr::UNSPECIFIED,
            host_port: 8080,
            container_port: 80,
            protocol: PortProtocol::Tcp,
        };
        let exposed = ["80/tcp".to_owned(), "443/tcp".to_owned()];
        assert_eq!(ports(&[bound], &exposed), "443/tcp, 0.0.0.0:8080->80/tcp");
    }

    #[test]
    fn hides_digests() {
        assert_eq!(image("nginx:latest@sha256:ab", false), "nginx:latest");
        assert_eq!(image("sha256:0123456789abcdef", false), "0123456789ab");
        assert_eq!(image("localhost:5000/x@sha256:ab", false), "localhost:5000/x@sha256:ab");
    }
}
