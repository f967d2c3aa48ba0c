//! `service update`: changing a service's specification piece by piece. What is removed goes first, then what is added
//! comes.
//!
//! Called by whoever has a list of changes rather than a whole new specification.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_cluster::api::{ContainerSpec, GetNetworkRequest, PortConfig, ServiceSpec, TaskSpec, service_spec};
use skep_common::mount_point::same_place;

use super::{check, request};
use crate::docker::mount::Mount;
use crate::docker::service as docker;
use crate::error::{Error, Result};
use crate::swarm::Swarm;

/// What goes from a list, and what comes to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<Removed, Added> {
    /// What goes, by what it is known.
    pub removed: Vec<Removed>,
    /// What comes; it takes the place of what is there already.
    pub added: Vec<Added>,
}

impl<Removed, Added> Default for Change<Removed, Added> {
    fn default() -> Self {
        Self { removed: Vec::new(), added: Vec::new() }
    }
}

/// A name for an address, or, to be removed, a name for any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The name.
    pub name: String,
    /// The address; empty for any.
    pub address: String,
}

/// Changes of a service; the empty one changes nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edit {
    /// What replaces what is there; of lists, the whole of them.
    pub set: docker::ServiceSpec,
    /// Labels of the service, by key.
    pub labels: Change<String, (String, String)>,
    /// Published ports; a removed one without a published port stands for all of its target port.
    pub ports: Change<docker::PortConfig, docker::PortConfig>,
    /// Constraints.
    pub constraints: Change<String, String>,
    /// Labels over which tasks are spread.
    pub spread: Change<String, String>,
    /// Networks, by id or by name.
    pub networks: Change<String, docker::NetworkAttachmentConfig>,
    /// Labels of the containers, by key.
    pub container_labels: Change<String, (String, String)>,
    /// `NAME=VALUE`, by name.
    pub env: Change<String, String>,
    /// Additional groups.
    pub groups: Change<String, String>,
    /// Name servers.
    pub dns_nameservers: Change<String, String>,
    /// Search domains.
    pub dns_search: Change<String, String>,
    /// Options of the resolver.
    pub dns_options: Change<String, String>,
    /// Names of hosts.
    pub hosts: Change<Host, Host>,
    /// Kernel parameters, by name.
    pub sysctls: Change<String, (String, String)>,
    /// Limits, by name.
    pub ulimits: Change<String, docker::Ulimit>,
    /// Capabilities to have; they are no longer dropped.
    pub cap_add: Vec<String>,
    /// Capabilities not to have; they are no longer added.
    pub cap_drop: Vec<String>,
    /// Mounts, by target.
    pub mounts: Change<String, Mount>,
    /// How many tasks there are to be.
    pub replicas: Option<u64>,
    /// The tasks are replaced even if nothing else changes.
    pub force: bool,
}

impl Swarm {
    /// Changes a specification; networks are found by their names.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] for what cannot be, such as two new mounts at one place, or a number of tasks
    /// where the nodes say how many there are; [`crate::ErrorKind::NotSupported`] for what skep cannot do;
    /// [`crate::ErrorKind::NotFound`] for a network to be removed that is not there.
    pub(super) async fn apply(&self, edit: &Edit, spec: &mut ServiceSpec) -> Result<()> {
        let mut edit = edit.clone();
        for name in edit.networks.removed.clone() {
            // The specification has ids; one that was never resolved has the name.
            let found = self.client().get_network(GetNetworkRequest { r#ref: name }).await?;
            edit.networks.removed.push(found.network.unwrap_or_default().id);
        }
        edit.apply(spec)
    }
}

impl Edit {
    /// The image that it names, which has to be looked up.
    pub(super) fn image(&self) -> Option<&str> {
        self.set.task_template.container_spec.as_ref()?.image.as_deref()
    }

    fn apply(&self, spec: &mut ServiceSpec) -> Result<()> {
        pairs(&mut spec.annotations.get_or_insert_default().labels, &self.labels);
        ports(&mut spec.endpoint.get_or_insert_default().ports, &self.ports)?;
        self.task(spec.task.get_or_insert_default())?;
        if let Some(replicas) = self.replicas {
            match &mut spec.mode {
                Some(service_spec::Mode::Replicated(mode)) => mode.replicas = replicas,
                _ => {
                    return Err(Error::bad_argument(
                        "replicas can only be used with replicated or replicated-job mode",
                    ));
                }
            }
        }
        request::set(spec, &self.set)?;
        check::check(spec)
    }

    fn task(&self, task: &mut TaskSpec) -> Result<()> {
        let placement = task.placement.get_or_insert_default();
        list(&mut placement.constraints, &self.constraints);
        list(&mut placement.spread, &self.spread);
        task.networks.retain(|attached| !self.networks.removed.contains(&attached.target));
        for added in self.networks.added.iter().map(request::network) {
            task.networks.retain(|attached| attached.target != added.target);
            task.networks.push(added);
        }
        if self.force {
            task.force_update += 1;
        }
        self.container(task.container.get_or_insert_default())
    }

    fn container(&self, container: &mut ContainerSpec) -> Result<()> {
        pairs(&mut container.labels, &self.container_labels);
        container.env.retain(|variable| !self.env.removed.iter().any(|removed| removed == name(variable)));
        container.env = overridden(container.env.drain(..).chain(self.env.added.iter().cloned()));
        list(&mut container.groups, &self.groups);
        list(&mut container.dns_nameservers, &self.dns_nameservers);
        list(&mut container.dns_search, &self.dns_search);
        list(&mut container.dns_options, &self.dns_options);
        hosts(&mut container.hosts, &self.hosts);
        pairs(&mut container.sysctls, &self.sysctls);
        let ulimits: Vec<_> = self.ulimits.added.iter().map(request::ulimit).collect();
        container.ulimits.retain(|limit| {
            !self.ulimits.removed.contains(&limit.name) && !ulimits.iter().any(|added| added.name == limit.name)
        });
        container.ulimits.extend(ulimits);
        container.cap_add.extend(self.cap_add.iter().cloned());
        container.cap_add.retain(|name| !self.cap_drop.contains(name));
        container.cap_drop.extend(self.cap_drop.iter().cloned());
        container.cap_drop.retain(|name| !self.cap_add.contains(name));
        let mounts = self.mounts.added.iter().map(request::mount).collect::<Result<Vec<_>>>()?;
        check::mounts(&mounts)?;
        container.mounts.retain(|old| {
            !self.mounts.removed.iter().any(|target| same_place(target, &old.target))
                && !mounts.iter().any(|new| same_place(&new.target, &old.target))
        });
        container.mounts.extend(mounts);
        Ok(())
    }
}

fn list(list: &mut Vec<String>, change: &Change<String, String>) {
    list.retain(|item| !change.removed.contains(item) && !change.added.contains(item));
    list.extend(change.added.iter().cloned());
}

fn pairs(pairs: &mut BTreeMap<String, String>, change: &Change<String, (String, String)>) {
    for key in &change.removed {
        pairs.remove(key);
    }
    pairs.extend(change.added.iter().cloned());
}

/// The name of `NAME=VALUE`.
fn name(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// Keeps the last value of each variable, at the place of its first.
pub fn overridden(variables: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for variable in variables {
        match kept.iter_mut().find(|other| name(other) == name(&variable)) {
            Some(other) => *other = variable,
            None => kept.push(variable),
        }
    }
    kept
}

fn hosts(lines: &mut Vec<String>, change: &Change<Host, Host>) {
    for removed in &change.removed {
        lines.retain(|line| {
            let mut words = line.split_whitespace();
            let (address, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            name != removed.name || !removed.address.is_empty() && address != removed.address
        });
    }
    lines.extend(change.added.iter().map(|host| format!("{} {}", host.address, host.name)));
}

fn ports(ports: &mut Vec<PortConfig>, change: &Change<docker::PortConfig, docker::PortConfig>) -> Result<()> {
    let read = |ports: &[docker::PortConfig]| ports.iter().map(request::port).collect::<Result<Vec<_>>>();
    let removed = read(&change.removed)?;
    ports.retain(|port| {
        !removed.iter().any(|removed| {
            removed.target_port == port.target_port
                && removed.protocol == port.protocol
                && (removed.published_port == 0 || removed.published_port == port.published_port)
        })
    });
    for added in read(&change.added)? {
        ports.retain(|port| {
            port.protocol != added.protocol
                || port.target_port != added.target_port
                || port.published_port != added.published_port && added.published_port != 0
        });
        ports.push(added);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use skep_cluster::api::{EndpointSpec, GlobalService, Mount, NetworkAttachmentSpec, ReplicatedService};

    use super::*;

    fn port(published_port: u32) -> PortConfig {
        PortConfig { target_port: 80, published_port, ..PortConfig::default() }
    }

    fn published(published_port: u32) -> docker::PortConfig {
        docker::PortConfig {
            target_port: Some(80),
            published_port: Some(published_port),
            ..docker::PortConfig::default()
        }
    }

    fn mount(target: &str) -> Mount {
        let mut mount = Mount { target: target.to_owned(), ..Mount::default() };
        mount.set_type(skep_cluster::api::MountType::Tmpfs);
        mount
    }

    #[test]
    fn what_is_removed_goes_first() {
        let container = ContainerSpec {
            env: vec!["A=1".to_owned(), "B=2".to_owned()],
            hosts: vec!["10.0.0.1 db".to_owned(), "10.0.0.2 db".to_owned()],
            cap_drop: vec!["CAP_MKNOD".to_owned()],
            mounts: vec![mount("/a")],
            ..ContainerSpec::default()
        };
        let mut spec = ServiceSpec {
            endpoint: Some(EndpointSpec { ports: vec![port(8080)], ..EndpointSpec::default() }),
            task: Some(TaskSpec { container: Some(container), ..TaskSpec::default() }),
            ..ServiceSpec::default()
        };
        let host = |address: &str| Host { name: "db".to_owned(), address: address.to_owned() };
        let tmpfs = crate::docker::mount::Mount {
            kind: "tmpfs".to_owned(),
            target: "/a/".to_owned(),
            ..crate::docker::mount::Mount::default()
        };
        let edit = Edit {
            ports: Change { removed: vec![published(0)], added: vec![published(9090)] },
            env: Change { removed: vec!["B".to_owned()], added: vec!["A=3".to_owned(), "C=4".to_owned()] },
            hosts: Change { removed: vec![host("10.0.0.1")], added: vec![host("10.0.0.3")] },
            cap_add: vec!["CAP_MKNOD".to_owned()],
            mounts: Change { removed: Vec::new(), added: vec![tmpfs] },
            ..Edit::default()
        };
        edit.apply(&mut spec).unwrap();
        let container = spec.task.unwrap().container.unwrap();
        assert_eq!(spec.endpoint.unwrap().ports, [port(9090)]);
        assert_eq!(container.env, ["A=3", "C=4"]);
        assert_eq!(container.hosts, ["10.0.0.2 db", "10.0.0.3 db"]);
        assert_eq!((container.cap_add.len(), container.cap_drop.len()), (1, 0));
        assert_eq!(container.mounts, [mount("/a/")], "the same place");
    }

    #[test]
    fn nothing_changes_nothing() {
        let annotated = ServiceSpec { annotations: Some(Default::default()), ..ServiceSpec::default() };
        let mut spec = annotated.clone();
        Edit::default().apply(&mut spec).unwrap();
        assert_eq!(spec.annotations, annotated.annotations);
        assert!(spec.task.unwrap().container.unwrap() == ContainerSpec::default());
    }

    #[test]
    fn a_network_that_goes_and_comes_is_attached_anew() {
        let network = |alias: &str| NetworkAttachmentSpec {
            target: "app".to_owned(),
            aliases: vec![alias.to_owned()],
            ..NetworkAttachmentSpec::default()
        };
        let asked = |alias: &str| docker::NetworkAttachmentConfig {
            target: Some("app".to_owned()),
            aliases: Some(vec![alias.to_owned()]),
            driver_opts: None,
        };
        let task = TaskSpec { networks: vec![network("old")], ..TaskSpec::default() };
        let mut spec = ServiceSpec { task: Some(task), ..ServiceSpec::default() };
        let networks = Change { removed: vec!["app".to_owned()], added: vec![asked("new"), asked("newer")] };
        Edit { networks, ..Edit::default() }.apply(&mut spec).unwrap();
        assert_eq!(spec.task.unwrap().networks, [network("newer")]);
    }

    #[test]
    fn only_who_has_a_number_of_tasks_is_given_another() {
        let edit = Edit { replicas: Some(3), force: true, ..Edit::default() };
        let replicated = service_spec::Mode::Replicated(ReplicatedService { replicas: 1 });
        let mut spec = ServiceSpec { mode: Some(replicated), ..ServiceSpec::default() };
        edit.apply(&mut spec).unwrap();
        assert_eq!(spec.mode, Some(service_spec::Mode::Replicated(ReplicatedService { replicas: 3 })));
        assert_eq!(spec.task.unwrap().force_update, 1);
        let mut global =
            ServiceSpec { mode: Some(service_spec::Mode::Global(GlobalService {})), ..ServiceSpec::default() };
        assert_eq!(edit.apply(&mut global).unwrap_err().kind(), crate::ErrorKind::BadArgument);
    }

    #[test]
    fn the_last_value_of_a_variable_wins() {
        assert_eq!(overridden(["A=1", "B=2", "A=3"].map(str::to_owned)), ["A=3", "B=2"]);
    }
}
