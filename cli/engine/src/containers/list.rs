//! `GET /containers/json`: the containers that are asked for, newest first.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skep_common::files::directory_size;
use skep_common::port::parse_exposed;
use skep_image::Reference;
use skep_net::{BoundPort, PortProtocol};
use skep_runtime::config::{MountType, NetworkMode};
use skep_runtime::state::Status;
use skep_runtime::{ContainerSummary, Runtime};

use super::inspect::{legs, mount_point};
use super::status::status_text;
use crate::docker::Named;
use crate::docker::container::{Port, Summary, SummaryHealth, SummaryHost, SummaryNetworks};
use crate::engine::Engine;
use crate::error::Result;
use crate::filters::{Filters, Names, boolean};

const FILTERS: [&str; 14] = [
    "id", "name", "label", "exited", "status", "ancestor", "before", "since", "volume", "network", "publish", "expose",
    "health", "is-task",
];
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

/// The label of what the swarm runs.
const TASK_LABEL: &str = "com.docker.swarm.task.id";

/// Which containers are asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListContainers {
    /// Those that do not run, too.
    pub all: bool,
    /// At most so many, the newest; they need not run.
    pub limit: Option<usize>,
    /// With the bytes that each has written.
    pub size: bool,
    /// What has to hold for them.
    pub filters: Filters,
}

impl Engine {
    /// Containers, newest first; those that run, unless more is asked for.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] for a filter that cannot be read, [`crate::ErrorKind::NotFound`] for a
    /// container that it names.
    pub fn list_containers(&self, request: &ListContainers) -> Result<Vec<Summary>> {
        let runtime = self.runtime()?;
        let wanted = Wanted::read(&runtime, request)?;
        let mut containers: Vec<ContainerSummary> =
            runtime.list(true)?.into_iter().filter(|container| wanted.has(container)).collect();
        containers.truncate(request.limit.unwrap_or(usize::MAX));
        let now = Timestamp::now();
        Ok(containers.into_iter().map(|container| summary(&runtime, container, now, request.size)).collect())
    }
}

/// A request that was read.
struct Wanted<'a> {
    filters: &'a Filters,
    names: Names,
    all: bool,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    ancestors: Vec<Ancestor>,
}

impl<'a> Wanted<'a> {
    fn read(runtime: &Runtime, request: &'a ListContainers) -> Result<Self> {
        let filters = &request.filters;
        filters.accept(&FILTERS)?;
        filters.check("status", &STATES)?;
        filters.check("health", &HEALTH)?;
        filters.check_each("exited", |code| code.parse::<i32>().is_ok())?;
        filters.check_each("is-task", |wanted| boolean(wanted).is_some())?;
        filters.check_each("publish", |ports| parse_exposed(ports).is_some())?;
        filters.check_each("expose", |ports| parse_exposed(ports).is_some())?;
        let created = |key: &str| -> Result<Option<Timestamp>> {
            let Some(name) = filters.values(key).first() else { return Ok(None) };
            Ok(Some(runtime.record(name)?.0.created))
        };
        let about_ended = !filters.values("status").is_empty() || !filters.values("exited").is_empty();
        Ok(Self {
            names: filters.names("name")?,
            all: request.all || request.limit.is_some() || about_ended,
            before: created("before")?,
            since: created("since")?,
            ancestors: filters.values("ancestor").iter().map(|image| Ancestor::read(runtime, image)).collect(),
            filters,
        })
    }

    fn has(&self, container: &ContainerSummary) -> bool {
        let filters = self.filters;
        let health = container.state.health.as_ref().map_or("none", |health| health.status.as_str());
        let exited =
            |code: &str| container.state.status == Status::Exited && container.state.exit_code.to_string() == code;
        let is_task = container.labels.contains_key(TASK_LABEL);
        (self.all || matches!(container.state.status, Status::Running | Status::Paused | Status::Restarting))
            && self.before.is_none_or(|time| container.created < time)
            && self.since.is_none_or(|time| container.created > time)
            && filters.any("id", |id| container.id.starts_with(id))
            && self.names.has_any(&[&container.name, &format!("/{}", container.name)])
            && filters.labels("label", &container.labels)
            && filters.any("status", |status| container.state.status.as_str() == status)
            && filters.any("exited", exited)
            && (self.ancestors.is_empty()
                || self.ancestors.iter().any(|image| image.is_of(&container.image, &container.image_id)))
            && filters.any("volume", |volume| mount_names(container).any(|mount| mount == volume))
            && filters.any("network", |network| container.networks.iter().any(|name| name == network))
            && filters.any("publish", |ports| publishes(container, ports))
            && filters.any("expose", |ports| exposes(container, ports))
            && filters.any("health", |wanted| wanted == health)
            && filters.any("is-task", |wanted| boolean(wanted) == Some(is_task))
    }
}

/// An image of which containers are asked for.
#[derive(Debug)]
struct Ancestor {
    given: String,
    name: Option<String>,
    id: Option<String>,
}

impl Ancestor {
    fn read(runtime: &Runtime, given: &str) -> Self {
        let id = runtime.images().resolve(given).ok().map(|image| image.id.to_string());
        Self { given: given.to_owned(), name: whole_name(given), id }
    }

    /// Whether a container of this image, by name and id, is one: of the same image, whatever it is called; or made by
    /// this name, which may have gone to another image since.
    fn is_of(&self, image: &str, image_id: &str) -> bool {
        let digits = |id: &'_ str| id.trim_start_matches("sha256:").to_owned();
        self.id.as_deref() == Some(image_id)
            || image == self.given
            || self.name.is_some() && self.name == whole_name(image)
            || digits(image_id).starts_with(&digits(&self.given))
    }
}

/// A name with registry and tag: `alpine` is `docker.io/library/alpine:latest`.
fn whole_name(image: &str) -> Option<String> {
    image.parse::<Reference>().ok().map(|reference| reference.canonical())
}

fn publishes(container: &ContainerSummary, ports: &str) -> bool {
    parse_exposed(ports).is_some_and(|(first, last, protocol)| {
        container.ports.iter().any(|port| (first..=last).contains(&port.host_port) && port.protocol == protocol)
    })
}

fn exposes(container: &ContainerSummary, ports: &str) -> bool {
    parse_exposed(ports).is_some_and(|(first, last, protocol)| {
        let is_meant = |port: u16, other| (first..=last).contains(&port) && other == protocol;
        container.ports.iter().any(|port| is_meant(port.container_port, port.protocol))
            || exposed(container).any(|(port, other)| is_meant(port, other))
    })
}

fn exposed(container: &ContainerSummary) -> impl Iterator<Item = (u16, PortProtocol)> {
    let each = container.exposed.iter().filter_map(|text| parse_exposed(text));
    each.flat_map(|(first, last, protocol)| (first..=last).map(move |port| (port, protocol)))
}

/// By which a mount is found: a volume's name, the host's path, or the place of what is in memory.
fn mount_names(container: &ContainerSummary) -> impl Iterator<Item = String> {
    container.mounts.iter().map(|point| match &point.kind {
        MountType::Bind { source, .. } => source.display().to_string(),
        MountType::Volume { name, .. } => name.clone(),
        MountType::Tmpfs { .. } => point.target.clone(),
    })
}

fn summary(runtime: &Runtime, container: ContainerSummary, now: Timestamp, size: bool) -> Summary {
    let written = size.then(|| directory_size(&runtime.files(&container.id).upper).disk_bytes);
    let mut networks: Named<_> = container.networks.iter().map(|name| (name.clone(), Default::default())).collect();
    for (name, leg) in container.sandbox.iter().flat_map(|sandbox| legs(&container.id, sandbox)) {
        networks.set(&name, leg);
    }
    Summary {
        names: vec![format!("/{}", container.name)],
        created: container.created.as_second(),
        ports: ports_of(&container),
        size_rw: written.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        size_root_fs: None,
        state: container.state.status.as_str().to_owned(),
        status: status_text(&container.state, now),
        host_config: SummaryHost { network_mode: network_mode(&container) },
        network_settings: SummaryNetworks { networks },
        mounts: container.mounts.iter().map(|point| mount_point(point, &runtime.volumes())).collect(),
        health: container.state.health.map(|health| SummaryHealth {
            status: health.status.as_str().to_owned(),
            failing_streak: health.failing_streak,
        }),
        id: container.id,
        image: container.image,
        image_id: container.image_id,
        command: container.command,
        labels: container.labels,
    }
}

fn network_mode(container: &ContainerSummary) -> String {
    match &container.network {
        NetworkMode::Container(other) => format!("container:{other}"),
        _ => container.networks.first().cloned().unwrap_or_default(),
    }
}

/// Exposed ports that are not published, then those that are.
fn ports_of(container: &ContainerSummary) -> Vec<Port> {
    let is_published = |port: &(u16, PortProtocol)| {
        container.ports.iter().any(|bound| (bound.container_port, bound.protocol) == *port)
    };
    let exposed = exposed(container).filter(|port| !is_published(port)).map(|(port, protocol)| Port {
        private_port: port,
        kind: protocol.to_string(),
        ..Port::default()
    });
    exposed.chain(published(&container.ports)).collect()
}

/// Published ports in docker's words.
pub(super) fn published(bound: &[BoundPort]) -> impl Iterator<Item = Port> {
    bound.iter().map(|port| Port {
        ip: Some(port.host_ip.to_string()),
        private_port: port.container_port,
        public_port: Some(port.host_port),
        kind: port.protocol.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ancestor_is_known_by_every_name_of_it() {
        let made_of = |image: &str, given: &str| {
            let ancestor = Ancestor { given: given.to_owned(), name: whole_name(given), id: None };
            ancestor.is_of(image, "sha256:0123456789abcdef")
        };
        for given in ["alpine", "alpine:latest", "docker.io/library/alpine", "library/alpine", "0123456789ab"] {
            assert!(made_of("alpine", given), "{given}");
        }
        for given in ["alpine:3", "alpin", "quay.io/library/alpine", "1234"] {
            assert!(!made_of("alpine", given), "{given}");
        }
        let renamed = Ancestor { given: "mine".to_owned(), name: whole_name("mine"), id: Some("sha256:01".to_owned()) };
        assert!(renamed.is_of("alpine", "sha256:01"));
    }
}
