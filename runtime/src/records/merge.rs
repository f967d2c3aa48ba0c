//! Container + image → what is stored; what is stored → what the kernel is to see. Pure.
//!
//! Called by `create` ([`resolve`]) and by `start` ([`process`] and its kin). The rules are
//! docker's; each has a test below.

use std::collections::BTreeMap;

use skep_common::{human, limits};
use skep_image::ImageConfig;
use skep_net::{PortMapping, PortProtocol};

use crate::error::{Error, Result};
use crate::kernel::{self, Mount, MountKind, Process, Propagation, Resources, Rlimit, Seccomp, User};
use crate::records::config::{ContainerConfig, HealthCheck, Limits, MountPoint, MountType, ResolvedConfig};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Beginning of the labels by which the agent knows its tasks.
const RESERVED_LABELS: &str = "com.docker.swarm.";
const CPU_PERIOD: u64 = 100_000;

/// Joins what the user asked for with what the image brings.
///
/// # Errors
/// [`Error::NoCommand`], [`Error::InvalidSignal`], [`Error::InvalidConfig`].
pub(crate) fn resolve(config: &ContainerConfig, image: &ImageConfig) -> Result<ResolvedConfig> {
    let (entrypoint, cmd) = command(config, image);
    if entrypoint.is_empty() && cmd.is_empty() {
        return Err(Error::NoCommand);
    }
    let stop_signal = config.stop_signal.clone().or_else(|| image.stop_signal.clone());
    let stop_signal = stop_signal.unwrap_or_else(|| "SIGTERM".to_owned());
    crate::kernel::signal::parse(&stop_signal)?;
    let mut labels = image.labels.clone();
    // An image does not say whose task a container is.
    labels.retain(|name, _| !name.starts_with(RESERVED_LABELS));
    labels.extend(config.labels.clone());
    let mut exposed_ports = image.exposed_ports.clone();
    exposed_ports.extend(config.exposed_ports.iter().cloned());
    exposed_ports.extend(config.ports.iter().map(|port| format!("{}/{}", port.container_port, port.protocol)));
    exposed_ports.sort();
    exposed_ports.dedup();
    let mut ports = config.ports.clone();
    if config.publish_all {
        publish_exposed(&mut ports, &exposed_ports);
    }
    Ok(ResolvedConfig {
        entrypoint,
        cmd,
        env: merge_environment(&config.env, &image.env),
        working_dir: first_filled(config.working_dir.as_deref(), &image.working_dir).unwrap_or("/").to_owned(),
        user: first_filled(config.user.as_deref(), &image.user).unwrap_or_default().to_owned(),
        labels,
        exposed_ports,
        stop_signal,
        stop_timeout: config.stop_timeout.or(image.stop_timeout_seconds).unwrap_or(10),
        health: health(config.health.as_ref(), image)?,
        ports,
    })
}

/// An entrypoint given by the user switches the image's arguments off, too.
fn command(config: &ContainerConfig, image: &ImageConfig) -> (Vec<String>, Vec<String>) {
    match &config.entrypoint {
        Some(entrypoint) => {
            let entrypoint = if entrypoint.concat().is_empty() { Vec::new() } else { entrypoint.clone() };
            (entrypoint, config.cmd.clone())
        }
        None if config.cmd.is_empty() => (image.entrypoint.clone(), image.cmd.clone()),
        None => (image.entrypoint.clone(), config.cmd.clone()),
    }
}

fn first_filled<'a>(first: Option<&'a str>, second: &'a str) -> Option<&'a str> {
    first.filter(|text| !text.is_empty()).or((!second.is_empty()).then_some(second))
}

fn variable_name(variable: &str) -> &str {
    variable.split('=').next().unwrap_or(variable)
}

/// The user's variables, then the image's of other names. A name without value removes.
fn merge_environment(user: &[String], image: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = Vec::with_capacity(user.len() + image.len());
    for (index, variable) in user.iter().enumerate() {
        let name = variable_name(variable);
        let overridden = user[index + 1..].iter().any(|later| variable_name(later) == name);
        if !overridden && variable.contains('=') {
            merged.push(variable.clone());
        }
    }
    for variable in image {
        if !user.iter().any(|other| variable_name(other) == variable_name(variable)) {
            merged.push(variable.clone());
        }
    }
    merged
}

fn publish_exposed(ports: &mut Vec<PortMapping>, exposed: &[String]) {
    for text in exposed {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "udp" => PortProtocol::Udp,
            "sctp" => PortProtocol::Sctp,
            _ => PortProtocol::Tcp,
        };
        let Ok(container_port) = port.parse() else { continue };
        let published = |other: &PortMapping| other.container_port == container_port && other.protocol == protocol;
        if !ports.iter().any(published) {
            ports.push(PortMapping { host_ip: None, host_port: None, container_port, protocol });
        }
    }
}

fn health(user: Option<&HealthCheck>, image: &ImageConfig) -> Result<Option<HealthCheck>> {
    let from_image = image.healthcheck.clone();
    let mut check = match (user, from_image) {
        (Some(user), from_image) => {
            let base = from_image.unwrap_or_default();
            let pick = |own: i64, other: i64| if own == 0 { other } else { own };
            HealthCheck {
                test: if user.test.is_empty() { base.test } else { user.test.clone() },
                interval_ns: pick(user.interval_ns, base.interval_ns),
                timeout_ns: pick(user.timeout_ns, base.timeout_ns),
                start_period_ns: pick(user.start_period_ns, base.start_period_ns),
                start_interval_ns: pick(user.start_interval_ns, base.start_interval_ns),
                retries: pick(user.retries, base.retries),
            }
        }
        (None, Some(from_image)) => from_image,
        (None, None) => return Ok(None),
    };
    match check.test.first().map(String::as_str) {
        None | Some("NONE") => return Ok(None),
        Some("CMD" | "CMD-SHELL") if check.test.len() > 1 => {}
        Some(other) => {
            return Err(Error::InvalidConfig(format!(
                "Unknown healthcheck type {other:?} (expected CMD or CMD-SHELL with a command)"
            )));
        }
    }
    let (second, minimum) = (1_000_000_000, 1_000_000);
    let names =
        [("Interval", check.interval_ns), ("Timeout", check.timeout_ns), ("StartPeriod", check.start_period_ns)];
    if let Some((name, _)) = names.iter().find(|(_, value)| *value != 0 && *value < minimum) {
        return Err(Error::InvalidConfig(format!("{name} in Healthcheck cannot be less than 1ms")));
    }
    let or_default = |value: i64, default: i64| if value == 0 { default } else { value };
    check.interval_ns = or_default(check.interval_ns, 30 * second);
    check.timeout_ns = or_default(check.timeout_ns, 30 * second);
    check.start_interval_ns = or_default(check.start_interval_ns, 5 * second);
    check.retries = or_default(check.retries, 3);
    Ok(Some(check))
}

/// The container's first process.
///
/// # Errors
/// A capability or security option is unknown.
pub(crate) fn process(config: &ContainerConfig, resolved: &ResolvedConfig, hostname: &str) -> Result<Process> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    env.retain(|default| !resolved.env.iter().any(|other| variable_name(other) == variable_name(default)));
    env.extend(resolved.env.iter().cloned());
    Ok(Process {
        args: resolved.entrypoint.iter().chain(&resolved.cmd).cloned().collect(),
        env,
        cwd: resolved.working_dir.clone(),
        user: User { spec: resolved.user.clone(), additional_groups: config.group_add.clone() },
        capabilities: capabilities(&config.cap_add, &config.cap_drop)?,
        no_new_privileges: security(config)?.no_new_privileges,
        terminal: config.tty,
        terminal_size: config.terminal_size,
        rlimits: config
            .ulimits
            .iter()
            .map(|limit| Rlimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
            .collect(),
        oom_score_adj: config.oom_score_adj,
        umask: None,
    })
}

/// Docker's default set, with `add` and without `drop`; `ALL` in either is every one there is.
///
/// # Errors
/// A name is unknown.
fn capabilities(add: &[String], drop: &[String]) -> Result<Vec<String>> {
    let mut every: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    every.sort();
    let normal = |field: &str, name: &String| {
        let upper = name.to_ascii_uppercase();
        let full = if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if full == "ALL" || every.contains(&full) {
            Ok(full)
        } else {
            Err(Error::InvalidConfig(format!("invalid {field}: unknown capability: {full:?}")))
        }
    };
    let add = add.iter().map(|name| normal("CapAdd", name)).collect::<Result<Vec<_>>>()?;
    let drop = drop.iter().map(|name| normal("CapDrop", name)).collect::<Result<Vec<_>>>()?;
    let all = "ALL".to_owned();
    let mut chosen = match (add.contains(&all), drop.contains(&all)) {
        (true, _) => every.clone(),
        (false, true) => Vec::new(),
        (false, false) => kernel::default_capabilities(),
    };
    chosen.retain(|name| !drop.contains(name));
    for name in add.into_iter().filter(|name| *name != all) {
        if !chosen.contains(&name) {
            chosen.push(name);
        }
    }
    Ok(chosen)
}

/// What `--security-opt` says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Security {
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Seccomp,
    pub(crate) system_paths_unconfined: bool,
}

/// Reads `--security-opt`.
///
/// # Errors
/// An option is unknown, or its value is not what it has to be.
pub(crate) fn security(config: &ContainerConfig) -> Result<Security> {
    let mut security = Security::default();
    for option in &config.security_opt {
        let invalid = || Error::InvalidConfig(format!("invalid --security-opt: {option:?}"));
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (name, value) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin") => security.seccomp = Seccomp::Default,
            ("seccomp", profile) => {
                let profile = serde_json::from_str(profile)
                    .map_err(|error| Error::InvalidConfig(format!("Decoding seccomp profile failed: {error}")))?;
                security.seccomp = Seccomp::Profile(profile);
            }
            ("systempaths", "unconfined") => security.system_paths_unconfined = true,
            ("apparmor", "unconfined" | "docker-default") | ("label", "disable") => {}
            _ => return Err(invalid()),
        }
    }
    Ok(security)
}

/// Limits as the kernel takes them.
///
/// # Errors
/// A value is out of its range, or two contradict each other.
pub(crate) fn resources(wanted: &Limits, device_rules: &[String], cpus: usize) -> Result<Resources> {
    let invalid = |message: String| Err(Error::InvalidConfig(message));
    let refused = |error: limits::LimitError| Error::InvalidConfig(error.to_string());
    let memory = wanted.memory.filter(|bytes| *bytes != 0);
    let memory_swap = wanted.memory_swap.filter(|bytes| *bytes != 0);
    limits::check_memory(memory).map_err(refused)?;
    limits::check_reservation(memory, wanted.memory_reservation).map_err(refused)?;
    limits::check_swap(memory, memory_swap).map_err(refused)?;
    let memory_swap = memory_swap.or(memory.map(|memory| memory.saturating_mul(2)));
    let (mut cpu_quota, mut cpu_period) = (wanted.cpu_quota, wanted.cpu_period);
    if let Some(nano) = wanted.nano_cpus.filter(|nano| *nano != 0) {
        if cpu_quota.is_some() || cpu_period.is_some() {
            return invalid("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set".to_owned());
        }
        limits::check_cpus(Some(nano), cpus).map_err(refused)?;
        cpu_period = Some(CPU_PERIOD);
        cpu_quota = Some(nano * CPU_PERIOD as i64 / limits::NANO_CPUS_PER_CPU);
    }
    Ok(Resources {
        memory,
        memory_reservation: wanted.memory_reservation.filter(|bytes| *bytes != 0),
        memory_swap,
        cpu_quota,
        cpu_period,
        cpu_shares: wanted.cpu_shares.filter(|shares| *shares != 0),
        cpuset_cpus: wanted.cpuset_cpus.clone().filter(|cpus| !cpus.is_empty()),
        cpuset_mems: wanted.cpuset_mems.clone().filter(|nodes| !nodes.is_empty()),
        pids: wanted.pids.filter(|pids| *pids != 0),
        blkio_weight: wanted.blkio_weight.filter(|weight| *weight != 0),
        oom_kill_disable: wanted.oom_kill_disable,
        device_rules: device_rules.to_vec(),
    })
}

/// Mounts as the kernel takes them; volumes are bound from where `volume_data` says.
///
/// # Errors
/// A propagation is unknown.
pub(crate) fn mounts(points: &[MountPoint], volume_data: impl Fn(&str) -> std::path::PathBuf) -> Result<Vec<Mount>> {
    let kind = |point: &MountPoint| -> Result<MountKind> {
        Ok(match &point.kind {
            MountType::Bind { source, propagation, non_recursive, .. } => MountKind::Bind {
                source: source.clone(),
                propagation: parse_propagation(propagation)?,
                recursive: !non_recursive,
                nosuid: false,
                noexec: false,
            },
            MountType::Volume { name, .. } => MountKind::Bind {
                source: volume_data(name),
                propagation: Propagation::Rprivate,
                recursive: true,
                nosuid: false,
                noexec: false,
            },
            MountType::Tmpfs { options } => {
                let separator = if options.is_empty() { "" } else { "," };
                MountKind::Tmpfs { options: format!("noexec,nosuid,nodev{separator}{options}") }
            }
        })
    };
    points
        .iter()
        .map(|point| Ok(Mount { target: point.target.clone(), read_only: point.read_only, kind: kind(point)? }))
        .collect()
}

fn parse_propagation(text: &str) -> Result<Propagation> {
    Ok(match text {
        "" | "rprivate" => Propagation::Rprivate,
        "private" => Propagation::Private,
        "slave" => Propagation::Slave,
        "rslave" => Propagation::Rslave,
        "shared" => Propagation::Shared,
        "rshared" => Propagation::Rshared,
        other => return Err(Error::InvalidConfig(format!("invalid propagation mode {other:?}"))),
    })
}

/// `max-size` and `max-file` of the log.
///
/// # Errors
/// The driver is unknown, or a value is not a number.
pub(crate) fn log_limits(driver: &str, options: &BTreeMap<String, String>) -> Result<(Option<u64>, u32)> {
    if !matches!(driver, "" | "json-file" | "local" | "none") {
        return Err(Error::InvalidConfig(format!(
            "logger: no log driver named '{driver}' is registered (json-file and none are)"
        )));
    }
    let mut limits = (None, 1);
    for (name, value) in options {
        let invalid = || Error::InvalidConfig(format!("invalid log option {name}={value}"));
        match name.as_str() {
            "max-size" if value == "-1" => {}
            "max-size" => limits.0 = Some(parse_size(value).filter(|size| *size > 0).ok_or_else(invalid)?),
            "max-file" => limits.1 = value.parse().ok().filter(|count| *count > 0).ok_or_else(invalid)?,
            "labels" | "labels-regex" | "env" | "env-regex" | "tag" | "compress" | "mode" | "max-buffer-size" => {}
            _ => {
                return Err(Error::InvalidConfig(format!("unknown log opt '{name}' for json-file log driver")));
            }
        }
    }
    Ok(limits)
}

fn parse_size(text: &str) -> Option<u64> {
    u64::try_from(human::parse_binary_size(text).ok()?).ok()
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
