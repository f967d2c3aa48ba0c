//! `inspect`: everything about a container, in docker's JSON.
//!
//! Field names and nesting are docker's (Engine API 1.50, `ContainerInspect`), so that templates
//! written for docker work.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use skep_net::Sandbox;

use crate::error::Result;
use crate::records::config::{ContainerConfig, ContainerRecord, MountPoint, MountType, NetworkMode, RestartPolicy};
use crate::records::list::network_names;
use crate::records::state::{ContainerState, Health};
use crate::runtime::Runtime;

/// A container.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    pub id: String,
    pub created: Timestamp,
    pub path: String,
    pub args: Vec<String>,
    pub state: State,
    pub image: String,
    pub resolv_conf_path: String,
    pub hostname_path: String,
    pub hosts_path: String,
    pub log_path: String,
    pub name: String,
    pub restart_count: u32,
    pub driver: String,
    pub platform: String,
    pub mount_label: String,
    pub process_label: String,
    pub app_armor_profile: String,
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    pub host_config: Value,
    pub graph_driver: Value,
    pub mounts: Vec<Mount>,
    pub config: Value,
    pub network_settings: NetworkSettings,
}

/// How it stands.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct State {
    pub status: String,
    pub running: bool,
    pub paused: bool,
    pub restarting: bool,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub dead: bool,
    pub pid: i32,
    pub exit_code: i32,
    pub error: String,
    pub started_at: String,
    pub finished_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthState>,
}

/// What the health checks say.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthState {
    pub status: String,
    pub failing_streak: u32,
    pub log: Vec<HealthLog>,
}

/// One probe.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthLog {
    pub start: Timestamp,
    pub end: Timestamp,
    pub exit_code: i32,
    pub output: String,
}

/// A mount.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mount {
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub source: String,
    pub destination: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    pub mode: String,
    #[serde(rename = "RW")]
    pub writable: bool,
    pub propagation: String,
}

/// Networks and ports.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    pub bridge: String,
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    pub sandbox_key: String,
    pub ports: BTreeMap<String, Option<Vec<PortBinding>>>,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub gateway: String,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    pub mac_address: String,
    pub networks: BTreeMap<String, Endpoint>,
}

/// Where a port is published.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PortBinding {
    pub host_ip: String,
    pub host_port: String,
}

/// One network.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoint {
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<Value>,
    pub links: Option<Vec<String>>,
    pub aliases: Option<Vec<String>>,
    pub mac_address: String,
    pub driver_opts: Option<BTreeMap<String, String>>,
    pub gw_priority: i32,
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub gateway: String,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
}

/// Docker writes a time that never was so.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Runtime {
    /// Everything about a container, after healing.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchContainer`].
    pub fn inspect(&self, name_or_id: &str) -> Result<Container> {
        let (record, state) = self.record(name_or_id)?;
        let sandbox = match state.status.is_active() {
            true => self.net().sandbox(&skep_net::SandboxId::new(&record.id)?)?,
            false => None,
        };
        let paths = self.paths(&record.id);
        let text = |path: std::path::PathBuf| path.display().to_string();
        let args: Vec<String> = record.resolved.entrypoint.iter().chain(&record.resolved.cmd).cloned().collect();
        let log_path = if record.config.log.driver == "none" { String::new() } else { text(paths.log()) };
        Ok(Container {
            path: args.first().cloned().unwrap_or_default(),
            args: args.into_iter().skip(1).collect(),
            state: state_of(&state),
            image: record.image_id.clone(),
            resolv_conf_path: text(paths.resolv_conf()),
            hostname_path: text(paths.hostname()),
            hosts_path: text(paths.hosts()),
            log_path,
            name: format!("/{}", record.name),
            restart_count: state.restart_count,
            driver: "overlay2".to_owned(),
            platform: "linux".to_owned(),
            mount_label: String::new(),
            process_label: String::new(),
            app_armor_profile: String::new(),
            exec_ids: None,
            host_config: host_config(&record, &self.cgroup(&record).parent),
            graph_driver: json!({"Name": "overlay2", "Data": {
                "UpperDir": text(paths.upper()), "WorkDir": text(paths.work()), "MergedDir": text(paths.rootfs()),
            }}),
            mounts: record.mounts.iter().map(|point| self.mount_of(point)).collect(),
            config: config_of(&record),
            network_settings: network_settings(&record, sandbox.as_ref()),
            created: record.created,
            id: record.id,
        })
    }

    fn mount_of(&self, point: &MountPoint) -> Mount {
        let mut mount = Mount {
            kind: "tmpfs".to_owned(),
            name: String::new(),
            source: String::new(),
            destination: point.target.clone(),
            driver: String::new(),
            mode: if point.read_only { "ro".to_owned() } else { String::new() },
            writable: !point.read_only,
            propagation: String::new(),
        };
        match &point.kind {
            MountType::Bind { source, propagation, .. } => {
                "bind".clone_into(&mut mount.kind);
                mount.source = source.display().to_string();
                let default = "rprivate";
                mount.propagation = if propagation.is_empty() { default } else { propagation }.to_owned();
            }
            MountType::Volume { name, .. } => {
                "volume".clone_into(&mut mount.kind);
                mount.name.clone_from(name);
                mount.source = self.volumes().data(name).display().to_string();
                "local".clone_into(&mut mount.driver);
            }
            MountType::Tmpfs { options } => mount.mode.clone_from(options),
        }
        mount
    }
}

fn state_of(state: &ContainerState) -> State {
    use crate::records::state::Status;
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

fn health_of(health: &Health) -> HealthState {
    let log = health.log.iter().map(|result| HealthLog {
        start: result.start,
        end: result.end,
        exit_code: result.exit_code,
        output: result.output.clone(),
    });
    HealthState { status: health.status.as_str().to_owned(), failing_streak: health.failing_streak, log: log.collect() }
}

fn config_of(record: &ContainerRecord) -> Value {
    let (config, resolved) = (&record.config, &record.resolved);
    let set =
        |items: &[String]| -> Value { Value::Object(items.iter().map(|item| (item.clone(), json!({}))).collect()) };
    let volumes: Vec<String> =
        record.mounts.iter().filter(|point| point.anonymous).map(|point| point.target.clone()).collect();
    let mut value = json!({
        "Hostname": config.hostname.clone().unwrap_or_else(|| crate::files::short(&record.id).to_owned()),
        "Domainname": config.domainname.clone().unwrap_or_default(),
        "User": resolved.user,
        "AttachStdin": config.attach_stdin,
        "AttachStdout": config.attach_stdout,
        "AttachStderr": config.attach_stderr,
        "ExposedPorts": set(&resolved.exposed_ports),
        "Tty": config.tty,
        "OpenStdin": config.stdin_open,
        "StdinOnce": config.stdin_once,
        "Env": resolved.env,
        "Cmd": list_or_null(&resolved.cmd),
        "Image": config.image,
        "Volumes": if volumes.is_empty() { Value::Null } else { set(&volumes) },
        "WorkingDir": resolved.working_dir,
        "Entrypoint": list_or_null(&resolved.entrypoint),
        "OnBuild": null,
        "Labels": resolved.labels,
        "StopSignal": resolved.stop_signal,
        "StopTimeout": resolved.stop_timeout,
    });
    if let Some(health) = &resolved.health {
        value["Healthcheck"] = json!({
            "Test": health.test, "Interval": health.interval_ns, "Timeout": health.timeout_ns,
            "StartPeriod": health.start_period_ns, "StartInterval": health.start_interval_ns,
            "Retries": health.retries,
        });
    }
    value
}

fn list_or_null(items: &[String]) -> Value {
    if items.is_empty() { Value::Null } else { json!(items) }
}

fn host_config(record: &ContainerRecord, cgroup_parent: &str) -> Value {
    let (config, limits) = (&record.config, &record.config.limits);
    let (restart, retries) = match config.restart {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::OnFailure(times) => ("on-failure", times),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
    };
    let mut bindings = serde_json::Map::new();
    for port in &record.resolved.ports {
        let host = json!({
            "HostIp": port.host_ip.map(|address| address.to_string()).unwrap_or_default(),
            "HostPort": port.host_port.map(|port| port.to_string()).unwrap_or_default(),
        });
        let list = bindings.entry(format!("{}/{}", port.container_port, port.protocol)).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(host);
        }
    }
    let mut value = json!({
        "Binds": binds(&record.mounts),
        "LogConfig": {"Type": config.log.driver, "Config": config.log.options},
        "NetworkMode": network_mode(config),
        "PortBindings": bindings,
        "RestartPolicy": {"Name": restart, "MaximumRetryCount": retries},
        "AutoRemove": config.auto_remove,
        "VolumesFrom": list_or_null(&config.volumes_from),
        "CapAdd": list_or_null(&config.cap_add),
        "CapDrop": list_or_null(&config.cap_drop),
        "CgroupnsMode": if config.cgroupns_mode.is_empty() { "private" } else { &config.cgroupns_mode },
        "Dns": config.dns,
        "DnsOptions": config.dns_options,
        "DnsSearch": config.dns_search,
        "ExtraHosts": list_or_null(&config.extra_hosts),
        "GroupAdd": list_or_null(&config.group_add),
        "IpcMode": if config.ipc_mode.is_empty() { "private" } else { &config.ipc_mode },
        "OomScoreAdj": config.oom_score_adj.unwrap_or(0),
        "PidMode": config.pid_mode,
        "Privileged": config.privileged,
        "PublishAllPorts": config.publish_all,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": list_or_null(&config.security_opt),
    });
    let more = json!({
        "UTSMode": config.uts_mode,
        "ShmSize": config.shm_size.unwrap_or(64 << 20),
        "Sysctls": config.sysctls,
        "Runtime": "libcontainer",
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory.unwrap_or(0),
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CgroupParent": cgroup_parent,
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.clone().unwrap_or_default(),
        "Devices": config.devices.iter().map(|device| json!({
            "PathOnHost": device.source, "PathInContainer": device.target, "CgroupPermissions": device.permissions,
        })).collect::<Vec<_>>(),
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "MemorySwap": limits.memory_swap.or(limits.memory.map(|memory| memory * 2)).unwrap_or(0),
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids,
        "Ulimits": config.ulimits.iter().map(|limit| json!({
            "Name": limit.name, "Soft": signed(limit.soft), "Hard": signed(limit.hard),
        })).collect::<Vec<_>>(),
        "Annotations": config.annotations,
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

/// Docker writes unlimited as -1.
fn signed(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(-1)
}

fn binds(mounts: &[MountPoint]) -> Value {
    let texts: Vec<String> = mounts
        .iter()
        .filter_map(|point| {
            let source = match &point.kind {
                MountType::Bind { source, .. } => source.display().to_string(),
                MountType::Volume { name, .. } if !point.anonymous => name.clone(),
                _ => return None,
            };
            let mode = if point.read_only { ":ro" } else { "" };
            Some(format!("{source}:{}{mode}", point.target))
        })
        .collect();
    list_or_null(&texts)
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
    for name in network_names(record) {
        settings.networks.insert(name, Endpoint::default());
    }
    for (endpoint, name) in record.config.endpoints.iter().zip(network_names(record)) {
        if let Some(shown) = settings.networks.get_mut(&name) {
            shown.aliases = (!endpoint.aliases.is_empty()).then(|| endpoint.aliases.clone());
            shown.gw_priority = endpoint.gateway_priority;
            shown.ipam_config = endpoint.address.map(|address| json!({"IPv4Address": address}));
        }
    }
    let Some(sandbox) = sandbox else { return settings };
    settings.sandbox_id.clone_from(&record.id);
    settings.sandbox_key = sandbox.namespace.display().to_string();
    for text in &record.resolved.exposed_ports {
        settings.ports.insert(text.clone(), None);
    }
    for port in &sandbox.ports {
        let binding = PortBinding { host_ip: port.host_ip.to_string(), host_port: port.host_port.to_string() };
        let key = format!("{}/{}", port.container_port, port.protocol);
        settings.ports.entry(key).or_default().get_or_insert_default().push(binding);
    }
    for leg in &sandbox.endpoints {
        let shown = settings.networks.entry(leg.network_name.clone()).or_default();
        shown.mac_address = leg.mac.to_string();
        shown.network_id = leg.network.to_string();
        shown.endpoint_id = format!("{}-{}", crate::files::short(&record.id), leg.interface);
        shown.gateway = leg.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
        shown.ip_address = leg.address.addr().to_string();
        shown.ip_prefix_len = leg.address.prefix_len();
        shown.dns_names = (!leg.aliases.is_empty()).then(|| leg.aliases.clone());
        if leg.network_name == "bridge" {
            settings.gateway.clone_from(&shown.gateway);
            settings.ip_address.clone_from(&shown.ip_address);
            settings.ip_prefix_len = shown.ip_prefix_len;
            settings.mac_address.clone_from(&shown.mac_address);
            settings.endpoint_id.clone_from(&shown.endpoint_id);
        }
    }
    settings
}
