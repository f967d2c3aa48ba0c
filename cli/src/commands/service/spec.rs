//! From the flags of `service create` and `service update` to docker's request. Pure but for the files of `--env-file`.

use anyhow::{Result, anyhow, bail};
use skep_engine::containers::mounts::to_docker;
use skep_engine::docker::mount::Driver;
use skep_engine::docker::service::{
    Amounts, ContainerSpec, DnsConfig, EndpointSpec, Mode, NetworkAttachmentConfig, Placement, Preference, Ratio,
    Replicated, ResourceRequirements, RestartPolicy, ServiceSpec, Spread, TaskSpec, Ulimit, UpdateConfig,
};
use skep_engine::docker::{Empty, create};

use crate::args::service::{Common, Create, RollbackFlags, UpdateFlags};
use crate::commands::container::request::health_config;
use crate::parse::env;
use crate::parse::network::NetworkSpec;

fn said<T>(result: Result<T, String>) -> Result<T> {
    result.map_err(|error| anyhow!(error))
}

/// The whole request; networks by the names given.
pub(crate) fn from_flags(args: &Create) -> Result<ServiceSpec> {
    let (image, words) = args.words.split_first().ok_or_else(|| anyhow!("no image given"))?;
    let common_flags = &args.common;
    let container = ContainerSpec {
        image: Some(image.clone()),
        labels: Some(env::pairs(&args.container_label)),
        args: Some(words.to_vec()),
        env: Some(said(env::merged(&args.env_file, &args.env))?),
        groups: Some(args.group.clone()),
        mounts: Some(args.mount.iter().map(to_docker).collect()),
        hosts: Some(args.host.iter().map(|(name, address)| format!("{address} {name}")).collect()),
        dns_config: Some(DnsConfig {
            nameservers: Some(args.dns.iter().map(ToString::to_string).collect()),
            search: Some(args.dns_search.clone()),
            options: Some(args.dns_option.clone()),
        }),
        sysctls: Some(env::pairs(&args.sysctl)),
        ulimits: Some(args.ulimit.iter().map(ulimit).collect()),
        capability_add: Some(common_flags.cap_add.clone()),
        capability_drop: Some(common_flags.cap_drop.clone()),
        ..ContainerSpec::default()
    };
    let preferences: Vec<String> = said(args.placement_pref.iter().map(|text| preference(text)).collect())?;
    let preference = |spread_descriptor| Preference { spread: Some(Spread { spread_descriptor }) };
    let mut spec = ServiceSpec {
        name: args.name.clone(),
        labels: Some(env::pairs(&args.label)),
        task_template: TaskSpec {
            container_spec: Some(container),
            networks: Some(said(args.network.iter().map(network).collect())?),
            placement: Some(Placement {
                constraints: Some(args.constraint.clone()),
                preferences: Some(preferences.into_iter().map(preference).collect()),
                ..Placement::default()
            }),
            ..TaskSpec::default()
        },
        mode: mode(&args.mode, common_flags.replicas)?,
        endpoint_spec: Some(EndpointSpec {
            ports: Some(args.publish.iter().flatten().cloned().collect()),
            ..EndpointSpec::default()
        }),
        ..ServiceSpec::default()
    };
    common(&mut spec, common_flags)?;
    Ok(spec)
}

fn mode(word: &str, replicas: Option<u64>) -> Result<Mode> {
    match word {
        "replicated" => Ok(Mode { replicated: Some(Replicated { replicas }), ..Mode::default() }),
        "global" if replicas.is_some() => {
            bail!("replicas can only be used with replicated or replicated-job mode")
        }
        "global" => Ok(Mode { global: Some(Empty {}), ..Mode::default() }),
        other => bail!("Unknown mode: {other}, only replicated and global supported"),
    }
}

/// What `create` and `update` set alike; what no flag names is left out.
pub(crate) fn common(spec: &mut ServiceSpec, flags: &Common) -> Result<()> {
    let task = &mut spec.task_template;
    container(task.container_spec.get_or_insert_default(), flags)?;
    task.resources = Some(ResourceRequirements {
        limits: Some(Amounts {
            nano_cpus: flags.limit_cpu,
            memory_bytes: flags.limit_memory,
            pids: flags.limit_pids,
            ..Amounts::default()
        }),
        reservations: Some(Amounts {
            nano_cpus: flags.reserve_cpu,
            memory_bytes: flags.reserve_memory,
            ..Amounts::default()
        }),
    });
    task.restart_policy = given(RestartPolicy {
        condition: flags.restart_condition.clone(),
        delay: flags.restart_delay,
        max_attempts: flags.restart_max_attempts,
        window: flags.restart_window,
    });
    if flags.replicas_max_per_node.is_some() {
        task.placement.get_or_insert_default().max_replicas = flags.replicas_max_per_node;
    }
    if flags.log_driver.is_some() || !flags.log_opt.is_empty() {
        let options = Some(env::pairs(&flags.log_opt));
        task.log_driver = Some(Driver { name: flags.log_driver.clone(), options });
    }
    spec.update_config = given(update_config(&flags.update)?);
    spec.rollback_config = given(rollback_config(&flags.rollback)?);
    if flags.endpoint_mode.is_some() {
        spec.endpoint_spec.get_or_insert_default().mode.clone_from(&flags.endpoint_mode);
    }
    Ok(())
}

/// What some flag is about.
fn given<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn container(container: &mut ContainerSpec, flags: &Common) -> Result<()> {
    container.hostname.clone_from(&flags.hostname);
    container.user.clone_from(&flags.user);
    container.dir.clone_from(&flags.workdir);
    container.stop_signal.clone_from(&flags.stop_signal);
    container.command.clone_from(&flags.entrypoint);
    container.tty = flags.tty;
    container.read_only = flags.read_only;
    container.init = flags.init;
    container.oom_score_adj = flags.oom_score_adj;
    container.stop_grace_period = flags.stop_grace_period;
    container.healthcheck = said(flags.health.spec())?.map(health_config);
    Ok(())
}

fn update_config(flags: &UpdateFlags) -> Result<UpdateConfig> {
    Ok(UpdateConfig {
        parallelism: flags.update_parallelism,
        delay: flags.update_delay,
        failure_action: flags.update_failure_action.clone(),
        monitor: flags.update_monitor,
        max_failure_ratio: flags.update_max_failure_ratio.map(Ratio::try_from).transpose()?,
        order: flags.update_order.clone(),
    })
}

fn rollback_config(flags: &RollbackFlags) -> Result<UpdateConfig> {
    Ok(UpdateConfig {
        parallelism: flags.rollback_parallelism,
        delay: flags.rollback_delay,
        failure_action: flags.rollback_failure_action.clone(),
        monitor: flags.rollback_monitor,
        max_failure_ratio: flags.rollback_max_failure_ratio.map(Ratio::try_from).transpose()?,
        order: flags.rollback_order.clone(),
    })
}

/// A network by the name given.
pub(crate) fn network(spec: &NetworkSpec) -> Result<NetworkAttachmentConfig, String> {
    if spec.address.is_some() || spec.mac_address.is_some() || spec.gateway_priority != 0 {
        let name = &spec.name;
        return Err(format!(
            "network {name}: ip, mac-address and gw-priority are for single containers, not for services"
        ));
    }
    Ok(NetworkAttachmentConfig {
        target: Some(spec.name.clone()),
        aliases: Some(spec.aliases.clone()),
        driver_opts: Some(spec.driver_options.clone()),
    })
}

/// `spread=node.labels.zone`
pub(crate) fn preference(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("spread", descriptor)) if !descriptor.is_empty() => Ok(descriptor.to_owned()),
        Some((strategy, _)) => Err(format!("unsupported placement preference {strategy} (only spread is supported)")),
        None => Err("placement preference must be of the format \"<strategy>=<arg>\"".to_owned()),
    }
}

/// A limit as docker's request has it.
pub(crate) fn ulimit(limit: &create::Ulimit) -> Ulimit {
    Ulimit { name: Some(limit.name.clone()), soft: Some(limit.soft), hard: Some(limit.hard) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use skep_engine::services;

    use super::*;
    use crate::args::{Command, service, usage};

    fn read(line: &str) -> Result<ServiceSpec> {
        let words: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
        match usage::parse(&words).unwrap().command {
            Some(Command::Service(service::Command::Create(args))) => {
                let request = from_flags(&args)?;
                services::check(&request)?;
                Ok(request)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_a_request() {
        let spec = read(
            "skep service create --name web --replicas 3 -p 8080:80 --network app -e A=1 --limit-memory 64m \
             --restart-condition on-failure --update-parallelism 2 --constraint node.role==worker \
             --placement-pref spread=node.labels.zone --log-opt max-size=1m nginx sleep 1",
        )
        .unwrap();
        let task = spec.task_template;
        assert_eq!(spec.mode.replicated.unwrap().replicas, Some(3));
        assert_eq!(spec.endpoint_spec.unwrap().ports.unwrap()[0].published_port, Some(8080));
        assert_eq!(task.networks.unwrap()[0].target.as_deref(), Some("app"));
        assert_eq!(task.resources.unwrap().limits.unwrap().memory_bytes, Some(64 << 20));
        assert_eq!(task.restart_policy.unwrap().condition.as_deref(), Some("on-failure"));
        assert_eq!(task.placement.unwrap().preferences.unwrap().len(), 1);
        assert_eq!(task.log_driver.unwrap().name, None);
        let update = UpdateConfig { parallelism: Some(2), ..UpdateConfig::default() };
        assert_eq!((spec.update_config, spec.rollback_config), (Some(update), None));
        let container = task.container_spec.unwrap();
        assert_eq!((container.image.as_deref(), container.args.unwrap().len()), (Some("nginx"), 2));
        assert_eq!(container.env.unwrap(), ["A=1"]);
    }

    #[test]
    fn contradictions_are_refused() {
        for (line, words) in [
            ("skep service create --mode global --replicas 2 x", "replicas can only be used"),
            ("skep service create --mode global --replicas-max-per-node 2 x", "replicas-max-per-node can only"),
            ("skep service create --mode foo x", "Unknown mode: foo"),
            ("skep service create --endpoint-mode dnsrr -p 80:80 x", "can't be used with dnsrr"),
            ("skep service create --constraint nonsense x", "nonsense"),
            ("skep service create --update-order x y", "invalid order"),
            ("skep service create --rollback-max-failure-ratio inf x", "the failure ratio inf is not between 0 and 1"),
            ("skep service create --network name=app,ip=10.0.0.7 x", "are for single containers"),
            (
                "skep service create --mount type=bind,src=/a,dst=/b,bind-recursive=disabled x",
                "BindOptions.NonRecursive",
            ),
            ("skep service create --mount src=vol,dst=/b,volume-subpath=c x", "VolumeOptions.Subpath"),
            ("skep service create --mount type=tmpfs,dst=/a --mount type=tmpfs,dst=/a/ x", "Duplicate mount point"),
        ] {
            let error = format!("{:#}", read(line).unwrap_err());
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
