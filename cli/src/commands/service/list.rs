//! `service ls`.

use anyhow::Result;
use serde_json::{Value, json};
use skep_cluster::api::{PortConfig, PublishMode, Service, ServiceCounts, service_spec};
use skep_engine::services::words::Word;
use skep_engine::swarm::facts::Named;

use super::image;
use crate::args::service::List as Flags;
use crate::context::{self, Node};
use crate::format::human;
use crate::format::output::List;
use crate::parse::filter;

/// `service ls`
pub fn run(node: &Node, args: &Flags) -> Result<i32> {
    let filters = filter::known(&args.list.filter, &["id", "label", "mode", "name"])?;
    let mut found = context::block_on(async { Ok(node.engine().swarm().await?.services().await?) })?;
    found.retain(|(service, _)| {
        let annotations = service.spec.clone().unwrap_or_default().annotations.unwrap_or_default();
        filters.any("id", |id| service.id.starts_with(id))
            && filters.any("name", |name| annotations.name.starts_with(name))
            && filters.any("mode", |wanted| wanted == mode(service))
            && filters.labels("label", &annotations.labels)
    });
    found.sort_by(|(a, _), (b, _)| a.name().cmp(b.name()));
    let rows = found.iter().map(|(service, counts)| row(service, counts)).collect();
    let list = List {
        columns: &[
            ("ID", "ID"),
            ("NAME", "Name"),
            ("MODE", "Mode"),
            ("REPLICAS", "Replicas"),
            ("IMAGE", "Image"),
            ("PORTS", "Ports"),
        ],
        more: &[],
        rows,
    };
    list.print(args.list.format.as_deref(), args.list.quiet.then_some("ID"))?;
    Ok(0)
}

/// `replicated` or `global`.
pub fn mode(service: &Service) -> &'static str {
    match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
        Some(service_spec::Mode::Global(_)) => "global",
        _ => "replicated",
    }
}

fn row(service: &Service, counts: &ServiceCounts) -> Value {
    let task = service.spec.as_ref().and_then(|spec| spec.task.as_ref());
    let per_node = task.and_then(|task| task.placement.as_ref()).map_or(0, |placement| placement.max_replicas_per_node);
    let limit = if per_node > 0 { format!(" (max {per_node} per node)") } else { String::new() };
    let container = task.and_then(|task| task.container.as_ref());
    json!({
        "ID": human::short_id(&service.id),
        "Name": service.name(),
        "Mode": mode(service),
        "Replicas": format!("{}/{}{limit}", counts.running, counts.desired),
        "Image": container.map(|container| image::shown(&container.image)).unwrap_or_default(),
        "Ports": ports(service),
        "Label": service.spec.as_ref().and_then(|spec| spec.annotations.as_ref()).map(|annotations| &annotations.labels),
    })
}

fn ports(service: &Service) -> String {
    let endpoint = service.endpoint.clone().unwrap_or_default();
    let mut ports: Vec<PortConfig> =
        endpoint.ports.into_iter().filter(|port| port.publish_mode() == PublishMode::Ingress).collect();
    ports.sort_by_key(|port| (port.protocol, port.published_port));
    merged(&ports)
}

/// `*:8080->80/tcp`; ports in a row become a range.
pub fn merged(ports: &[PortConfig]) -> String {
    let mut ranges: Vec<(PortConfig, u32)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((first, more))
                if first.protocol == port.protocol
                    && first.published_port + *more + 1 == port.published_port
                    && first.target_port + *more + 1 == port.target_port =>
            {
                *more += 1;
            }
            _ => ranges.push((port.clone(), 0)),
        }
    }
    let shown = ranges.iter().map(|(first, more)| {
        let range = |port: u32| if *more == 0 { port.to_string() } else { format!("{port}-{}", port + more) };
        format!("*:{}->{}/{}", range(first.published_port), range(first.target_port), first.protocol().word())
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_ranges() {
        let port = |published_port, target_port| PortConfig { published_port, target_port, ..PortConfig::default() };
        assert_eq!(merged(&[port(8080, 80)]), "*:8080->80/tcp");
        assert_eq!(merged(&[port(8080, 80), port(8081, 81), port(9000, 90)]), "*:8080-8081->80-81/tcp, *:9000->90/tcp");
    }
}
