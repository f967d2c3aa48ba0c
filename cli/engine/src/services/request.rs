//! From docker's JSON to the swarm's own specification. The way back is in [`super::shape`].
//!
//! A request is set over what is there: what it says replaces, what it does not say stays. A new service is a request set
//! over nothing, so that what is made and what is changed obey the same rules. What skep cannot do is refused by name,
//! whoever asks; nothing that was asked for is left out in silence.

use serde::Serialize;
use skep_cluster::api::{
    ContainerSpec, EndpointSpec, GlobalService, HealthCheck, LogDriver, Mount, NetworkAttachmentSpec, Placement,
    Platform, PortConfig, ReplicatedService, ResourceRequirements, Resources, RestartPolicy, ServiceSpec, TaskSpec,
    Ulimit, UpdateConfig, UpdateFailureAction, service_spec,
};
use skep_common::limits;

use super::words::Word;
use crate::ErrorKind;
use crate::containers::mounts::from_docker;
use crate::docker::create::HealthConfig;
use crate::docker::mount::{self as docker_mount, Driver};
use crate::docker::{refuse, service as docker};
use crate::error::{Error, Result};
use crate::mount;

/// What keeps the output of a service that has options for it, but names nobody.
const LOG_DRIVER_DEFAULT: &str = "json-file";

/// Tasks that an update replaces at a time where its settings do not say: as docker's own client has it.
const PARALLELISM_DEFAULT: u64 = 1;

/// The value that a word stands for; who has none gets the words of `refused`. Go's empty word says nothing.
fn word<T: Word>(given: Option<&str>, refused: impl FnOnce(&str) -> String) -> Result<Option<T>> {
    match given {
        None | Some("") => Ok(None),
        Some(word) => match T::of_word(word) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::bad_argument(refused(word))),
        },
    }
}

fn invalid(what: &str) -> impl FnOnce(&str) -> String {
    move |word| format!("invalid {what}: {word:?}")
}

/// What is given replaces what is there.
fn replace<T: Clone>(field: &mut T, given: Option<&T>) {
    if let Some(given) = given {
        field.clone_from(given);
    }
}

fn refuse_given<T: Serialize>(name: &str, value: Option<&T>) -> Result<()> {
    value.map_or(Ok(()), |value| refuse(name, value))
}

/// What is asked of a new service.
///
/// # Errors
/// [`ErrorKind::BadArgument`] for what cannot be, [`ErrorKind::NotSupported`] for what skep cannot do.
pub(super) fn spec(request: &docker::ServiceSpec) -> Result<ServiceSpec> {
    let placement = request.task_template.placement.as_ref();
    if request.mode.global.is_some() && placement.is_some_and(|placement| placement.max_replicas.is_some()) {
        return Err(Error::bad_argument(
            "replicas-max-per-node can only be used with replicated or replicated-job mode",
        ));
    }
    let mut spec = ServiceSpec::default();
    set(&mut spec, request)?;
    spec.mode.get_or_insert(service_spec::Mode::Replicated(ReplicatedService { replicas: 1 }));
    Ok(spec)
}

/// Sets what is asked over what is there.
///
/// # Errors
/// As [`spec`].
pub(super) fn set(spec: &mut ServiceSpec, given: &docker::ServiceSpec) -> Result<()> {
    let annotations = spec.annotations.get_or_insert_default();
    replace(&mut annotations.name, given.name.as_ref());
    replace(&mut annotations.labels, given.labels.as_ref());
    let task = spec.task.get_or_insert_default();
    task_spec(task, &given.task_template)?;
    let in_template = given.task_template.networks.as_ref();
    // Clients of before version 1.25 have them beside the template.
    let networks = in_template.filter(|networks| !networks.is_empty()).or(given.networks.as_ref()).or(in_template);
    if let Some(networks) = networks {
        task.networks = networks.iter().map(network).collect();
    }
    if let Some(mode) = mode(&given.mode)? {
        spec.mode = Some(mode);
    }
    if let Some(given) = &given.update_config {
        update_config(&mut spec.update, given, true)?;
    }
    if let Some(given) = &given.rollback_config {
        update_config(&mut spec.rollback, given, false)?;
    }
    endpoint(spec.endpoint.get_or_insert_default(), &given.endpoint_spec.clone().unwrap_or_default())
}

fn mode(mode: &docker::Mode) -> Result<Option<service_spec::Mode>> {
    if mode.replicated_job.is_some() || mode.global_job.is_some() {
        return Err(Error::new(ErrorKind::NotSupported, "jobs are not supported"));
    }
    match (&mode.replicated, &mode.global) {
        (Some(_), Some(_)) => Err(Error::bad_argument("must specify only one service mode")),
        (None, None) => Ok(None),
        (None, Some(_)) => Ok(Some(service_spec::Mode::Global(GlobalService {}))),
        (Some(mode), None) => {
            let replicas = mode.replicas.unwrap_or(1);
            Ok(Some(service_spec::Mode::Replicated(ReplicatedService { replicas })))
        }
    }
}

fn update_config(config: &mut Option<UpdateConfig>, given: &docker::UpdateConfig, may_roll_back: bool) -> Result<()> {
    let config =
        config.get_or_insert_with(|| UpdateConfig { parallelism: PARALLELISM_DEFAULT, ..UpdateConfig::default() });
    replace(&mut config.parallelism, given.parallelism.as_ref());
    replace(&mut config.delay_ns, given.delay.as_ref());
    config.monitor_ns = given.monitor.or(config.monitor_ns);
    if let Some(ratio) = given.max_failure_ratio.clone() {
        config.max_failure_ratio = ratio.checked()?.value();
    }
    let refused = |action: &str| format!("invalid failure action {action:?}");
    match word(given.failure_action.as_deref(), refused)? {
        Some(UpdateFailureAction::Rollback) if !may_roll_back => {
            return Err(Error::bad_argument(refused(UpdateFailureAction::Rollback.word())));
        }
        Some(action) => config.set_failure_action(action),
        None => {}
    }
    let order = word(given.order.as_deref(), |order| {
        format!("invalid order {order:?}, only start-first and stop-first are supported")
    })?;
    if let Some(order) = order {
        config.set_order(order);
    }
    Ok(())
}

fn endpoint(endpoint: &mut EndpointSpec, given: &docker::EndpointSpec) -> Result<()> {
    if let Some(ports) = &given.ports {
        endpoint.ports = ports.iter().map(port).collect::<Result<_>>()?;
    }
    let mode = word(given.mode.as_deref(), |mode| {
        format!("invalid endpoint mode {mode:?}, only vip and dnsrr are supported")
    })?;
    if let Some(mode) = mode {
        endpoint.set_mode(mode);
    }
    Ok(())
}

/// A published port.
///
/// # Errors
/// [`ErrorKind::BadArgument`] for a word that is none.
pub(super) fn port(port: &docker::PortConfig) -> Result<PortConfig> {
    let mut wanted = PortConfig {
        name: port.name.clone().unwrap_or_default(),
        target_port: port.target_port.unwrap_or_default(),
        published_port: port.published_port.unwrap_or_default(),
        ..PortConfig::default()
    };
    wanted.set_protocol(word(port.protocol.as_deref(), invalid("PortConfig.Protocol"))?.unwrap_or_default());
    wanted.set_publish_mode(word(port.publish_mode.as_deref(), invalid("PortConfig.PublishMode"))?.unwrap_or_default());
    Ok(wanted)
}

/// A network to be on.
pub(super) fn network(network: &docker::NetworkAttachmentConfig) -> NetworkAttachmentSpec {
    NetworkAttachmentSpec {
        target: network.target.clone().unwrap_or_default(),
        aliases: network.aliases.clone().unwrap_or_default(),
        driver_opts: network.driver_opts.clone().unwrap_or_default(),
    }
}

/// A limit of the processes.
pub(super) fn ulimit(limit: &docker::Ulimit) -> Ulimit {
    Ulimit {
        name: limit.name.clone().unwrap_or_default(),
        soft: limit.soft.unwrap_or_default(),
        hard: limit.hard.unwrap_or_default(),
    }
}

fn task_spec(task: &mut TaskSpec, given: &docker::TaskSpec) -> Result<()> {
    refuse_given("PluginSpec", given.plugin_spec.as_ref())?;
    refuse_given("NetworkAttachmentSpec", given.network_attachment_spec.as_ref())?;
    if let Some(runtime) = given.runtime.as_deref().filter(|runtime| !matches!(*runtime, "" | "container")) {
        return Err(Error::new(ErrorKind::NotSupported, format!("the runtime {runtime:?} is not supported")));
    }
    container(task.container.get_or_insert_default(), &given.container_spec.clone().unwrap_or_default())?;
    if let Some(given) = &given.resources {
        resources(task.resources.get_or_insert_default(), given)?;
    }
    if let Some(given) = &given.restart_policy {
        restart_policy(task.restart.get_or_insert_default(), given)?;
    }
    if let Some(given) = &given.placement {
        placement(task.placement.get_or_insert_default(), given);
    }
    if let Some(given) = &given.log_driver {
        task.log_driver = Some(log_driver(given)?);
    }
    if given.force_update != 0 {
        task.force_update = given.force_update;
    }
    Ok(())
}

fn log_driver(driver: &Driver) -> Result<LogDriver> {
    let name = driver.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(LOG_DRIVER_DEFAULT);
    match name {
        "json-file" | "local" | "none" => {
            Ok(LogDriver { name: name.to_owned(), options: driver.options.clone().unwrap_or_default() })
        }
        _ => Err(Error::bad_argument(format!(
            "logger: no log driver named '{name}' is registered: use json-file or none"
        ))),
    }
}

fn resources(requirements: &mut ResourceRequirements, given: &docker::ResourceRequirements) -> Result<()> {
    if let Some(given) = &given.limits {
        limits::check_memory(given.memory_bytes)?;
        if given.pids.is_some_and(|pids| pids < 0) {
            return Err(Error::bad_argument("--limit-pids cannot be negative"));
        }
        amounts(&mut requirements.limits, given)?;
        replace(&mut requirements.limit_pids, given.pids.as_ref());
    }
    match &given.reservations {
        Some(given) => amounts(&mut requirements.reservations, given),
        None => Ok(()),
    }
}

fn amounts(amounts: &mut Option<Resources>, given: &docker::Amounts) -> Result<()> {
    refuse_given("GenericResources", given.generic_resources.as_ref())?;
    // An empty object asks for nothing.
    if given.nano_cpus.is_some() || given.memory_bytes.is_some() {
        let amounts = amounts.get_or_insert_default();
        replace(&mut amounts.nano_cpus, given.nano_cpus.as_ref());
        replace(&mut amounts.memory_bytes, given.memory_bytes.as_ref());
    }
    Ok(())
}

fn restart_policy(policy: &mut RestartPolicy, given: &docker::RestartPolicy) -> Result<()> {
    let condition = word(given.condition.as_deref(), |condition| {
        format!("invalid restart condition {condition:?}, only none, on-failure and any are supported")
    })?;
    if let Some(condition) = condition {
        policy.set_condition(condition);
    }
    policy.delay_ns = given.delay.or(policy.delay_ns);
    replace(&mut policy.max_attempts, given.max_attempts.as_ref());
    replace(&mut policy.window_ns, given.window.as_ref());
    Ok(())
}

fn placement(placement: &mut Placement, given: &docker::Placement) {
    replace(&mut placement.constraints, given.constraints.as_ref());
    replace(&mut placement.max_replicas_per_node, given.max_replicas.as_ref());
    if let Some(preferences) = &given.preferences {
        let spread = preferences.iter().filter_map(|preference| preference.spread.as_ref());
        placement.spread = spread.map(|spread| spread.spread_descriptor.clone()).collect();
    }
    if let Some(platforms) = &given.platforms {
        let platform = |platform: &docker::Platform| Platform {
            architecture: platform.architecture.clone().unwrap_or_default(),
            os: platform.os.clone().unwrap_or_default(),
        };
        placement.platforms = platforms.iter().map(platform).collect();
    }
}

fn container(container: &mut ContainerSpec, given: &docker::ContainerSpec) -> Result<()> {
    refuse_given("Privileges", given.privileges.as_ref())?;
    refuse_given("Secrets", given.secrets.as_ref())?;
    refuse_given("Configs", given.configs.as_ref())?;
    if given.init == Some(true) {
        let reason = "--init is not supported: let the image bring an init such as tini as its entrypoint";
        return Err(Error::new(ErrorKind::NotSupported, reason));
    }
    replace(&mut container.image, given.image.as_ref());
    replace(&mut container.labels, given.labels.as_ref());
    replace(&mut container.command, given.command.as_ref());
    replace(&mut container.args, given.args.as_ref());
    replace(&mut container.hostname, given.hostname.as_ref());
    replace(&mut container.env, given.env.as_ref());
    replace(&mut container.dir, given.dir.as_ref());
    replace(&mut container.user, given.user.as_ref());
    replace(&mut container.groups, given.groups.as_ref());
    replace(&mut container.tty, given.tty.as_ref());
    replace(&mut container.open_stdin, given.open_stdin.as_ref());
    replace(&mut container.read_only, given.read_only.as_ref());
    replace(&mut container.stop_signal, given.stop_signal.as_ref());
    container.stop_grace_period_ns = given.stop_grace_period.or(container.stop_grace_period_ns);
    replace(&mut container.hosts, given.hosts.as_ref());
    replace(&mut container.sysctls, given.sysctls.as_ref());
    replace(&mut container.cap_add, given.capability_add.as_ref());
    replace(&mut container.cap_drop, given.capability_drop.as_ref());
    replace(&mut container.oom_score_adj, given.oom_score_adj.as_ref());
    if let Some(dns) = &given.dns_config {
        replace(&mut container.dns_nameservers, dns.nameservers.as_ref());
        replace(&mut container.dns_search, dns.search.as_ref());
        replace(&mut container.dns_options, dns.options.as_ref());
    }
    if let Some(mounts) = &given.mounts {
        container.mounts = mounts.iter().map(mount).collect::<Result<_>>()?;
    }
    if let Some(ulimits) = &given.ulimits {
        container.ulimits = ulimits.iter().map(ulimit).collect();
    }
    if let Some(given) = &given.healthcheck {
        health_check(container.health_check.get_or_insert_default(), given);
    }
    Ok(())
}

/// In a health check, nought says nothing: it is the image's, or the default.
fn health_check(check: &mut HealthCheck, given: &HealthConfig) {
    replace(&mut check.test, given.test.as_ref().filter(|test| !test.is_empty()));
    let set = |field: &mut i64, given: Option<i64>| replace(field, given.filter(|value| *value != 0).as_ref());
    set(&mut check.interval_ns, given.interval);
    set(&mut check.timeout_ns, given.timeout);
    set(&mut check.start_period_ns, given.start_period);
    set(&mut check.start_interval_ns, given.start_interval);
    if let Some(retries) = given.retries.filter(|retries| *retries > 0) {
        check.retries = u32::try_from(retries).unwrap_or(u32::MAX);
    }
}

/// A mount.
///
/// # Errors
/// [`ErrorKind::BadArgument`] for what cannot be, [`ErrorKind::NotSupported`] for what tasks do not have.
pub(super) fn mount(given: &docker_mount::Mount) -> Result<Mount> {
    let wanted = from_docker(given)?;
    refuse("VolumeOptions.Subpath", &wanted.volume_subpath)?;
    refuse("BindOptions.NonRecursive", &wanted.not_recursive)?;
    mount::check(&wanted).map_err(Error::bad_argument)?;
    Ok(mount::to_api(&wanted))
}

#[cfg(test)]
mod tests;
