//! `GET /containers/ID/json`: from what is recorded of a container to docker's JSON. Pure but for the records' reading.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value};
use skep_common::names::short_id;
use skep_net::Sandbox;
use skep_runtime::config::{
    ContainerConfig, ContainerRecord, HealthCheck, MountPoint, MountType, NetworkMode, RestartPolicy,
};
use skep_runtime::state::{ContainerState, Health, Status};
use skep_runtime::{ContainerDetails, ContainerFiles, Volumes};

use crate::docker::container::{self as docker, Container, NetworkSettings, State};
use crate::docker::create::{
    Config, DeviceMapping, EndpointAddresses, EndpointSettings, HealthConfig, HostConfig, LogConfig, PortBinding,
    Resources, Ulimit,
};
use crate::docker::{Empty, NEVER, Named, create};
use crate::engine::Engine;
use crate::error::Result;

impl Engine {
    /// Everything about a container.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub fn inspect_container(&self, name_or_id: &str) -> Result<Container> {
        let runtime = self.runtime()?;
        Ok(container(runtime.details(name_or_id)?, &runtime.volumes()))
    }
}

fn container(details: ContainerDetails, volumes: &Volumes) -> Container {
    let ContainerDetails { record, state, sandbox, files, cgroup_parent } = details;
    let mut words = record.resolved.entrypoint.iter().chain(&record.resolved.cmd).cloned();
    let log_path = if record.config.log.driver == "none" { String::new() } else { text(&files.log) };
    Container {
        path: words.next().unwrap_or_default(),
        args: words.collect(),
        state: state_of(&state),
        image: record.image_id.clone(),
        resolv_conf_path: text(&files.resolv_conf),
        hostname_path: text(&files.hostname),
        hosts_path: text(&files.hosts),
        log_path,
        name: format!("/{}", record.name),
        restart_count: state.restart_count,
        driver: "overlay2".to_owned(),
        platform: "linux".to_owned(),
        host_config: host_config(&record, cgroup_parent),
        graph_driver: graph_driver(&files),
        mounts: record.mounts.iter().map(|point| mount_point(point, volumes)).collect(),
        config: config_of(&record),
        network_settings: network_settings(&record, sandbox.as_ref()),
        created: record.created.to_string(),
        id: record.id,
        ..Container::default()
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn graph_driver(files: &ContainerFiles) -> Map<String, Value> {
    let data = [("UpperDir", &files.upper), ("WorkDir", &files.work), ("MergedDir", &files.rootfs)];
    let data: Map<String, Value> = data.into_iter().map(|(name, path)| (name.to_owned(), text(path).into())).collect();
    Map::from_iter([("Name".to_owned(), "overlay2".into()), ("Data".to_owned(), data.into())])
}

/// A mount; where a volume is on this machine, `volumes` tells.
pub(super) fn mount_point(point: &MountPoint, volumes: &Volumes) -> docker::MountPoint {
    let mut mount = docker::MountPoint {
        kind: "tmpfs".to_owned(),
        destination: point.target.clone(),
        mode: if point.read_only { "ro".to_owned() } else { String::new() },
        writable: !point.read_only,
        ..docker::MountPoint::default()
    };
    match &point.kind {
        MountType::Bind { source, propagation, .. } => {
            "bind".clone_into(&mut mount.kind);
            mount.source = text(source);
            mount.propagation = if propagation.is_empty() { "rprivate" } else { propagation }.to_owned();
        }
        MountType::Volume { name, .. } => {
            "volume".clone_into(&mut mount.kind);
            mount.name.clone_from(name);
            mount.source = text(&volumes.data(name));
            "local".clone_into(&mut mount.driver);
        }
        MountType::Tmpfs { options } => mount.mode.clone_from(options),
    }
    mount
}

fn state_of(state: &ContainerState) -> State {
    let time = |time: Option<Timestamp>| time.map_or_else(|| NEVER.to_owned(), |time| time.to_string());
    State {
        status: state.status.as_str().to_owned(),
        running: state.status.is_active(),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: state.init.map_or(0, |init| init.pid),
        exit_code: state.exit_code,
        error: state.error.clone(),
        started_at: time(state.started_at),
        finished_at: time(state.finished_at),
        health: state.health.as_ref().map(health_of),
    }
}

fn health_of(health: &Health) -> docker::Health {
    let log = health.log.iter().map(|result| docker::HealthResult {
        start: result.start.to_string(),
        end: result.end.to_string(),
        exit_code: result.exit_code,
        output: result.output.clone(),
    });
    docker::Health {
        status: health.status.as_str().to_owned(),
        failing_streak: health.failing_streak,
        log: Some(log.collect()),
    }
}

/// The keys of one of Go's sets.
pub(crate) fn set<'a>(items: impl IntoIterator<Item = &'a String>) -> Named<Empty> {
    items.into_iter().map(|item| (item.clone(), Empty {})).collect()
}

/// As Go writes a list that was never begun: null.
pub(crate) fn or_null(items: &[String]) -> Option<Vec<String>> {
    (!items.is_empty()).then(|| items.to_vec())
}

fn config_of(record: &ContainerRecord) -> Config {
    let (config, resolved) = (&record.config, &record.resolved);
    let volumes = set(record.mounts.iter().filter(|point| point.anonymous).map(|point| &point.target));
    Config {
        hostname: config.hostname.clone().unwrap_or_else(|| short_id(&record.id).to_owned()),
        domainname: config.domainname.clone().unwrap_or_default(),
        user: resolved.user.clone(),
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        exposed_ports: Some(set(&resolved.exposed_ports)),
        tty: config.tty,
        open_stdin: config.stdin_open,
        stdin_once: config.stdin_once,
        env: Some(resolved.env.clone()),
        cmd: or_null(&resolved.cmd),
        image: config.image.clone(),
        volumes: (!volumes.is_empty()).then_some(volumes),
        working_dir: resolved.working_dir.clone(),
        entrypoint: or_null(&resolved.entrypoint),
        labels: Some(resolved.labels.clone()),
        stop_signal: Some(resolved.stop_signal.clone()),
        stop_timeout: Some(resolved.stop_timeout),
        healthcheck: resolved.health.as_ref().map(health_config),
        ..Config::default()
    }
}

fn health_config(health: &HealthCheck) -> HealthConfig {
    HealthConfig {
        test: Some(health.test.clone()),
        interval: Some(health.interval_ns),
        timeout: Some(health.timeout_ns),
        start_period: Some(health.start_period_ns),
        start_interval: Some(health.start_interval_ns),
        retries: Some(health.retries),
    }
}

/// Docker's name and count of a policy.
fn restart_policy(policy: RestartPolicy) -> create::RestartPolicy {
    let (name, maximum_retry_count) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::OnFailure(times) => ("on-failure", times),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
    };
    create::RestartPolicy { name: name.to_owned(), maximum_retry_count }
}

fn port_bindings(record: &ContainerRecord) -> Named<Option<Vec<PortBinding>>> {
    let mut bindings = Named::<Option<Vec<PortBinding>>>::default();
    for port in &record.resolved.ports {
        let key = format!("{}/{}", port.container_port, port.protocol);
        bindings.entry(&key).get_or_insert_default().push(PortBinding {
            host_ip: port.host_ip.map(|address| address.to_string()).unwrap_or_default(),
            host_port: port.host_port.map(|port| port.to_string()).unwrap_or_default(),
        });
    }
    bindings
}

fn host_config(record: &ContainerRecord, cgroup_parent: String) -> HostConfig {
    let config = &record.config;
    let given = |text: &str| if text.is_empty() { "private" } else { text }.to_owned();
    let addresses = config.dns.iter().map(ToString::to_string).collect();
    HostConfig {
        binds: Some(or_null(&binds(&record.mounts))),
        log_config: LogConfig { kind: config.log.driver.clone(), config: Some(config.log.options.clone()) },
        network_mode: network_mode(config),
        port_bindings: Some(port_bindings(record)),
        restart_policy: restart_policy(config.restart),
        auto_remove: config.auto_remove,
        volumes_from: Some(or_null(&config.volumes_from)),
        cap_add: Some(or_null(&config.cap_add)),
        cap_drop: Some(or_null(&config.cap_drop)),
        cgroupns_mode: given(&config.cgroupns_mode),
        dns: Some(Some(addresses)),
        dns_options: Some(Some(config.dns_options.clone())),
        dns_search: Some(Some(config.dns_search.clone())),
        extra_hosts: Some(or_null(&config.extra_hosts)),
        group_add: Some(or_null(&config.group_add)),
        ipc_mode: given(&config.ipc_mode),
        oom_score_adj: Some(config.oom_score_adj.unwrap_or(0)),
        pid_mode: config.pid_mode.clone(),
        privileged: config.privileged,
        publish_all_ports: config.publish_all,
        readonly_rootfs: config.read_only,
        security_opt: Some(or_null(&config.security_opt)),
        uts_mode: config.uts_mode.clone(),
        shm_size: Some(config.shm_size.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(64 << 20)),
        sysctls: Some(config.sysctls.clone()),
        runtime: Some("libcontainer".to_owned()),
        resources: resources(config, cgroup_parent),
        annotations: Some(config.annotations.clone()),
        ..HostConfig::default()
    }
}

fn resources(config: &ContainerConfig, cgroup_parent: String) -> Resources {
    let limits = &config.limits.cgroup;
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let devices = config.devices.iter().map(|device| DeviceMapping {
        path_on_host: text(&device.source),
        path_in_container: device.target.clone(),
        cgroup_permissions: device.permissions.clone(),
    });
    // Docker writes unlimited as -1.
    let limit = |value: u64| i64::try_from(value).unwrap_or(-1);
    let ulimits = config.ulimits.iter().map(|ulimit| Ulimit {
        name: ulimit.name.clone(),
        soft: limit(ulimit.soft),
        hard: limit(ulimit.hard),
    });
    Resources {
        cpu_shares: Some(limits.cpu_shares.map_or(0, signed)),
        memory: Some(limits.memory.unwrap_or(0)),
        nano_cpus: Some(config.limits.nano_cpus.unwrap_or(0)),
        cgroup_parent: Some(cgroup_parent),
        blkio_weight: Some(limits.blkio_weight.unwrap_or(0)),
        cpu_period: Some(limits.cpu_period.map_or(0, signed)),
        cpu_quota: Some(limits.cpu_quota.unwrap_or(0)),
        cpuset_cpus: Some(limits.cpuset_cpus.clone().unwrap_or_default()),
        cpuset_mems: Some(limits.cpuset_mems.clone().unwrap_or_default()),
        devices: Some(Some(devices.collect())),
        memory_reservation: Some(limits.memory_reservation.unwrap_or(0)),
        memory_swap: Some(limits.memory_swap.or(limits.memory.map(|memory| memory * 2)).unwrap_or(0)),
        oom_kill_disable: Some(Some(limits.oom_kill_disable)),
        pids_limit: Some(limits.pids),
        ulimits: Some(Some(ulimits.collect())),
        ..Resources::default()
    }
}

fn binds(mounts: &[MountPoint]) -> Vec<String> {
    let bind = |point: &MountPoint| {
        let source = match &point.kind {
            MountType::Bind { source, .. } => text(source),
            MountType::Volume { name, .. } if !point.anonymous => name.clone(),
            _ => return None,
        };
        let mode = if point.read_only { ":ro" } else { "" };
        Some(format!("{source}:{}{mode}", point.target))
    };
    mounts.iter().filter_map(bind).collect()
}

fn network_mode(config: &ContainerConfig) -> String {
    match &config.network {
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(other) => format!("container:{other}"),
        NetworkMode::Endpoints => match config.endpoints.first() {
            None => "bridge".to_owned(),
            Some(endpoint) => endpoint.network_name.clone().unwrap_or_else(|| endpoint.network.clone()),
        },
    }
}

fn network_settings(record: &ContainerRecord, sandbox: Option<&Sandbox>) -> NetworkSettings {
    let mut settings = NetworkSettings::default();
    for name in record.network_names() {
        settings.networks.insert(name, endpoint());
    }
    for (asked, name) in record.config.endpoints.iter().zip(record.network_names()) {
        if let Some(shown) = settings.networks.get_mut(&name) {
            shown.aliases = or_null(&asked.aliases);
            shown.gw_priority = Some(asked.gateway_priority);
            shown.ipam_config = asked.address.map(|address| EndpointAddresses {
                ipv4_address: Some(address.to_string()),
                ..EndpointAddresses::default()
            });
        }
    }
    let Some(sandbox) = sandbox else { return settings };
    settings.sandbox_id.clone_from(&record.id);
    settings.sandbox_key = text(&sandbox.namespace);
    settings.ports = ports(record, sandbox);
    for (name, shown) in legs(&record.id, sandbox) {
        let known = settings.networks.remove(&name).unwrap_or_else(endpoint);
        let shown = EndpointSettings {
            aliases: known.aliases,
            gw_priority: known.gw_priority,
            ipam_config: known.ipam_config,
            ..shown
        };
        if name == "bridge" {
            settings.gateway.clone_from(&shown.gateway);
            settings.ip_address.clone_from(&shown.ip_address);
            settings.ip_prefix_len = shown.ip_prefix_len;
            settings.mac_address.clone_from(&shown.mac_address);
            settings.endpoint_id.clone_from(&shown.endpoint_id);
        }
        settings.networks.insert(name, shown);
    }
    settings
}

fn endpoint() -> EndpointSettings {
    EndpointSettings { gw_priority: Some(0), dns_names: Some(None), ..EndpointSettings::default() }
}

/// A container's legs, by network.
pub(super) fn legs(id: &str, sandbox: &Sandbox) -> impl Iterator<Item = (String, EndpointSettings)> {
    sandbox.endpoints.iter().map(|leg| {
        let shown = EndpointSettings {
            mac_address: leg.mac.to_string(),
            network_id: leg.network.to_string(),
            endpoint_id: format!("{}-{}", short_id(id), leg.interface),
            gateway: leg.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
            ip_address: leg.address.addr().to_string(),
            ip_prefix_len: leg.address.prefix_len(),
            dns_names: Some(or_null(&leg.aliases)),
            ..endpoint()
        };
        (leg.network_name.clone(), shown)
    })
}

fn ports(record: &ContainerRecord, sandbox: &Sandbox) -> BTreeMap<String, Option<Vec<PortBinding>>> {
    let mut ports: BTreeMap<String, Option<Vec<PortBinding>>> =
        record.resolved.exposed_ports.iter().map(|text| (text.clone(), None)).collect();
    for port in &sandbox.ports {
        let binding = PortBinding { host_ip: port.host_ip.to_string(), host_port: port.host_port.to_string() };
        let key = format!("{}/{}", port.container_port, port.protocol);
        ports.entry(key).or_default().get_or_insert_default().push(binding);
    }
    ports
}
