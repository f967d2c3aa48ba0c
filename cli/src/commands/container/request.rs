//! From the flags of `run` and `create` to docker's request.

use anyhow::{Context, Result, anyhow, bail};
use skep_common::HealthCheck;
use skep_common::mount_point::normalised;
use skep_engine::containers::CreateContainer;
use skep_engine::containers::mounts::to_docker;
use skep_engine::docker::create::{
    Config, CreateRequest, DeviceMapping, EndpointAddresses, EndpointSettings, HealthConfig, HostConfig, LogConfig,
    NetworkingConfig, PortBinding, Resources,
};
use skep_engine::docker::mount::Mount;
use skep_engine::docker::{Empty, Named};
use skep_runtime::Attach;

use crate::args::container::{ContainerFlags, CpuFlags, MemoryFlags};
use crate::parse::network::NetworkSpec;
use crate::parse::{env, mount, options, port};

fn said<T>(result: Result<T, String>) -> Result<T> {
    result.map_err(|error| anyhow!(error))
}

/// What a user's flags ask for. The terminal that the container begins with has this many rows and columns.
pub(crate) fn from_flags(
    flags: &ContainerFlags,
    words: &[String],
    streams: Attach,
    terminal: Option<(u16, u16)>,
) -> Result<CreateContainer> {
    let (image, cmd) = words.split_first().ok_or_else(|| anyhow!("no image given"))?;
    let restart = said(options::restart(flags.restart.as_deref().unwrap_or_default()))?;
    if flags.rm && restart.name != "no" {
        bail!("conflicting options: cannot specify both --restart and --rm");
    }
    let name = flags.name.as_deref().filter(|name| !name.is_empty()).map(options::container_name).transpose();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (network_mode, endpoints) = networks(flags)?;
    let config = Config {
        hostname: text(&flags.hostname),
        domainname: text(&flags.domainname),
        user: text(&flags.user),
        attach_stdin: streams.stdin,
        attach_stdout: streams.stdout,
        attach_stderr: streams.stderr,
        exposed_ports: Some(exposed(&flags.expose)?),
        tty: flags.tty,
        open_stdin: flags.interactive,
        stdin_once: flags.interactive && streams.stdin,
        env: Some(said(env::merged(&flags.environment.env_file, &flags.environment.env))?),
        cmd: Some(cmd.to_vec()),
        healthcheck: said(flags.health.spec())?.map(health_config),
        image: image.clone(),
        working_dir: text(&flags.workdir),
        entrypoint: flags.entrypoint.as_ref().map(|program| match program.is_empty() {
            true => Vec::new(),
            false => vec![program.clone()],
        }),
        labels: Some(said(env::labels(&flags.label_file, &flags.label))?),
        stop_signal: flags.stop_signal.clone(),
        stop_timeout: flags.stop_timeout,
        ..Config::default()
    };
    let body = CreateRequest {
        config,
        host_config: Some(HostConfig {
            restart_policy: restart,
            network_mode,
            console_size: flags.tty.then_some(terminal).flatten().map(|(rows, columns)| [rows, columns]),
            ..host_config(flags)?
        }),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(endpoints) }),
        ..CreateRequest::default()
    };
    Ok(CreateContainer { name: said(name)?, platform: flags.platform.clone(), body })
}

fn host_config(flags: &ContainerFlags) -> Result<HostConfig> {
    let (mounts, tmpfs) = said(mounts(flags))?;
    let some = |list: &[String]| Some(Some(list.to_vec()));
    Ok(HostConfig {
        log_config: LogConfig {
            kind: flags.log_driver.clone().unwrap_or_default(),
            config: Some(env::pairs(&flags.log_opt)),
        },
        port_bindings: Some(published(&flags.publish)?),
        auto_remove: flags.rm,
        volumes_from: some(&flags.volumes_from),
        cap_add: some(&flags.cap_add),
        cap_drop: some(&flags.cap_drop),
        cgroupns_mode: flags.cgroupns.clone().unwrap_or_default(),
        dns: Some(Some(flags.dns.iter().map(ToString::to_string).collect())),
        dns_options: some(&flags.dns_option),
        dns_search: some(&flags.dns_search),
        extra_hosts: Some(Some(flags.add_host.iter().map(|(name, address)| format!("{name}:{address}")).collect())),
        group_add: some(&flags.group_add),
        ipc_mode: flags.ipc.clone().unwrap_or_default(),
        oom_score_adj: flags.oom_score_adj,
        pid_mode: flags.pid.clone().unwrap_or_default(),
        privileged: flags.privileged,
        publish_all_ports: flags.publish_all,
        readonly_rootfs: flags.read_only,
        security_opt: Some(Some(security_options(&flags.security_opt)?)),
        tmpfs: Some(tmpfs),
        uts_mode: flags.uts.clone().unwrap_or_default(),
        shm_size: flags.shm_size,
        sysctls: Some(env::pairs(&flags.sysctl)),
        resources: resources(flags)?,
        mounts: Some(mounts),
        annotations: Some(env::pairs(&flags.annotation)),
        ..HostConfig::default()
    })
}

fn resources(flags: &ContainerFlags) -> Result<Resources> {
    Ok(Resources {
        blkio_weight: flags.blkio_weight,
        devices: Some(Some(flags.device.iter().map(|text| device(text)).collect::<Result<_>>()?)),
        device_cgroup_rules: Some(Some(flags.device_cgroup_rule.clone())),
        oom_kill_disable: Some(Some(flags.oom_kill_disable)),
        pids_limit: Some(flags.pids_limit),
        ulimits: Some(Some(flags.ulimit.clone())),
        ..limits(&flags.processors, &flags.memory)
    })
}

/// What is asked of processors and memory.
pub(crate) fn limits(processors: &CpuFlags, memory: &MemoryFlags) -> Resources {
    let signed = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    Resources {
        cpu_shares: signed(processors.cpu_shares),
        memory: memory.memory,
        nano_cpus: processors.cpus,
        cpu_period: signed(processors.cpu_period),
        cpu_quota: processors.cpu_quota,
        cpuset_cpus: processors.cpuset_cpus.clone(),
        cpuset_mems: processors.cpuset_mems.clone(),
        memory_reservation: memory.memory_reservation,
        memory_swap: memory.memory_swap,
        ..Resources::default()
    }
}

fn mounts(flags: &ContainerFlags) -> Result<(Vec<Mount>, Named<String>), String> {
    let volumes = flags.volume.iter().map(|text| mount::short(text)).collect::<Result<Vec<_>, _>>()?;
    let mut tmpfs = Named::default();
    for spec in &flags.tmpfs {
        if tmpfs.get(&spec.target).is_some() {
            return Err(format!("Duplicate mount point: {}", normalised(&spec.target)));
        }
        tmpfs.set(&spec.target, spec.tmpfs_options.clone());
    }
    Ok((volumes.iter().chain(&flags.mount).map(to_docker).collect(), tmpfs))
}

fn published(publish: &[String]) -> Result<Named<Option<Vec<PortBinding>>>> {
    let mut bindings = Named::<Option<Vec<PortBinding>>>::default();
    for text in publish {
        for port in said(port::published(text))? {
            let key = format!("{}/{}", port.container, port.protocol);
            bindings.entry(&key).get_or_insert_default().push(PortBinding {
                host_ip: port.host_ip.map(|address| address.to_string()).unwrap_or_default(),
                host_port: match port.host {
                    None => String::new(),
                    Some((first, last)) if first == last => first.to_string(),
                    Some((first, last)) => format!("{first}-{last}"),
                },
            });
        }
    }
    Ok(bindings)
}

fn exposed(expose: &[String]) -> Result<Named<Empty>> {
    let mut ports = Named::default();
    for text in expose {
        for (number, protocol) in said(port::exposed(text))? {
            ports.set(&format!("{number}/{protocol}"), Empty {});
        }
    }
    Ok(ports)
}

/// A seccomp profile is given as a file and handed on as its content; what else is asked for, the engine knows.
fn security_options(given: &[String]) -> Result<Vec<String>> {
    let read = |text: &String| match text.split_once('=').or_else(|| text.split_once(':')) {
        Some(("seccomp", "unconfined" | "builtin")) | None => Ok(text.clone()),
        Some(("seccomp", file)) => {
            let profile =
                std::fs::read_to_string(file).with_context(|| format!("opening seccomp profile ({file}) failed"))?;
            serde_json::from_str::<serde_json::Value>(&profile)
                .with_context(|| format!("compacting json for seccomp profile ({file}) failed"))?;
            Ok(format!("seccomp={profile}"))
        }
        Some(_) => Ok(text.clone()),
    };
    given.iter().map(read).collect()
}

/// A health check as docker's request has it.
pub(crate) fn health_config(spec: HealthCheck) -> HealthConfig {
    HealthConfig {
        test: Some(spec.test),
        interval: Some(spec.interval_ns),
        timeout: Some(spec.timeout_ns),
        start_period: Some(spec.start_period_ns),
        start_interval: Some(spec.start_interval_ns),
        retries: Some(spec.retries),
    }
}

fn device(text: &str) -> Result<DeviceMapping> {
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
    Ok(DeviceMapping {
        path_on_host: source.to_owned(),
        path_in_container: target.to_owned(),
        cgroup_permissions: access.to_owned(),
    })
}

/// The mode, and the networks. `--ip`, `--mac-address` and `--network-alias` are about the first one.
fn networks(flags: &ContainerFlags) -> Result<(String, Named<EndpointSettings>)> {
    let is_alone =
        |spec: &NetworkSpec| matches!(spec.name.as_str(), "host" | "none") || spec.name.starts_with("container:");
    let mut endpoints: Named<EndpointSettings> = Named::default();
    if let [one] = flags.network.as_slice()
        && is_alone(one)
    {
        let settings = EndpointSettings { aliases: Some(flags.network_alias.clone()), ..EndpointSettings::default() };
        endpoints.set(&one.name, settings);
        return Ok((one.name.clone(), endpoints));
    }
    if flags.network.iter().any(is_alone) {
        bail!("conflicting options: cannot attach both user-defined and non-user-defined network-modes");
    }
    for spec in &flags.network {
        if endpoints.get(&spec.name).is_some() {
            bail!("network {:?} is specified multiple times", spec.name);
        }
        endpoints.set(&spec.name, endpoint(spec));
    }
    let mode = flags.network.first().map_or("default", |spec| spec.name.as_str());
    let general = flags.ip.is_some() || flags.mac_address.is_some() || !flags.network_alias.is_empty();
    if general {
        let first = endpoints.entry(mode);
        first.mac_address = match first.mac_address.is_empty() {
            true => flags.mac_address.clone().unwrap_or_default(),
            false => first.mac_address.clone(),
        };
        first.aliases.get_or_insert_default().extend(flags.network_alias.iter().cloned());
        if let Some(address) = flags.ip {
            first.ipam_config.get_or_insert_default().ipv4_address.get_or_insert_with(|| address.to_string());
        }
    }
    Ok((mode.to_owned(), endpoints))
}

fn endpoint(spec: &NetworkSpec) -> EndpointSettings {
    EndpointSettings {
        ipam_config: spec.address.map(|address| EndpointAddresses {
            ipv4_address: Some(address.to_string()),
            ..EndpointAddresses::default()
        }),
        mac_address: spec.mac_address.clone().unwrap_or_default(),
        aliases: Some(spec.aliases.clone()),
        gw_priority: Some(spec.gateway_priority),
        ..EndpointSettings::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_devices() {
        let found = device("/dev/fuse:/dev/x:r").unwrap();
        assert_eq!((found.path_in_container.as_str(), found.cgroup_permissions.as_str()), ("/dev/x", "r"));
        assert_eq!(device("/dev/fuse:rw").unwrap().path_in_container, "/dev/fuse");
        assert!(device("/dev/fuse:/dev/x:q").is_err());
    }

    #[test]
    fn reads_security_options() {
        assert_eq!(security_options(&["no-new-privileges".to_owned()]).unwrap(), ["no-new-privileges"]);
        let error = security_options(&["seccomp=/nowhere.json".to_owned()]).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere.json"));
    }

    #[test]
    fn ranges_of_ports_stay_ranges() {
        let bindings = published(&["8000-8010:80".to_owned(), "127.0.0.1:53:53/udp".to_owned()]).unwrap();
        let first = bindings.get("80/tcp").cloned().flatten().unwrap().remove(0);
        assert_eq!((first.host_ip.as_str(), first.host_port.as_str()), ("", "8000-8010"));
        let second = bindings.get("53/udp").cloned().flatten().unwrap().remove(0);
        assert_eq!((second.host_ip.as_str(), second.host_port.as_str()), ("127.0.0.1", "53"));
    }
}
