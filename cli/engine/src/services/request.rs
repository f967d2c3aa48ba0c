//! From docker's JSON to the swarm's own specification. The way back is in [`super::shape`].
//!
//! What skep cannot do is refused by name, whoever asks; nothing that was asked for is left out in silence.

use serde::Serialize;
use skep_cluster::api::{
    Annotations, ContainerSpec, EndpointSpec, GlobalService, HealthCheck, LogDriver, Mount, NetworkAttachmentSpec,
    Placement, Platform, PortConfig, ReplicatedService, ResourceRequirements, Resources, RestartPolicy, ServiceSpec,
    TaskSpec, Ulimit, UpdateConfig, service_spec,
};

use super::words::Word;
use crate::docker::create::HealthConfig;
use crate::docker::mount::{self as docker_mount, Driver};
use crate::docker::{refuse, refuse_all, service as docker};
use crate::error::{Error, Result};

/// The value that a word stands for; `what` names the field when it stands for none.
fn value<T: Word + Default>(what: &str, word: Option<&str>) -> Result<T> {
    match word {
        None | Some("") => Ok(T::default()),
        Some(word) => T::of_word(word).ok_or_else(|| Error::bad_argument(format!("invalid {what}: {word:?}"))),
    }
}

fn refuse_given<T: Serialize>(name: &str, value: Option<&T>) -> Result<()> {
    value.map_or(Ok(()), |value| refuse(name, value))
}

/// What is asked of a service.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`] for a word that is none, [`crate::ErrorKind::NotSupported`] for what skep cannot do.
pub fn spec(spec: &docker::ServiceSpec) -> Result<ServiceSpec> {
    let mut task = task_spec(&spec.task_template)?;
    if task.networks.is_empty() {
        // Where clients of before version 1.25 have them.
        task.networks = spec.networks.iter().flatten().map(network).collect();
    }
    Ok(ServiceSpec {
        annotations: Some(Annotations {
            name: spec.name.clone().unwrap_or_default(),
            labels: spec.labels.clone().unwrap_or_default(),
        }),
        task: Some(task),
        mode: Some(mode(&spec.mode)?),
        update: spec.update_config.as_ref().map(update_config).transpose()?,
        rollback: spec.rollback_config.as_ref().map(update_config).transpose()?,
        endpoint: Some(endpoint(&spec.endpoint_spec.clone().unwrap_or_default())?),
    })
}

fn mode(mode: &docker::Mode) -> Result<service_spec::Mode> {
    refuse_given("ReplicatedJob", mode.replicated_job.as_ref())?;
    if mode.replicated_job.is_some() || mode.global_job.is_some() {
        return Err(Error::new(crate::ErrorKind::NotSupported, "jobs are not supported"));
    }
    match (&mode.replicated, &mode.global) {
        (Some(_), Some(_)) => Err(Error::bad_argument("must specify only one service mode")),
        (None, Some(_)) => Ok(service_spec::Mode::Global(GlobalService {})),
        (replicated, None) => {
            let replicas = replicated.as_ref().and_then(|mode| mode.replicas).unwrap_or(1);
            Ok(service_spec::Mode::Replicated(ReplicatedService { replicas }))
        }
    }
}

fn update_config(config: &docker::UpdateConfig) -> Result<UpdateConfig> {
    let order = Some(config.order.as_str());
    let mut wanted = UpdateConfig {
        parallelism: config.parallelism,
        delay_ns: config.delay.unwrap_or_default(),
        monitor_ns: config.monitor,
        max_failure_ratio: config.max_failure_ratio.value(),
        ..UpdateConfig::default()
    };
    wanted.set_failure_action(value("UpdateConfig.FailureAction", config.failure_action.as_deref())?);
    wanted.set_order(value("UpdateConfig.Order", order)?);
    Ok(wanted)
}

fn endpoint(spec: &docker::EndpointSpec) -> Result<EndpointSpec> {
    let mut wanted = EndpointSpec {
        ports: spec.ports.iter().flatten().map(port).collect::<Result<_>>()?,
        ..EndpointSpec::default()
    };
    wanted.set_mode(value("EndpointSpec.Mode", spec.mode.as_deref())?);
    Ok(wanted)
}

fn port(port: &docker::PortConfig) -> Result<PortConfig> {
    let mut wanted = PortConfig {
        name: port.name.clone().unwrap_or_default(),
        target_port: port.target_port.unwrap_or_default(),
        published_port: port.published_port.unwrap_or_default(),
        ..PortConfig::default()
    };
    wanted.set_protocol(value("PortConfig.Protocol", port.protocol.as_deref())?);
    wanted.set_publish_mode(value("PortConfig.PublishMode", port.publish_mode.as_deref())?);
    Ok(wanted)
}

fn network(network: &docker::NetworkAttachmentConfig) -> NetworkAttachmentSpec {
    NetworkAttachmentSpec {
        target: network.target.clone().unwrap_or_default(),
        aliases: network.aliases.clone().unwrap_or_default(),
        driver_opts: network.driver_opts.clone().unwrap_or_default(),
    }
}

fn task_spec(task: &docker::TaskSpec) -> Result<TaskSpec> {
    refuse_given("PluginSpec", task.plugin_spec.as_ref())?;
    refuse_given("NetworkAttachmentSpec", task.network_attachment_spec.as_ref())?;
    if let Some(runtime) = task.runtime.as_deref().filter(|runtime| !matches!(*runtime, "" | "container")) {
        return Err(Error::new(crate::ErrorKind::NotSupported, format!("the runtime {runtime:?} is not supported")));
    }
    Ok(TaskSpec {
        container: Some(container(&task.container_spec.clone().unwrap_or_default())?),
        resources: task.resources.as_ref().map(resources).transpose()?,
        restart: task.restart_policy.as_ref().map(restart_policy).transpose()?,
        placement: task.placement.as_ref().map(placement),
        networks: task.networks.iter().flatten().map(network).collect(),
        log_driver: task.log_driver.as_ref().map(log_driver).transpose()?,
        force_update: task.force_update,
    })
}

fn log_driver(driver: &Driver) -> Result<LogDriver> {
    let name = driver.name.clone().unwrap_or_default();
    match name.as_str() {
        "json-file" | "local" | "none" => Ok(LogDriver { name, options: driver.options.clone().unwrap_or_default() }),
        _ => Err(Error::bad_argument(format!(
            "logger: no log driver named '{name}' is registered: use json-file or none"
        ))),
    }
}

fn resources(requirements: &docker::ResourceRequirements) -> Result<ResourceRequirements> {
    let amounts = |amounts: &docker::Amounts| {
        refuse_given("GenericResources", amounts.generic_resources.as_ref())?;
        let amounts = Resources {
            nano_cpus: amounts.nano_cpus.unwrap_or_default(),
            memory_bytes: amounts.memory_bytes.unwrap_or_default(),
            ..Resources::default()
        };
        // An empty object asks for nothing.
        Ok::<_, Error>((amounts != Resources::default()).then_some(amounts))
    };
    let part = |part: &Option<docker::Amounts>| part.as_ref().map(amounts).transpose().map(Option::flatten);
    Ok(ResourceRequirements {
        limits: part(&requirements.limits)?,
        reservations: part(&requirements.reservations)?,
        limit_pids: requirements.limits.as_ref().and_then(|limits| limits.pids).unwrap_or_default(),
    })
}

fn restart_policy(policy: &docker::RestartPolicy) -> Result<RestartPolicy> {
    let mut wanted = RestartPolicy {
        delay_ns: policy.delay,
        max_attempts: policy.max_attempts.unwrap_or_default(),
        window_ns: policy.window.unwrap_or_default(),
        ..RestartPolicy::default()
    };
    wanted.set_condition(value("RestartPolicy.Condition", policy.condition.as_deref())?);
    Ok(wanted)
}

fn placement(placement: &docker::Placement) -> Placement {
    let spread = placement.preferences.iter().flatten().filter_map(|preference| preference.spread.as_ref());
    let platform = |platform: &docker::Platform| Platform {
        architecture: platform.architecture.clone().unwrap_or_default(),
        os: platform.os.clone().unwrap_or_default(),
    };
    Placement {
        constraints: placement.constraints.clone().unwrap_or_default(),
        spread: spread.map(|spread| spread.spread_descriptor.clone()).collect(),
        max_replicas_per_node: placement.max_replicas.unwrap_or_default(),
        platforms: placement.platforms.iter().flatten().map(platform).collect(),
    }
}

fn container(spec: &docker::ContainerSpec) -> Result<ContainerSpec> {
    refuse_given("Privileges", spec.privileges.as_ref())?;
    refuse_given("Secrets", spec.secrets.as_ref())?;
    refuse_given("Configs", spec.configs.as_ref())?;
    if spec.init == Some(true) {
        let reason = "--init is not supported: let the image bring an init such as tini as its entrypoint";
        return Err(Error::new(crate::ErrorKind::NotSupported, reason));
    }
    let dns = spec.dns_config.clone().unwrap_or_default();
    let ulimit = |limit: &docker::Ulimit| Ulimit {
        name: limit.name.clone().unwrap_or_default(),
        soft: limit.soft.unwrap_or_default(),
        hard: limit.hard.unwrap_or_default(),
    };
    Ok(ContainerSpec {
        image: spec.image.clone().unwrap_or_default(),
        labels: spec.labels.clone().unwrap_or_default(),
        command: spec.command.clone().unwrap_or_default(),
        args: spec.args.clone().unwrap_or_default(),
        hostname: spec.hostname.clone().unwrap_or_default(),
        env: spec.env.clone().unwrap_or_default(),
        dir: spec.dir.clone().unwrap_or_default(),
        user: spec.user.clone().unwrap_or_default(),
        groups: spec.groups.clone().unwrap_or_default(),
        tty: spec.tty.unwrap_or_default(),
        open_stdin: spec.open_stdin.unwrap_or_default(),
        read_only: spec.read_only.unwrap_or_default(),
        stop_signal: spec.stop_signal.clone().unwrap_or_default(),
        stop_grace_period_ns: spec.stop_grace_period,
        mounts: spec.mounts.iter().flatten().map(mount).collect::<Result<_>>()?,
        registry_auth: String::new(),
        hosts: spec.hosts.clone().unwrap_or_default(),
        dns_nameservers: dns.nameservers.unwrap_or_default(),
        dns_search: dns.search.unwrap_or_default(),
        dns_options: dns.options.unwrap_or_default(),
        health_check: spec.healthcheck.as_ref().map(health_check),
        init: false,
        sysctls: spec.sysctls.clone().unwrap_or_default(),
        cap_add: spec.capability_add.clone().unwrap_or_default(),
        cap_drop: spec.capability_drop.clone().unwrap_or_default(),
        ulimits: spec.ulimits.iter().flatten().map(ulimit).collect(),
        oom_score_adj: spec.oom_score_adj.unwrap_or_default(),
    })
}

fn health_check(check: &HealthConfig) -> HealthCheck {
    HealthCheck {
        test: check.test.clone().unwrap_or_default(),
        interval_ns: check.interval.unwrap_or_default(),
        timeout_ns: check.timeout.unwrap_or_default(),
        start_period_ns: check.start_period.unwrap_or_default(),
        start_interval_ns: check.start_interval.unwrap_or_default(),
        retries: u32::try_from(check.retries.unwrap_or_default()).unwrap_or_default(),
    }
}

fn mount(mount: &docker_mount::Mount) -> Result<Mount> {
    let bind = mount.bind_options.clone().unwrap_or_default();
    let volume = mount.volume_options.clone().unwrap_or_default();
    let tmpfs = mount.tmpfs_options.clone().unwrap_or_default();
    for other in [&mount.other, &bind.other, &volume.other, &tmpfs.other] {
        refuse_all(other)?;
    }
    refuse_given("VolumeOptions.Subpath", volume.subpath.as_ref())?;
    refuse_given("BindOptions.NonRecursive", bind.non_recursive.as_ref())?;
    let driver = volume.driver_config.unwrap_or_default();
    let mut wanted = Mount {
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only.unwrap_or_default(),
        bind_propagation: bind.propagation.unwrap_or_default(),
        bind_create_source: bind.create_mountpoint.unwrap_or_default(),
        volume_no_copy: volume.no_copy.unwrap_or_default(),
        volume_labels: volume.labels.unwrap_or_default(),
        volume_driver: driver.name.unwrap_or_default(),
        volume_driver_options: driver.options.unwrap_or_default(),
        tmpfs_size_bytes: tmpfs.size_bytes.unwrap_or_default(),
        tmpfs_mode: tmpfs.mode.unwrap_or_default(),
        ..Mount::default()
    };
    wanted.set_type(value("Mount.Type", Some(mount.kind.as_str()))?);
    Ok(wanted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::services::shape;

    fn read(body: Value) -> Result<ServiceSpec> {
        spec(&serde_json::from_value(body).unwrap())
    }

    fn body(container: Value) -> Value {
        json!({"Name": "web", "Labels": {}, "TaskTemplate": {"ContainerSpec": container, "ForceUpdate": 0}, "Mode": {}})
    }

    #[test]
    fn what_is_asked_for_is_shown() {
        let asked = json!({
            "Name": "web", "Labels": {"a": "b"},
            "TaskTemplate": {
                "ContainerSpec": {
                    "Image": "bb:1", "Args": ["sleep", "1"], "Env": ["A=B"], "Init": false, "TTY": true,
                    "Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/h", "ReadOnly": true}],
                    "StopGracePeriod": 3_000_000_000_i64,
                    "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5},
                    "Hosts": ["1.2.3.4 x"], "DNSConfig": {"Search": ["ex.org"]}, "Isolation": "default",
                    "Ulimits": [{"Name": "nofile", "Hard": 20, "Soft": 10}],
                },
                "Resources": {"Limits": {"MemoryBytes": 67_108_864, "Pids": 20}, "Reservations": {}},
                "RestartPolicy": {"Condition": "on-failure", "Delay": 2, "MaxAttempts": 3, "Window": 10},
                "Placement": {
                    "Constraints": ["node.role==manager"],
                    "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.dc"}}], "MaxReplicas": 5,
                },
                "Networks": [{"Target": "n1", "Aliases": ["w"]}],
                "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m"}},
                "ForceUpdate": 2, "Runtime": "container",
            },
            "Mode": {"Replicated": {"Replicas": 2}},
            "UpdateConfig": {
                "Parallelism": 2, "Delay": 1, "FailureAction": "rollback", "Monitor": 7, "MaxFailureRatio": 0.5,
                "Order": "start-first",
            },
            "EndpointSpec": {
                "Mode": "vip",
                "Ports": [{"Protocol": "udp", "TargetPort": 82, "PublishedPort": 8082, "PublishMode": "host"}],
            },
        });
        let wanted = read(asked.clone()).unwrap();
        assert_eq!(serde_json::to_value(shape::spec(Some(&wanted))).unwrap(), asked);
    }

    #[test]
    fn one_task_unless_told_otherwise() {
        let wanted = read(body(json!({"Image": "x"}))).unwrap();
        assert_eq!(wanted.mode, Some(service_spec::Mode::Replicated(ReplicatedService { replicas: 1 })));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (container, name) in [
            (json!({"Secrets": [{"SecretID": "x"}]}), "Secrets"),
            (json!({"Privileges": {"CredentialSpec": {"Config": "x"}}}), "Privileges"),
            (json!({"Init": true}), "--init"),
            (json!({"Mounts": [{"Type": "npipe", "Target": "/x"}]}), "Mount.Type"),
            (
                json!({"Mounts": [{"Type": "bind", "Target": "/x", "BindOptions": {"NonRecursive": true}}]}),
                "NonRecursive",
            ),
            (json!({"Mounts": [{"Type": "cluster", "Target": "/x", "ClusterOptions": {"A": 1}}]}), "ClusterOptions"),
            (json!({"Mounts": [{"Type": "volume", "Target": "/x", "ImageOptions": {"Subpath": "y"}}]}), "ImageOptions"),
        ] {
            let error = read(body(container)).unwrap_err().to_string();
            assert!(error.contains(name), "{name}: {error}");
        }
        read(body(json!({"Secrets": [], "Privileges": {"CredentialSpec": null}}))).unwrap();
    }
}
