//! From the flags of `run` and `create` to what the runtime is asked for.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use skep_engine::mount;
use skep_net::PortMapping;
use skep_runtime::Runtime;
use skep_runtime::config::{
    ContainerConfig, EndpointConfig, HealthCheck, Limits, LogConfig, MountSpec, NetworkMode, RestartPolicy, Ulimit,
};
use skep_runtime::kernel::Device;

use crate::args::container::ContainerFlags;
use crate::parse::health::HealthSpec;
use crate::parse::mount as mount_text;
use crate::parse::network::NetworkSpec;
use crate::parse::options::{self, Restart};
use crate::parse::port::{self, PortSpec};
use crate::parse::{env, size};

fn said<T>(result: Result<T, String>) -> Result<T> {
    result.map_err(|error| anyhow!(error))
}

/// What a user's flags ask for; nothing is touched yet. Networks are resolved later, by [`super::overlay`].
pub fn from_flags(runtime: &Runtime, flags: &ContainerFlags, words: &[String]) -> Result<ContainerConfig> {
    let (image, cmd) = words.split_first().ok_or_else(|| anyhow!("no image given"))?;
    let restart = said(options::restart(flags.restart.as_deref().unwrap_or_default()))?;
    if flags.rm && restart != Restart::No {
        bail!("conflicting options: cannot specify both --restart and --rm");
    }
    let name = flags.name.as_deref().filter(|name| !name.is_empty()).map(options::container_name).transpose();
    let mut config = ContainerConfig {
        image: image.clone(),
        name: said(name)?,
        cmd: cmd.to_vec(),
        entrypoint: flags.entrypoint.as_ref().map(|program| match program.is_empty() {
            true => Vec::new(),
            false => vec![program.clone()],
        }),
        env: said(env::merged(&flags.env_file, &flags.env))?,
        working_dir: flags.workdir.clone(),
        user: flags.user.clone(),
        hostname: flags.hostname.clone(),
        domainname: flags.domainname.clone(),
        tty: flags.tty,
        stdin_open: flags.interactive,
        labels: said(env::labels(&flags.label_file, &flags.label))?,
        mounts: said(mounts(flags))?,
        volumes_from: flags.volumes_from.clone(),
        ports: ports(runtime, &flags.publish)?,
        publish_all: flags.publish_all,
        exposed_ports: exposed(&flags.expose)?,
        restart: restart_policy(restart),
        auto_remove: flags.rm,
        limits: limits(flags)?,
        cap_add: flags.cap_add.clone(),
        cap_drop: flags.cap_drop.clone(),
        privileged: flags.privileged,
        read_only: flags.read_only,
        security_opt: security_options(&flags.security_opt)?,
        health: said(flags.health.spec())?.map(health_check),
        stop_signal: flags.stop_signal.clone(),
        stop_timeout: flags.stop_timeout,
        ulimits: flags.ulimit.iter().map(ulimit).collect(),
        sysctls: env::pairs(&flags.sysctl),
        extra_hosts: flags.add_host.iter().map(|(name, address)| format!("{name}:{address}")).collect(),
        dns: flags.dns.clone(),
        dns_search: flags.dns_search.clone(),
        dns_options: flags.dns_option.clone(),
        log: log_config(flags.log_driver.as_deref(), &flags.log_opt)?,
        oom_score_adj: flags.oom_score_adj,
        shm_size: flags.shm_size.map(i64::unsigned_abs),
        group_add: flags.group_add.clone(),
        devices: flags.device.iter().map(|device| self::device(device)).collect::<Result<_>>()?,
        device_rules: flags.device_cgroup_rule.clone(),
        pid_mode: flags.pid.clone().unwrap_or_default(),
        ipc_mode: flags.ipc.clone().unwrap_or_default(),
        uts_mode: flags.uts.clone().unwrap_or_default(),
        cgroupns_mode: flags.cgroupns.clone().unwrap_or_default(),
        annotations: env::pairs(&flags.annotation),
        ..ContainerConfig::default()
    };
    (config.network, config.endpoints) = networks(flags)?;
    if config.network != NetworkMode::Endpoints && !config.ports.is_empty() {
        eprintln!("WARNING: Published ports are discarded when using {} network mode", mode_name(&config.network));
        config.ports.clear();
    }
    Ok(config)
}

fn mode_name(mode: &NetworkMode) -> &str {
    match mode {
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
        NetworkMode::Container(_) => "container",
        NetworkMode::Endpoints => "bridge",
    }
}

/// The policy as the runtime has it.
pub fn restart_policy(restart: Restart) -> RestartPolicy {
    match restart {
        Restart::No => RestartPolicy::No,
        Restart::OnFailure(count) => RestartPolicy::OnFailure(count),
        Restart::Always => RestartPolicy::Always,
        Restart::UnlessStopped => RestartPolicy::UnlessStopped,
    }
}

fn limits(flags: &ContainerFlags) -> Result<Limits> {
    said(size::check_memory(flags.memory))?;
    said(size::check_reservation(flags.memory, flags.memory_reservation))?;
    said(size::check_set(flags.cpuset_cpus.as_deref(), &size::online("cpu"), "CPUs", "cpuset cpus"))?;
    said(size::check_set(flags.cpuset_mems.as_deref(), &size::online("node"), "memory nodes", "cpuset mems"))?;
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    said(size::check_cpus(flags.cpus, available))?;
    if flags.cpus.is_some() && (flags.cpu_quota.is_some() || flags.cpu_period.is_some()) {
        bail!("Conflicting options: Nano CPUs and CPU Period cannot both be set.");
    }
    if let (Some(swap), memory) = (flags.memory_swap.filter(|swap| *swap > 0), flags.memory.unwrap_or(0)) {
        if memory == 0 {
            bail!("You should always set the Memory limit when using Memoryswap limit, see usage");
        }
        if swap < memory {
            bail!("Minimum memoryswap limit should be larger than memory limit, see usage");
        }
    }
    let nonzero = |value: Option<i64>| value.filter(|value| *value != 0);
    Ok(Limits {
        memory: nonzero(flags.memory),
        memory_reservation: nonzero(flags.memory_reservation),
        memory_swap: nonzero(flags.memory_swap),
        nano_cpus: nonzero(flags.cpus),
        cpu_quota: nonzero(flags.cpu_quota),
        cpu_period: flags.cpu_period.filter(|period| *period != 0),
        cpu_shares: flags.cpu_shares.filter(|shares| *shares != 0),
        cpuset_cpus: flags.cpuset_cpus.clone(),
        cpuset_mems: flags.cpuset_mems.clone(),
        pids: nonzero(flags.pids_limit),
        blkio_weight: flags.blkio_weight.filter(|weight| *weight != 0),
        oom_kill_disable: flags.oom_kill_disable,
    })
}

fn mounts(flags: &ContainerFlags) -> Result<Vec<MountSpec>, String> {
    let volumes = flags.volume.iter().map(|text| mount_text::short(text)).collect::<Result<Vec<_>, _>>()?;
    let all = volumes.iter().chain(&flags.mount).chain(&flags.tmpfs);
    let mut targets = Vec::new();
    let mut specs = Vec::new();
    for spec in all {
        let target = mount::normalised(&spec.target);
        if targets.contains(&target) {
            return Err(format!("Duplicate mount point: {target}"));
        }
        targets.push(target);
        specs.push(mount::to_runtime(spec)?);
    }
    Ok(specs)
}

fn ports(runtime: &Runtime, published: &[String]) -> Result<Vec<PortMapping>> {
    let mut specs: Vec<PortSpec> = Vec::new();
    for text in published {
        specs.extend(said(port::published(text))?);
    }
    let taken = match specs.iter().any(|spec| spec.host.is_some_and(|(first, last)| first != last)) {
        true => runtime.net().sandboxes()?,
        false => Vec::new(),
    };
    let mappings = specs.iter().map(|spec| {
        spec.mapping(|address, number, protocol| {
            !taken.iter().flat_map(|sandbox| &sandbox.ports).any(|bound| {
                bound.host_port == number
                    && bound.protocol == protocol
                    && address.is_none_or(|address| bound.host_ip.is_unspecified() || bound.host_ip == address)
            })
        })
    });
    Ok(mappings.collect())
}

fn exposed(expose: &[String]) -> Result<Vec<String>> {
    let mut ports = Vec::new();
    for text in expose {
        ports.extend(said(port::exposed(text))?.into_iter().map(|(number, protocol)| format!("{number}/{protocol}")));
    }
    Ok(ports)
}

/// A seccomp profile is given as a file and handed on as its content.
fn security_options(given: &[String]) -> Result<Vec<String>> {
    let read = |text: &String| {
        let (key, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
            Some(parts) => parts,
            None if text == "no-new-privileges" => return Ok(text.clone()),
            None => bail!("invalid --security-opt: {text:?}"),
        };
        match (key, value) {
            ("seccomp", "unconfined" | "builtin") => Ok(format!("seccomp={value}")),
            ("seccomp", file) => {
                let profile = std::fs::read_to_string(file)
                    .with_context(|| format!("opening seccomp profile ({file}) failed"))?;
                serde_json::from_str::<serde_json::Value>(&profile)
                    .with_context(|| format!("compacting json for seccomp profile ({file}) failed"))?;
                Ok(format!("seccomp={profile}"))
            }
            ("apparmor" | "label" | "no-new-privileges" | "systempaths" | "writable-cgroups", _) => {
                Ok(format!("{key}={value}"))
            }
            _ => bail!("invalid --security-opt 2: {text:?}"),
        }
    };
    given.iter().map(read).collect()
}

/// A health check as the runtime has it.
pub fn health_check(spec: HealthSpec) -> HealthCheck {
    HealthCheck {
        test: spec.test,
        interval_ns: spec.interval_ns,
        timeout_ns: spec.timeout_ns,
        start_period_ns: spec.start_period_ns,
        start_interval_ns: spec.start_interval_ns,
        retries: spec.retries,
    }
}

fn ulimit(limit: &options::Ulimit) -> Ulimit {
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    Ulimit { name: limit.name.clone(), soft: number(limit.soft), hard: number(limit.hard) }
}

fn log_config(driver: Option<&str>, log_options: &[String]) -> Result<LogConfig> {
    match driver.unwrap_or("json-file") {
        driver @ ("" | "json-file" | "local" | "none") => Ok(LogConfig {
            driver: if driver == "none" { "none" } else { "json-file" }.to_owned(),
            options: env::pairs(log_options),
        }),
        other => bail!("logger: no log driver named '{other}' is registered: use json-file or none"),
    }
}

fn device(text: &str) -> Result<Device> {
    let parts: Vec<&str> = text.split(':').collect();
    let permissions = |text: &str| !text.is_empty() && text.bytes().all(|byte| b"rwm".contains(&byte));
    let (source, target, access) = match *parts.as_slice() {
        [source] => (source, source, "rwm"),
        [source, access] if permissions(access) => (source, source, access),
        [source, target] => (source, target, "rwm"),
        [source, target, access] if permissions(access) => (source, target, access),
        [_, _, access] => bail!("invalid device specification: {text}: invalid device mode: {access}"),
        _ => bail!("invalid device specification: {text}"),
    };
    if !source.starts_with('/') {
        bail!("{source} is not an absolute path");
    }
    Ok(Device { source: PathBuf::from(source), target: target.to_owned(), permissions: access.to_owned() })
}

fn networks(flags: &ContainerFlags) -> Result<(NetworkMode, Vec<EndpointConfig>)> {
    let mode = |spec: &NetworkSpec| match spec.name.as_str() {
        "host" => Some(NetworkMode::Host),
        "none" => Some(NetworkMode::None),
        name => name.strip_prefix("container:").map(|other| NetworkMode::Container(other.to_owned())),
    };
    match flags.network.as_slice() {
        [one] if mode(one).is_some() => {
            if !flags.network_alias.is_empty() {
                bail!("network-scoped alias is supported only for containers in user defined networks");
            }
            return Ok((mode(one).unwrap_or_default(), Vec::new()));
        }
        all if all.iter().any(|spec| mode(spec).is_some()) => {
            bail!("conflicting options: cannot attach both user-defined and non-user-defined network-modes");
        }
        _ => {}
    }
    let mut endpoints: Vec<EndpointConfig> = flags
        .network
        .iter()
        .map(|spec| EndpointConfig {
            network: if spec.name == "default" { "bridge".to_owned() } else { spec.name.clone() },
            address: spec.address,
            mac: spec.mac_address.clone(),
            aliases: spec.aliases.clone(),
            gateway_priority: spec.gateway_priority,
            ..EndpointConfig::default()
        })
        .collect();
    let general = flags.ip.is_some() || flags.mac_address.is_some() || !flags.network_alias.is_empty();
    if endpoints.is_empty() && general {
        endpoints.push(EndpointConfig { network: "bridge".to_owned(), ..EndpointConfig::default() });
    }
    if let Some(first) = endpoints.first_mut().filter(|_| general) {
        if first.network == "bridge" && !flags.network_alias.is_empty() {
            bail!("network-scoped alias is supported only for containers in user defined networks");
        }
        if first.network == "bridge" && flags.ip.is_some() {
            bail!(
                "invalid config for network bridge: user specified IP address is supported on user defined networks only"
            );
        }
        first.address = first.address.or(flags.ip);
        first.mac = first.mac.take().or_else(|| flags.mac_address.clone());
        first.aliases.extend(flags.network_alias.iter().cloned());
    }
    Ok((NetworkMode::Endpoints, endpoints))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_devices() {
        let found = device("/dev/fuse:/dev/x:r").unwrap();
        assert_eq!((found.target.as_str(), found.permissions.as_str()), ("/dev/x", "r"));
        assert_eq!(device("/dev/fuse:rw").unwrap().target, "/dev/fuse");
        assert!(device("fuse").is_err());
        assert!(device("/dev/fuse:/dev/x:q").is_err());
    }

    #[test]
    fn reads_security_options() {
        assert_eq!(security_options(&["no-new-privileges".to_owned()]).unwrap(), ["no-new-privileges"]);
        let error = security_options(&["seccomp=/nowhere.json".to_owned()]).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere.json"));
        assert!(security_options(&["foo".to_owned()]).is_err());
    }
}
