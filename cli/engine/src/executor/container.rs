//! From a task to the container that carries it out. Pure.

use skep_cluster::executor::ExecutorError;
use skep_cluster::model::{
    ContainerSpec, GRACE_DEFAULT_NS, HealthCheck as ModelHealthCheck, Mount, PortConfig, PublishMode, Task, TaskSpec,
    Ulimit as ModelUlimit,
};
use skep_common::duration;
use skep_net::{PortMapping, PublishedPort};
use skep_runtime::config::{
    CgroupLimits, ContainerConfig, EndpointConfig, HealthCheck, Limits, LogConfig, MountSpec, NetworkMode,
    RestartPolicy, Ulimit,
};

use super::template::Facts;
use super::{Assigned, TASK_LABEL};
use crate::{mount, ports};

/// The container's name: `web.1.TASKID`, or `web.NODEID.TASKID` of a global service.
pub(super) fn name(task: &Task) -> String {
    let service = &task.service_annotations.name;
    match task.slot {
        0 => format!("{service}.{}.{}", task.node_id, task.id),
        slot => format!("{service}.{slot}.{}", task.id),
    }
}

/// The container of a task; `assigned` tells what this node knows of a network.
pub(super) fn config(
    task: &Task,
    hostname: &str,
    assigned: impl Fn(&str) -> Option<Assigned>,
) -> Result<ContainerConfig, ExecutorError> {
    let facts = Facts::new(task, hostname);
    let (spec, container) = (&task.spec, &task.spec.container);
    let (network, endpoints) = networks(task, assigned)?;
    let mut config = ContainerConfig {
        image: container.image.clone(),
        name: Some(name(task)),
        cmd: container.args.clone(),
        entrypoint: (!container.command.is_empty()).then(|| container.command.clone()),
        env: container.env.iter().map(|variable| facts.expand(variable)).collect::<Result<_, _>>()?,
        working_dir: given(&container.dir),
        user: given(&container.user),
        hostname: given(&facts.expand(&container.hostname)?),
        tty: container.tty,
        stdin_open: container.open_stdin,
        labels: container.labels.clone(),
        mounts: mounts(container, &facts)?,
        network,
        endpoints,
        ports: host_ports(task),
        // A task is one-shot: the orchestrator makes the next one.
        restart: RestartPolicy::No,
        limits: limits(spec),
        cap_add: container.cap_add.clone(),
        cap_drop: container.cap_drop.clone(),
        read_only: container.read_only,
        health: container.health_check.as_ref().map(health_check),
        stop_signal: given(&container.stop_signal),
        stop_timeout: Some(grace_seconds(container)),
        ulimits: container.ulimits.iter().map(ulimit).collect(),
        sysctls: container.sysctls.clone(),
        extra_hosts: container.hosts.iter().filter_map(|line| extra_host(line)).collect(),
        dns: container.dns_nameservers.iter().filter_map(|address| address.parse().ok()).collect(),
        dns_search: container.dns_search.clone(),
        dns_options: container.dns_options.clone(),
        oom_score_adj: i32::try_from(container.oom_score_adj).ok().filter(|score| *score != 0),
        group_add: container.groups.clone(),
        ..ContainerConfig::default()
    };
    if let Some(driver) = &spec.log_driver {
        let name = if driver.name == "none" { "none" } else { "json-file" };
        config.log = LogConfig { driver: name.to_owned(), options: driver.options.clone() };
    }
    let service = &task.service_annotations.name;
    for (key, value) in [
        ("com.docker.swarm.node.id", task.node_id.as_str()),
        ("com.docker.swarm.service.id", task.service_id.as_str()),
        ("com.docker.swarm.service.name", service.as_str()),
        ("com.docker.swarm.task", ""),
        (TASK_LABEL, task.id.as_str()),
        ("com.docker.swarm.task.name", name(task).as_str()),
    ] {
        config.labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(config)
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn networks(
    task: &Task,
    assigned: impl Fn(&str) -> Option<Assigned>,
) -> Result<(NetworkMode, Vec<EndpointConfig>), ExecutorError> {
    let targets = task.spec.networks.iter().map(|network| network.target.as_str());
    match targets.into_iter().find(|target| matches!(*target, "host" | "none")) {
        Some("host") => return Ok((NetworkMode::Host, Vec::new())),
        Some(_) => return Ok((NetworkMode::None, Vec::new())),
        None => {}
    }
    let mut endpoints = Vec::new();
    for attached in &task.networks {
        let id = &attached.network_id;
        if *id == "bridge" {
            let local =
                EndpointConfig { network: id.to_string(), aliases: attached.aliases.clone(), ..Default::default() };
            endpoints.push((false, local));
            continue;
        }
        // The assignment of the network comes with the task's; until it has, the task waits.
        let known = assigned(id)
            .ok_or_else(|| ExecutorError::Temporary(format!("network {id} has not reached this node yet")))?;
        let address = attached.address.split('/').next().unwrap_or_default();
        let address = address
            .parse()
            .map_err(|_| ExecutorError::Fatal(format!("the task's address {:?} is not one", attached.address)))?;
        let endpoint = EndpointConfig {
            network: id.to_string(),
            overlay: true,
            network_name: Some(known.name),
            address: Some(address),
            aliases: attached.aliases.clone(),
            published: if known.ingress { mesh_ports(task) } else { Vec::new() },
            ..EndpointConfig::default()
        };
        endpoints.push((known.ingress, endpoint));
    }
    // eth0 is on the service's own network, where users look for it; the routing mesh comes after.
    endpoints.sort_by_key(|(ingress, _)| *ingress);
    Ok((NetworkMode::Endpoints, endpoints.into_iter().map(|(_, endpoint)| endpoint).collect()))
}

/// As the task was made: an update of the service's ports replaces its tasks one by one.
fn mesh_ports(task: &Task) -> Vec<PublishedPort> {
    let mapping = |port: &PortConfig| {
        Some(PublishedPort {
            published: port_number(port.published_port)?,
            target: port_number(port.target_port)?,
            protocol: ports::net_protocol(port.protocol),
        })
    };
    task.endpoint.ports.iter().filter(|port| port.is_ingress()).filter_map(mapping).collect()
}

fn port_number(port: u32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn host_ports(task: &Task) -> Vec<PortMapping> {
    let mapping = |port: &PortConfig| {
        Some(PortMapping {
            host_ip: None,
            host_port: port_number(port.published_port),
            container_port: port_number(port.target_port)?,
            protocol: ports::net_protocol(port.protocol),
        })
    };
    task.endpoint.ports.iter().filter(|port| port.publish_mode == PublishMode::Host).filter_map(mapping).collect()
}

fn mounts(container: &ContainerSpec, facts: &Facts) -> Result<Vec<MountSpec>, ExecutorError> {
    let one = |given: &Mount| {
        let mut spec = mount::from_api(given);
        spec.source = facts.expand(&spec.source)?;
        spec.target = facts.expand(&spec.target)?;
        mount::to_runtime(&spec).map_err(ExecutorError::Fatal)
    };
    container.mounts.iter().map(one).collect()
}

fn limits(spec: &TaskSpec) -> Limits {
    let (limits, reserved) = (&spec.resources.limits, &spec.resources.reservations);
    let positive = |value: i64| (value > 0).then_some(value);
    let cgroup = CgroupLimits {
        memory: positive(limits.memory_bytes),
        memory_reservation: positive(reserved.memory_bytes),
        pids: positive(spec.resources.limit_pids),
        ..CgroupLimits::default()
    };
    Limits { nano_cpus: positive(limits.nano_cpus), cgroup }
}

fn health_check(check: &ModelHealthCheck) -> HealthCheck {
    HealthCheck {
        test: check.test.clone(),
        interval_ns: check.interval_ns,
        timeout_ns: check.timeout_ns,
        start_period_ns: check.start_period_ns,
        start_interval_ns: check.start_interval_ns,
        retries: check.retries.into(),
    }
}

/// Whole seconds, rounded up.
fn grace_seconds(container: &ContainerSpec) -> i64 {
    let nanoseconds = container.stop_grace_period_ns.unwrap_or(GRACE_DEFAULT_NS).max(0);
    nanoseconds / duration::SECOND_NS + i64::from(nanoseconds % duration::SECOND_NS > 0)
}

fn ulimit(limit: &ModelUlimit) -> Ulimit {
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    Ulimit { name: limit.name.clone(), soft: number(limit.soft), hard: number(limit.hard) }
}

/// `10.0.0.1 db` → `db:10.0.0.1`
fn extra_host(line: &str) -> Option<String> {
    let (address, name) = line.split_once(' ')?;
    Some(format!("{}:{address}", name.trim()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use skep_cluster::model::{Annotations, Endpoint, NetworkAttachment, NetworkAttachmentSpec};

    fn task() -> Task {
        Task {
            id: "t1".into(),
            slot: 3,
            node_id: "n1".into(),
            service_id: "s1".into(),
            service_annotations: Annotations { name: "web".to_owned(), ..Annotations::default() },
            spec: TaskSpec {
                container: ContainerSpec {
                    image: "nginx:latest@sha256:ab".to_owned(),
                    env: vec!["WHO={{.Node.Hostname}}".to_owned()],
                    hosts: vec!["10.0.0.1 db".to_owned()],
                    stop_grace_period_ns: Some(1_500_000_000),
                    ..ContainerSpec::default()
                },
                ..TaskSpec::default()
            },
            networks: vec![
                NetworkAttachment {
                    network_id: "ing".into(),
                    address: "10.0.0.7/24".to_owned(),
                    ..NetworkAttachment::default()
                },
                NetworkAttachment {
                    network_id: "app".into(),
                    address: "10.0.1.3/24".to_owned(),
                    ..NetworkAttachment::default()
                },
            ],
            endpoint: Endpoint {
                ports: vec![
                    PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() },
                    PortConfig {
                        target_port: 81,
                        published_port: 0,
                        publish_mode: PublishMode::Host,
                        ..PortConfig::default()
                    },
                ],
                ..Endpoint::default()
            },
            ..Task::default()
        }
    }

    fn known(id: &str) -> Option<Assigned> {
        Some(Assigned { name: format!("{id}-net"), ingress: id == "ing" })
    }

    #[test]
    fn a_task_becomes_a_container() {
        let config = config(&task(), "host1", known).unwrap();
        assert_eq!(config.name.as_deref(), Some("web.3.t1"));
        assert_eq!(config.env, ["WHO=host1"]);
        assert_eq!(config.extra_hosts, ["db:10.0.0.1"]);
        assert_eq!(config.stop_timeout, Some(2));
        assert_eq!(config.labels["com.docker.swarm.service.name"], "web");
        let networks: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.network.as_str()).collect();
        assert_eq!(networks, ["app", "ing"]);
        assert!(config.endpoints[0].published.is_empty());
        let published: Vec<_> =
            config.endpoints[1].published.iter().map(|port| (port.published, port.target)).collect();
        assert_eq!(published, [(8080, 80)], "those of the task itself");
        assert_eq!(config.ports.len(), 1);
        assert_eq!((config.ports[0].container_port, config.ports[0].host_port), (81, None));
    }

    #[test]
    fn a_network_that_is_not_here_yet_is_waited_for() {
        assert!(config(&task(), "host1", |_| None).unwrap_err().is_retryable());
    }

    #[test]
    fn the_hosts_network_is_no_overlay() {
        let mut task = task();
        let network = NetworkAttachmentSpec { target: "host".into(), ..NetworkAttachmentSpec::default() };
        task.spec.networks = vec![network];
        assert_eq!(config(&task, "host1", known).unwrap().network, NetworkMode::Host);
    }
}
