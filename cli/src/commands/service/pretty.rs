//! `service inspect --pretty`.

use std::fmt::Write;

use skep_cluster::api::{
    ContainerSpec, Network, Resources, Service, TaskSpec, UpdateConfig, UpdateState, service_spec,
};
use skep_common::duration;
use skep_engine::services::words::Word;
use skep_engine::swarm::facts::Named;

use crate::format::human;

/// One service, for people.
pub fn page(service: &Service, networks: &[Network]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    write_page(&mut text, service, networks).ok();
    text
}

fn write_page(text: &mut String, service: &Service, networks: &[Network]) -> std::fmt::Result {
    let spec = service.spec.clone().unwrap_or_default();
    writeln!(text, "\nID:\t\t{}\nName:\t\t{}", service.id, service.name())?;
    let labels = spec.annotations.unwrap_or_default().labels;
    if !labels.is_empty() {
        writeln!(text, "Labels:")?;
        for (key, value) in &labels {
            writeln!(text, " {key}={value}")?;
        }
    }
    match &spec.mode {
        Some(service_spec::Mode::Global(_)) => writeln!(text, "Service Mode:\tGlobal")?,
        Some(service_spec::Mode::Replicated(mode)) => {
            writeln!(text, "Service Mode:\tReplicated\n Replicas:\t{}", mode.replicas)?;
        }
        None => {}
    }
    update_status(text, service)?;
    let task = spec.task.unwrap_or_default();
    writeln!(text, "Placement:")?;
    let placement = task.placement.clone().unwrap_or_default();
    if !placement.constraints.is_empty() {
        writeln!(text, " Constraints:\t[{}]", placement.constraints.join(" "))?;
    }
    if !placement.spread.is_empty() {
        writeln!(text, " Preferences:\t[spread={}]", placement.spread.join(" spread="))?;
    }
    if placement.max_replicas_per_node > 0 {
        writeln!(text, " Max Replicas Per Node:\t{}", placement.max_replicas_per_node)?;
    }
    update_config(text, "UpdateConfig", spec.update.as_ref(), "update")?;
    update_config(text, "RollbackConfig", spec.rollback.as_ref(), "rollback")?;
    container(text, &task.container.clone().unwrap_or_default())?;
    resources(text, &task)?;
    attached(text, &task, networks)?;
    let endpoint = service.endpoint.clone().unwrap_or_default();
    writeln!(text, "Endpoint Mode:\t{}", endpoint.mode().word())?;
    if !endpoint.ports.is_empty() {
        writeln!(text, "Ports:")?;
        for port in &endpoint.ports {
            let mode = port.publish_mode().word();
            writeln!(
                text,
                " PublishedPort = {}\n  Protocol = {}\n  TargetPort = {}\n  PublishMode = {mode}",
                port.published_port,
                port.protocol().word(),
                port.target_port
            )?;
        }
    }
    if !service.allocation_error.is_empty() {
        writeln!(text, "Allocation Error:\t{}", service.allocation_error)?;
    }
    Ok(())
}

fn update_status(text: &mut String, service: &Service) -> std::fmt::Result {
    let Some(status) = service.update_status.as_ref().filter(|status| status.state() != UpdateState::Unknown) else {
        return Ok(());
    };
    writeln!(text, "UpdateStatus:\n State:\t\t{}", status.state().word())?;
    let now = jiff::Timestamp::now();
    if let Some(started) = human::timestamp(status.started_at_ns) {
        writeln!(text, " Started:\t{}", human::ago(started, now))?;
    }
    if let Some(completed) = human::timestamp(status.completed_at_ns) {
        writeln!(text, " Completed:\t{}", human::ago(completed, now))?;
    }
    writeln!(text, " Message:\t{}", status.message)
}

fn update_config(text: &mut String, title: &str, config: Option<&UpdateConfig>, verb: &str) -> std::fmt::Result {
    let default = UpdateConfig { parallelism: 1, ..UpdateConfig::default() };
    let config = config.unwrap_or(&default);
    let (action, order) = (config.failure_action().word(), config.order().word());
    writeln!(text, "{title}:\n Parallelism:\t{}", config.parallelism)?;
    if config.delay_ns > 0 {
        writeln!(text, " Delay:\t\t{}", duration::display(config.delay_ns))?;
    }
    writeln!(
        text,
        " On failure:\t{action}\n Monitoring Period: {}\n Max failure ratio: {}\n {} order:      {order}",
        duration::display(config.monitor_ns.unwrap_or(5_000_000_000)),
        config.max_failure_ratio,
        if verb == "update" { "Update" } else { "Rollback" },
    )
}

fn container(text: &mut String, spec: &ContainerSpec) -> std::fmt::Result {
    writeln!(text, "ContainerSpec:\n Image:\t\t{}", spec.image)?;
    let words = |text: &mut String, title: &str, list: &[String]| match list.is_empty() {
        true => Ok(()),
        false => writeln!(text, " {title}:\t\t{}", list.join(" ")),
    };
    words(text, "Command", &spec.command)?;
    words(text, "Args", &spec.args)?;
    words(text, "Env", &spec.env)?;
    if !spec.dir.is_empty() {
        writeln!(text, " Dir:\t\t{}", spec.dir)?;
    }
    if !spec.user.is_empty() {
        writeln!(text, " User: {}", spec.user)?;
    }
    if !spec.mounts.is_empty() {
        writeln!(text, "Mounts:")?;
        for mount in &spec.mounts {
            writeln!(
                text,
                " Target:\t{}\n  Source:\t{}\n  ReadOnly:\t{}\n  Type:\t\t{}",
                mount.target,
                mount.source,
                mount.read_only,
                mount.r#type().word()
            )?;
        }
    }
    Ok(())
}

fn resources(text: &mut String, task: &TaskSpec) -> std::fmt::Result {
    let requirements = task.resources.clone().unwrap_or_default();
    writeln!(text, "Resources:")?;
    let part = |text: &mut String, title: &str, part: Option<&Resources>| {
        let Some(part) = part.filter(|part| part.nano_cpus > 0 || part.memory_bytes > 0) else { return Ok(()) };
        writeln!(text, " {title}:")?;
        if part.nano_cpus > 0 {
            writeln!(text, "  CPU:\t\t{}", part.nano_cpus as f64 / 1e9)?;
        }
        if part.memory_bytes > 0 {
            writeln!(text, "  Memory:\t{}", human::binary_size(part.memory_bytes as f64))?;
        }
        Ok(())
    };
    part(text, "Reservations", requirements.reservations.as_ref())?;
    part(text, "Limits", requirements.limits.as_ref())
}

fn attached(text: &mut String, task: &TaskSpec, networks: &[Network]) -> std::fmt::Result {
    if task.networks.is_empty() {
        return Ok(());
    }
    let name = |target: &str| {
        let network = networks.iter().find(|network| network.id == target);
        network.map_or_else(|| target.to_owned(), |network| network.name().to_owned())
    };
    let names: Vec<String> = task.networks.iter().map(|network| name(&network.target)).collect();
    writeln!(text, "Networks: {}", names.join(" "))
}
