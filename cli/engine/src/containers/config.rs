//! From docker's request to what the runtime is asked for. Every field is understood, or refused by its name where it
//! asks for something.

use std::path::PathBuf;

use skep_net::Net;
use skep_runtime::config::{ContainerConfig, Device, HealthCheck, LogConfig, NetworkMode, RestartPolicy, Ulimit};

use super::{limits, mounts, networks, ports};
use crate::docker::create::{self as docker, CreateRequest, HealthConfig, HostConfig};
use crate::docker::{refuse, refuse_all};
use crate::error::{Error, Result};

/// What is asked for, and what whoever asks should know of it.
pub(super) struct Read {
    pub(super) config: ContainerConfig,
    pub(super) warnings: Vec<String>,
}

/// Reads a request. Nothing is touched; networks are resolved later, by `leases`.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`], [`crate::ErrorKind::NotSupported`].
pub(super) fn read(net: &Net, name: Option<&str>, request: &CreateRequest) -> Result<Read> {
    let asked = &request.config;
    let host = request.host_config.clone().unwrap_or_default();
    refuse_all(&request.other)?;
    refuse_unknown(&host)?;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (network, endpoints) = networks::of_request(request)?;
    let config = ContainerConfig {
        image: asked.image.clone(),
        name: name.map(|name| name.strip_prefix('/').unwrap_or(name).to_owned()),
        cmd: asked.cmd.clone().unwrap_or_default(),
        entrypoint: asked.entrypoint.clone(),
        env: asked.env.clone().unwrap_or_default(),
        working_dir: text(&asked.working_dir),
        user: text(&asked.user),
        hostname: text(&asked.hostname),
        domainname: text(&asked.domainname),
        tty: asked.tty,
        terminal_size: host.console_size.filter(|[rows, _]| *rows > 0).map(|[rows, columns]| (rows, columns)),
        stdin_open: asked.open_stdin,
        stdin_once: asked.stdin_once,
        attach_stdin: asked.attach_stdin,
        attach_stdout: asked.attach_stdout,
        attach_stderr: asked.attach_stderr,
        labels: asked.labels.clone().unwrap_or_default(),
        mounts: mounts::of_request(request)?,
        ports: host.port_bindings.as_ref().map_or_else(|| Ok(Vec::new()), |ports| ports::published(net, ports))?,
        exposed_ports: asked.exposed_ports.as_ref().map_or_else(|| Ok(Vec::new()), ports::exposed)?,
        health: asked.healthcheck.as_ref().map(health_check),
        stop_signal: asked.stop_signal.clone().filter(|signal| !signal.is_empty()),
        stop_timeout: asked.stop_timeout,
        network,
        endpoints,
        ..of_host(host)?
    };
    Ok(without_ports_of_nothing(config))
}

/// The part of the request that says how the container runs on this machine.
fn of_host(host: HostConfig) -> Result<ContainerConfig> {
    let resources = &host.resources;
    let listed = |list: &Option<Option<Vec<String>>>| list.clone().flatten().unwrap_or_default();
    let restart = restart_policy(&host.restart_policy)?;
    if host.auto_remove && restart != RestartPolicy::No {
        return Err(Error::bad_argument("can't create 'AutoRemove' container with restart policy"));
    }
    Ok(ContainerConfig {
        limits: limits::of_request(resources)?,
        devices: resources.devices.iter().flatten().flatten().map(device).collect::<Result<_>>()?,
        device_rules: listed(&resources.device_cgroup_rules),
        ulimits: resources.ulimits.iter().flatten().flatten().map(ulimit).collect(),
        cgroup_parent: resources.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
        volumes_from: listed(&host.volumes_from),
        publish_all: host.publish_all_ports,
        restart,
        auto_remove: host.auto_remove,
        cap_add: listed(&host.cap_add),
        cap_drop: listed(&host.cap_drop),
        privileged: host.privileged,
        read_only: host.readonly_rootfs,
        security_opt: security_options(&host)?,
        sysctls: host.sysctls.clone().unwrap_or_default(),
        extra_hosts: listed(&host.extra_hosts),
        dns: listed(&host.dns).iter().map(|text| address(text)).collect::<Result<_>>()?,
        dns_search: listed(&host.dns_search),
        dns_options: listed(&host.dns_options),
        log: log_config(&host.log_config)?,
        oom_score_adj: host.oom_score_adj,
        shm_size: host.shm_size.filter(|bytes| *bytes != 0).map(i64::unsigned_abs),
        group_add: listed(&host.group_add),
        pid_mode: host.pid_mode,
        ipc_mode: host.ipc_mode,
        uts_mode: host.uts_mode,
        cgroupns_mode: host.cgroupns_mode,
        annotations: host.annotations.unwrap_or_default(),
        ..ContainerConfig::default()
    })
}

/// Ports cannot be published where there is no network of the container's own.
fn without_ports_of_nothing(mut config: ContainerConfig) -> Read {
    let mut warnings = Vec::new();
    if config.network != NetworkMode::Endpoints && !config.ports.is_empty() {
        let mode = networks::mode_name(&config.network);
        warnings.push(format!("Published ports are discarded when using {mode} network mode"));
        config.ports.clear();
    }
    Read { config, warnings }
}

/// Refuses what skep does not do, where it is asked for. `ContainerIDFile` is the client's own affair, and
/// `ArgsEscaped`, `OnBuild` and `Shell` of the configuration ask nothing of a container.
fn refuse_unknown(host: &HostConfig) -> Result<()> {
    refuse_all(&host.other)?;
    refuse("Cgroup", &host.cgroup)?;
    refuse("Links", &host.links)?;
    refuse("StorageOpt", &host.storage_opt)?;
    refuse("Init", &host.init)?;
    let unless = |name: &str, value: &Option<String>, usual: &[&str]| {
        refuse(name, &value.as_deref().filter(|value| !usual.contains(value)))
    };
    unless("VolumeDriver", &host.volume_driver, &["local"])?;
    unless("UsernsMode", &host.userns_mode, &["host"])?;
    unless("Isolation", &host.isolation, &["default"])?;
    unless("Runtime", &host.runtime, &["libcontainer", "runc"])?;
    for (name, paths) in [("MaskedPaths", &host.masked_paths), ("ReadonlyPaths", &host.readonly_paths)] {
        refuse(name, paths)?;
    }
    Ok(())
}

/// The policy as the runtime has it.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`].
pub(super) fn restart_policy(policy: &docker::RestartPolicy) -> Result<RestartPolicy> {
    let count = policy.maximum_retry_count;
    let policy = match policy.name.as_str() {
        "" | "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => return Ok(RestartPolicy::OnFailure(count)),
        name => {
            return Err(Error::bad_argument(format!(
                "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or \
                 'unless-stopped'"
            )));
        }
    };
    match count {
        0 => Ok(policy),
        _ => Err(Error::bad_argument("invalid restart policy: maximum retry count can only be used with 'on-failure'")),
    }
}

fn health_check(asked: &HealthConfig) -> HealthCheck {
    HealthCheck {
        test: asked.test.clone().unwrap_or_default(),
        interval_ns: asked.interval.unwrap_or(0),
        timeout_ns: asked.timeout.unwrap_or(0),
        start_period_ns: asked.start_period.unwrap_or(0),
        start_interval_ns: asked.start_interval.unwrap_or(0),
        retries: asked.retries.unwrap_or(0),
    }
}

/// A seccomp profile is handed on as its content. Docker's client says `systempaths=unconfined` as two empty lists.
fn security_options(host: &HostConfig) -> Result<Vec<String>> {
    let read = |text: &String| {
        let Some((key, value)) = text.split_once('=').or_else(|| text.split_once(':')) else {
            return match text.as_str() {
                "no-new-privileges" => Ok(text.clone()),
                _ => Err(Error::bad_argument(format!("invalid --security-opt: {text:?}"))),
            };
        };
        match (key, value) {
            ("seccomp", "unconfined" | "builtin") => {}
            ("seccomp", profile) => {
                if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(profile) {
                    return Err(Error::bad_argument(format!("Decoding seccomp profile failed: {error}")));
                }
            }
            ("apparmor" | "label" | "no-new-privileges" | "systempaths" | "writable-cgroups", _) => {}
            _ => return Err(Error::bad_argument(format!("invalid --security-opt 2: {text:?}"))),
        }
        Ok(format!("{key}={value}"))
    };
    let mut options: Vec<String> = host.security_opt.iter().flatten().flatten().map(read).collect::<Result<_>>()?;
    let is_bare = |paths: &Option<Option<Vec<String>>>| paths.iter().flatten().any(Vec::is_empty);
    let unconfined = "systempaths=unconfined";
    if is_bare(&host.masked_paths) && is_bare(&host.readonly_paths) && !options.iter().any(|text| text == unconfined) {
        options.push(unconfined.to_owned());
    }
    Ok(options)
}

fn ulimit(limit: &docker::Ulimit) -> Ulimit {
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    Ulimit { name: limit.name.clone(), soft: number(limit.soft), hard: number(limit.hard) }
}

fn address(text: &str) -> Result<std::net::IpAddr> {
    text.trim().parse().map_err(|_| Error::bad_argument(format!("{text} is not an ip address")))
}

fn log_config(asked: &docker::LogConfig) -> Result<LogConfig> {
    let driver = match asked.kind.as_str() {
        "" | "json-file" | "local" => "json-file",
        "none" => "none",
        other => {
            return Err(Error::bad_argument(format!(
                "logger: no log driver named '{other}' is registered: use json-file or none"
            )));
        }
    };
    Ok(LogConfig { driver: driver.to_owned(), options: asked.config.clone().unwrap_or_default() })
}

fn device(asked: &docker::DeviceMapping) -> Result<Device> {
    let source = &asked.path_on_host;
    if !source.starts_with('/') {
        return Err(Error::bad_argument(format!("{source} is not an absolute path")));
    }
    let or = |text: &str, usual: &str| if text.is_empty() { usual } else { text }.to_owned();
    let permissions = or(&asked.cgroup_permissions, "rwm");
    if !permissions.bytes().all(|byte| b"rwm".contains(&byte)) {
        return Err(Error::bad_argument(format!(
            "invalid device specification: {source}: invalid device mode: {permissions}"
        )));
    }
    Ok(Device { source: PathBuf::from(source), target: or(&asked.path_in_container, source), permissions })
}
