//! From the flags of `service create` to a service's specification. Pure but for the files of `--env-file`.

use anyhow::{Result, anyhow, bail};
use skep_cluster::api::{
    Annotations, ContainerSpec, EndpointMode, EndpointSpec, GlobalService, HealthCheck, LogDriver, Mount,
    NetworkAttachmentSpec, Placement, ReplicatedService, ResourceRequirements, Resources, RestartCondition,
    RestartPolicy, ServiceSpec, TaskSpec, Ulimit, UpdateConfig, UpdateFailureAction, UpdateOrder, service_spec,
};
use skep_common::limits;
use skep_engine::docker::create;
use skep_engine::mount;
use skep_engine::services::check;

use crate::args::service::{Common, Create};
use crate::parse::env;
use crate::parse::network::NetworkSpec;

fn said<T>(result: Result<T, String>) -> Result<T> {
    result.map_err(|error| anyhow!(error))
}

/// The whole specification; networks by the names given.
pub fn from_flags(args: &Create) -> Result<ServiceSpec> {
    let (image, words) = args.words.split_first().ok_or_else(|| anyhow!("no image given"))?;
    let common = &args.common;
    let mode = match args.mode.as_str() {
        "replicated" => service_spec::Mode::Replicated(ReplicatedService { replicas: common.replicas.unwrap_or(1) }),
        "global" if common.replicas.is_some() => {
            bail!("replicas can only be used with replicated or replicated-job mode")
        }
        "global" if common.replicas_max_per_node.is_some() => {
            bail!("replicas-max-per-node can only be used with replicated or replicated-job mode")
        }
        "global" => service_spec::Mode::Global(GlobalService {}),
        other => bail!("Unknown mode: {other}, only replicated and global supported"),
    };
    let container = ContainerSpec {
        image: image.clone(),
        labels: env::pairs(&args.container_label),
        args: words.to_vec(),
        env: said(env::merged(&args.env_file, &args.env))?,
        groups: args.group.clone(),
        mounts: said(mounts(&args.mount))?,
        hosts: args.host.iter().map(|(name, address)| format!("{address} {name}")).collect(),
        dns_nameservers: args.dns.iter().map(ToString::to_string).collect(),
        dns_search: args.dns_search.clone(),
        dns_options: args.dns_option.clone(),
        sysctls: env::pairs(&args.sysctl),
        ulimits: args.ulimit.iter().map(ulimit).collect(),
        cap_add: common.cap_add.clone(),
        cap_drop: common.cap_drop.clone(),
        ..ContainerSpec::default()
    };
    let mut spec = ServiceSpec {
        annotations: Some(Annotations { name: args.name.clone().unwrap_or_default(), labels: env::pairs(&args.label) }),
        task: Some(TaskSpec {
            container: Some(container),
            networks: said(args.network.iter().map(network).collect())?,
            placement: Some(Placement {
                constraints: args.constraint.clone(),
                spread: said(args.placement_pref.iter().map(|text| preference(text)).collect())?,
                ..Placement::default()
            }),
            ..TaskSpec::default()
        }),
        mode: Some(mode),
        endpoint: Some(EndpointSpec {
            ports: args.publish.iter().flatten().cloned().collect(),
            ..EndpointSpec::default()
        }),
        ..ServiceSpec::default()
    };
    common_flags(&mut spec, common)?;
    check::check(&spec)?;
    Ok(spec)
}

/// What `create` and `update` set alike.
pub fn common_flags(spec: &mut ServiceSpec, flags: &Common) -> Result<()> {
    let task = spec.task.get_or_insert_default();
    container_flags(task.container.get_or_insert_default(), flags)?;
    resource_flags(task.resources.get_or_insert_default(), flags)?;
    restart_flags(&mut task.restart, flags)?;
    if let Some(limit) = flags.replicas_max_per_node {
        task.placement.get_or_insert_default().max_replicas_per_node = limit;
    }
    if flags.log_driver.is_some() || !flags.log_opt.is_empty() {
        let driver = flags.log_driver.clone().unwrap_or_else(|| "json-file".to_owned());
        if !matches!(driver.as_str(), "json-file" | "local" | "none") {
            bail!("logger: no log driver named '{driver}' is registered: use json-file or none");
        }
        task.log_driver = Some(LogDriver { name: driver, options: env::pairs(&flags.log_opt) });
    }
    let update = Step {
        delay: flags.update.update_delay,
        failure_action: flags.update.update_failure_action.as_deref(),
        max_failure_ratio: flags.update.update_max_failure_ratio,
        monitor: flags.update.update_monitor,
        order: flags.update.update_order.as_deref(),
        parallelism: flags.update.update_parallelism,
    };
    update.apply(&mut spec.update, true)?;
    let rollback = Step {
        delay: flags.rollback.rollback_delay,
        failure_action: flags.rollback.rollback_failure_action.as_deref(),
        max_failure_ratio: flags.rollback.rollback_max_failure_ratio,
        monitor: flags.rollback.rollback_monitor,
        order: flags.rollback.rollback_order.as_deref(),
        parallelism: flags.rollback.rollback_parallelism,
    };
    rollback.apply(&mut spec.rollback, false)?;
    if let Some(mode) = flags.endpoint_mode.as_deref() {
        let mode = match mode {
            "vip" => EndpointMode::Vip,
            "dnsrr" => EndpointMode::Dnsrr,
            other => bail!("invalid endpoint mode {other:?}, only vip and dnsrr are supported"),
        };
        spec.endpoint.get_or_insert_default().set_mode(mode);
    }
    Ok(())
}

fn container_flags(container: &mut ContainerSpec, flags: &Common) -> Result<()> {
    let set = |field: &mut String, value: &Option<String>| {
        if let Some(value) = value {
            field.clone_from(value);
        }
    };
    set(&mut container.hostname, &flags.hostname);
    set(&mut container.user, &flags.user);
    set(&mut container.dir, &flags.workdir);
    set(&mut container.stop_signal, &flags.stop_signal);
    if let Some(entrypoint) = &flags.entrypoint {
        container.command.clone_from(entrypoint);
    }
    container.tty = flags.tty.unwrap_or(container.tty);
    container.read_only = flags.read_only.unwrap_or(container.read_only);
    if flags.init == Some(true) {
        bail!("--init is not supported: let the image bring an init such as tini as its entrypoint");
    }
    container.oom_score_adj = flags.oom_score_adj.unwrap_or(container.oom_score_adj);
    if flags.stop_grace_period.is_some() {
        container.stop_grace_period_ns = flags.stop_grace_period;
    }
    if let Some(check) = said(flags.health.spec())? {
        container.health_check = Some(health_check(&check, container.health_check.as_ref()));
    }
    Ok(())
}

/// The flags that are given win over what is there.
fn health_check(given: &skep_common::HealthCheck, old: Option<&HealthCheck>) -> HealthCheck {
    let mut check = old.cloned().unwrap_or_default();
    if !given.test.is_empty() {
        check.test.clone_from(&given.test);
    }
    let set = |field: &mut i64, value: i64| {
        if value != 0 {
            *field = value;
        }
    };
    set(&mut check.interval_ns, given.interval_ns);
    set(&mut check.timeout_ns, given.timeout_ns);
    set(&mut check.start_period_ns, given.start_period_ns);
    set(&mut check.start_interval_ns, given.start_interval_ns);
    if given.retries != 0 {
        check.retries = u32::try_from(given.retries).unwrap_or(u32::MAX);
    }
    check
}

fn resource_flags(resources: &mut ResourceRequirements, flags: &Common) -> Result<()> {
    limits::check_memory(flags.limit_memory)?;
    let set = |part: &mut Option<Resources>, cpus: Option<i64>, memory: Option<i64>| {
        if cpus.is_none() && memory.is_none() {
            return;
        }
        let part = part.get_or_insert_default();
        part.nano_cpus = cpus.unwrap_or(part.nano_cpus);
        part.memory_bytes = memory.unwrap_or(part.memory_bytes);
    };
    set(&mut resources.limits, flags.limit_cpu, flags.limit_memory);
    set(&mut resources.reservations, flags.reserve_cpu, flags.reserve_memory);
    if let Some(pids) = flags.limit_pids {
        if pids < 0 {
            bail!("--limit-pids cannot be negative");
        }
        resources.limit_pids = pids;
    }
    Ok(())
}

fn restart_flags(policy: &mut Option<RestartPolicy>, flags: &Common) -> Result<()> {
    let any = flags.restart_condition.is_some()
        || flags.restart_delay.is_some()
        || flags.restart_max_attempts.is_some()
        || flags.restart_window.is_some();
    if !any {
        return Ok(());
    }
    let policy = policy.get_or_insert_default();
    if let Some(condition) = flags.restart_condition.as_deref() {
        policy.set_condition(match condition {
            "any" => RestartCondition::Any,
            "on-failure" => RestartCondition::OnFailure,
            "none" => RestartCondition::None,
            other => bail!("invalid restart condition {other:?}, only none, on-failure and any are supported"),
        });
    }
    if flags.restart_delay.is_some() {
        policy.delay_ns = flags.restart_delay;
    }
    policy.max_attempts = flags.restart_max_attempts.unwrap_or(policy.max_attempts);
    policy.window_ns = flags.restart_window.unwrap_or(policy.window_ns);
    Ok(())
}

/// The flags of an update or a rollback.
struct Step<'a> {
    delay: Option<i64>,
    failure_action: Option<&'a str>,
    max_failure_ratio: Option<f32>,
    monitor: Option<i64>,
    order: Option<&'a str>,
    parallelism: Option<u64>,
}

impl Step<'_> {
    fn apply(&self, config: &mut Option<UpdateConfig>, can_roll_back: bool) -> Result<()> {
        let any = self.delay.is_some()
            || self.failure_action.is_some()
            || self.max_failure_ratio.is_some()
            || self.monitor.is_some()
            || self.order.is_some()
            || self.parallelism.is_some();
        if !any {
            return Ok(());
        }
        let config = config.get_or_insert_with(|| UpdateConfig { parallelism: 1, ..UpdateConfig::default() });
        config.delay_ns = self.delay.unwrap_or(config.delay_ns);
        config.parallelism = self.parallelism.unwrap_or(config.parallelism);
        if self.monitor.is_some() {
            config.monitor_ns = self.monitor;
        }
        if let Some(ratio) = self.max_failure_ratio {
            if !(0.0..=1.0).contains(&ratio) {
                bail!("the failure ratio {ratio} is not between 0 and 1");
            }
            config.max_failure_ratio = ratio;
        }
        if let Some(action) = self.failure_action {
            config.set_failure_action(match action {
                "pause" => UpdateFailureAction::Pause,
                "continue" => UpdateFailureAction::Continue,
                "rollback" if can_roll_back => UpdateFailureAction::Rollback,
                other => bail!("invalid failure action {other:?}"),
            });
        }
        if let Some(order) = self.order {
            config.set_order(match order {
                "stop-first" => UpdateOrder::StopFirst,
                "start-first" => UpdateOrder::StartFirst,
                other => bail!("invalid order {other:?}, only start-first and stop-first are supported"),
            });
        }
        Ok(())
    }
}

/// Mounts as the cluster has them, no two at one place.
pub fn mounts(specs: &[mount::MountSpec]) -> Result<Vec<Mount>, String> {
    let mounts: Vec<Mount> = specs.iter().map(mount::to_api).collect();
    check::mounts(&mounts).map_err(|error| error.to_string())?;
    Ok(mounts)
}

/// A network by the name given.
pub fn network(spec: &NetworkSpec) -> Result<NetworkAttachmentSpec, String> {
    if spec.address.is_some() || spec.mac_address.is_some() || spec.gateway_priority != 0 {
        let name = &spec.name;
        return Err(format!(
            "network {name}: ip, mac-address and gw-priority are for single containers, not for services"
        ));
    }
    Ok(NetworkAttachmentSpec {
        target: spec.name.clone(),
        aliases: spec.aliases.clone(),
        driver_opts: spec.driver_options.clone(),
    })
}

/// `spread=node.labels.zone`
pub fn preference(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("spread", descriptor)) if !descriptor.is_empty() => Ok(descriptor.to_owned()),
        Some((strategy, _)) => Err(format!("unsupported placement preference {strategy} (only spread is supported)")),
        None => Err("placement preference must be of the format \"<strategy>=<arg>\"".to_owned()),
    }
}

/// A limit as the cluster has it.
pub fn ulimit(limit: &create::Ulimit) -> Ulimit {
    Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::args::{Command, service, usage};

    fn read(line: &str) -> Result<ServiceSpec> {
        let words: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
        match usage::parse(&words).unwrap().command {
            Some(Command::Service(service::Command::Create(args))) => from_flags(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_a_specification() {
        let spec = read(
            "skep service create --name web --replicas 3 -p 8080:80 --network app -e A=1 --limit-memory 64m \
             --restart-condition on-failure --update-parallelism 2 --constraint node.role==worker nginx sleep 1",
        )
        .unwrap();
        let task = spec.task.unwrap();
        assert_eq!(spec.mode, Some(service_spec::Mode::Replicated(ReplicatedService { replicas: 3 })));
        assert_eq!(spec.endpoint.unwrap().ports[0].published_port, 8080);
        assert_eq!(task.networks[0].target, "app");
        assert_eq!(task.resources.unwrap().limits.unwrap().memory_bytes, 64 << 20);
        assert_eq!(spec.update.unwrap().parallelism, 2);
        let container = task.container.unwrap();
        assert_eq!((container.image.as_str(), container.args.len()), ("nginx", 2));
        assert_eq!(container.env, ["A=1"]);
    }

    #[test]
    fn contradictions_are_refused() {
        for (line, words) in [
            ("skep service create --mode global --replicas 2 x", "replicas can only be used"),
            ("skep service create --mode foo x", "Unknown mode: foo"),
            ("skep service create --endpoint-mode dnsrr -p 80:80 x", "can't be used with dnsrr"),
            ("skep service create --constraint nonsense x", "nonsense"),
            ("skep service create --update-order x y", "invalid order"),
            ("skep service create --mount type=tmpfs,dst=/a --mount type=tmpfs,dst=/a/ x", "Duplicate mount point"),
        ] {
            let error = format!("{:#}", read(line).unwrap_err());
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
