//! `service inspect --pretty`.

use std::fmt::Write;

use skep_common::duration;
use skep_engine::docker;
use skep_engine::docker::network::Network;
use skep_engine::docker::service::{
    Amounts, ContainerSpec, PortConfig, Ratio, ResourceRequirements, Service, TaskSpec, UpdateConfig,
};

use crate::format::human;

/// How long a new task is watched where the service does not say, nanoseconds.
const MONITOR_NS: i64 = 5_000_000_000;

/// One service, for people.
pub(crate) fn page(service: &Service, networks: &[Network]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    write_page(&mut text, service, networks).ok();
    text
}

/// What a field says; nothing where it is missing.
fn said(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

fn write_page(text: &mut String, service: &Service, networks: &[Network]) -> std::fmt::Result {
    let spec = &service.spec;
    writeln!(text, "\nID:\t\t{}\nName:\t\t{}", service.id, service.name())?;
    if let Some(labels) = spec.labels.as_ref().filter(|labels| !labels.is_empty()) {
        writeln!(text, "Labels:")?;
        for (key, value) in labels {
            writeln!(text, " {key}={value}")?;
        }
    }
    match (&spec.mode.global, &spec.mode.replicated) {
        (Some(_), _) => writeln!(text, "Service Mode:\tGlobal")?,
        (None, Some(mode)) => {
            writeln!(text, "Service Mode:\tReplicated\n Replicas:\t{}", mode.replicas.unwrap_or_default())?;
        }
        (None, None) => {}
    }
    update_status(text, service)?;
    let task = &spec.task_template;
    placement(text, task)?;
    update_config(text, "UpdateConfig", spec.update_config.as_ref(), "Update")?;
    update_config(text, "RollbackConfig", spec.rollback_config.as_ref(), "Rollback")?;
    container(text, &task.container_spec.clone().unwrap_or_default())?;
    resources(text, &task.resources.clone().unwrap_or_default())?;
    attached(text, task, networks)?;
    let mode = spec.endpoint_spec.as_ref().map_or("", |endpoint| said(&endpoint.mode));
    writeln!(text, "Endpoint Mode:\t{mode}")?;
    ports(text, service.endpoint.ports.as_deref().unwrap_or_default())?;
    match &service.allocation_error {
        Some(error) => writeln!(text, "Allocation Error:\t{error}"),
        None => Ok(()),
    }
}

fn update_status(text: &mut String, service: &Service) -> std::fmt::Result {
    let Some(status) = &service.update_status else { return Ok(()) };
    writeln!(text, "UpdateStatus:\n State:\t\t{}", said(&status.state))?;
    let now = jiff::Timestamp::now();
    if let Some(started) = docker::moment(said(&status.started_at)) {
        writeln!(text, " Started:\t{}", human::ago(started, now))?;
    }
    if let Some(completed) = docker::moment(said(&status.completed_at)) {
        writeln!(text, " Completed:\t{}", human::ago(completed, now))?;
    }
    writeln!(text, " Message:\t{}", said(&status.message))
}

fn placement(text: &mut String, task: &TaskSpec) -> std::fmt::Result {
    writeln!(text, "Placement:")?;
    let placement = task.placement.clone().unwrap_or_default();
    if let Some(constraints) = placement.constraints {
        writeln!(text, " Constraints:\t[{}]", constraints.join(" "))?;
    }
    if let Some(preferences) = placement.preferences {
        let spread = preferences.iter().filter_map(|preference| preference.spread.as_ref());
        let spread: Vec<String> = spread.map(|spread| format!("spread={}", spread.spread_descriptor)).collect();
        writeln!(text, " Preferences:\t[{}]", spread.join(" "))?;
    }
    match placement.max_replicas {
        Some(limit) => writeln!(text, " Max Replicas Per Node:\t{limit}"),
        None => Ok(()),
    }
}

fn update_config(text: &mut String, title: &str, config: Option<&UpdateConfig>, what: &str) -> std::fmt::Result {
    let or = |word: Option<&str>, default: &str| word.unwrap_or(default).to_owned();
    let action = or(config.and_then(|config| config.failure_action.as_deref()), "pause");
    let order = or(config.and_then(|config| config.order.as_deref()), "stop-first");
    let parallelism = config.and_then(|config| config.parallelism).unwrap_or(1);
    writeln!(text, "{title}:\n Parallelism:\t{parallelism}")?;
    if let Some(delay) = config.and_then(|config| config.delay).filter(|delay| *delay > 0) {
        writeln!(text, " Delay:\t\t{}", duration::display(delay))?;
    }
    let monitor = config.and_then(|config| config.monitor).unwrap_or(MONITOR_NS);
    let ratio = config.and_then(|config| config.max_failure_ratio.as_ref()).map_or(0.0, Ratio::value);
    writeln!(
        text,
        " On failure:\t{action}\n Monitoring Period: {}\n Max failure ratio: {ratio}\n {what} order:      {order}",
        duration::display(monitor),
    )
}

fn container(text: &mut String, spec: &ContainerSpec) -> std::fmt::Result {
    writeln!(text, "ContainerSpec:\n Image:\t\t{}", said(&spec.image))?;
    let words = |text: &mut String, title: &str, list: &Option<Vec<String>>| match list {
        None => Ok(()),
        Some(list) => writeln!(text, " {title}:\t\t{}", list.join(" ")),
    };
    words(text, "Command", &spec.command)?;
    words(text, "Args", &spec.args)?;
    words(text, "Env", &spec.env)?;
    if let Some(dir) = &spec.dir {
        writeln!(text, " Dir:\t\t{dir}")?;
    }
    if let Some(user) = &spec.user {
        writeln!(text, " User: {user}")?;
    }
    let Some(mounts) = &spec.mounts else { return Ok(()) };
    writeln!(text, "Mounts:")?;
    for mount in mounts {
        writeln!(
            text,
            " Target:\t{}\n  Source:\t{}\n  ReadOnly:\t{}\n  Type:\t\t{}",
            mount.target,
            mount.source,
            mount.read_only.unwrap_or_default(),
            mount.kind
        )?;
    }
    Ok(())
}

fn resources(text: &mut String, requirements: &ResourceRequirements) -> std::fmt::Result {
    writeln!(text, "Resources:")?;
    let part = |text: &mut String, title: &str, part: Option<&Amounts>| {
        let positive = |amount: Option<i64>| amount.filter(|amount| *amount > 0);
        let cpus = positive(part.and_then(|part| part.nano_cpus));
        let memory = positive(part.and_then(|part| part.memory_bytes));
        if cpus.is_some() || memory.is_some() {
            writeln!(text, " {title}:")?;
        }
        if let Some(cpus) = cpus {
            writeln!(text, "  CPU:\t\t{}", cpus as f64 / 1e9)?;
        }
        if let Some(memory) = memory {
            writeln!(text, "  Memory:\t{}", human::binary_size(memory as f64))?;
        }
        Ok(())
    };
    part(text, "Reservations", requirements.reservations.as_ref())?;
    part(text, "Limits", requirements.limits.as_ref())
}

fn attached(text: &mut String, task: &TaskSpec, networks: &[Network]) -> std::fmt::Result {
    let Some(attached) = &task.networks else { return Ok(()) };
    let name = |target: &str| {
        let network = networks.iter().find(|network| network.id == target);
        network.map_or_else(|| target.to_owned(), |network| network.name.clone())
    };
    let names: Vec<String> = attached.iter().map(|network| name(said(&network.target))).collect();
    writeln!(text, "Networks: {}", names.join(" "))
}

fn ports(text: &mut String, ports: &[PortConfig]) -> std::fmt::Result {
    if !ports.is_empty() {
        writeln!(text, "Ports:")?;
    }
    for port in ports {
        writeln!(
            text,
            " PublishedPort = {}\n  Protocol = {}\n  TargetPort = {}\n  PublishMode = {}",
            port.published_port.unwrap_or_default(),
            said(&port.protocol),
            port.target_port.unwrap_or_default(),
            said(&port.publish_mode)
        )?;
    }
    Ok(())
}
