//! `service ls`.

use anyhow::Result;
use serde_json::{Value, json};
use skep_engine::docker::service::{PortConfig, Service};
use skep_engine::services::ListServices;

use super::image;
use crate::args::service::List as Flags;
use crate::context::{self, Node};
use crate::format::human;
use crate::format::output::List;
use crate::parse::filter;

/// The order of a service's ports.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// `service ls`
pub(crate) fn run(node: &Node, args: &Flags) -> Result<i32> {
    let request = ListServices { filters: filter::all(&args.list.filter) };
    request.check()?;
    let found = context::block_on(async { Ok(node.engine().swarm().await?.list_services(&request).await?) })?;
    let rows = found.iter().map(row).collect();
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

fn row(service: &Service) -> Value {
    let task = &service.spec.task_template;
    let per_node = task.placement.as_ref().and_then(|placement| placement.max_replicas).unwrap_or_default();
    let limit = if per_node > 0 { format!(" (max {per_node} per node)") } else { String::new() };
    let image = task.container_spec.as_ref().and_then(|container| container.image.as_deref());
    let counts = service.service_status.clone().unwrap_or_default();
    json!({
        "ID": human::short_id(&service.id),
        "Name": service.name(),
        "Mode": service.spec.mode.word(),
        "Replicas": format!("{}/{}{limit}", counts.running_tasks, counts.desired_tasks),
        "Image": image.map(image::shown).unwrap_or_default(),
        "Ports": ports(service),
        "Label": service.spec.labels,
    })
}

fn ports(service: &Service) -> String {
    let ports = service.endpoint.ports.iter().flatten();
    let mut ports: Vec<&PortConfig> = ports.filter(|port| port.publish_mode.as_deref() == Some("ingress")).collect();
    let rank = |port: &PortConfig| PROTOCOLS.iter().position(|protocol| *protocol == protocol_of(port));
    ports.sort_by_key(|port| (rank(port), port.published_port));
    merged(ports)
}

fn protocol_of(port: &PortConfig) -> &str {
    port.protocol.as_deref().unwrap_or("tcp")
}

/// `*:8080->80/tcp`; ports in a row become a range.
pub(crate) fn merged<'a>(ports: impl IntoIterator<Item = &'a PortConfig>) -> String {
    let numbers = |port: &PortConfig| (port.published_port.unwrap_or_default(), port.target_port.unwrap_or_default());
    let mut ranges: Vec<(&PortConfig, u32)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((first, more))
                if protocol_of(first) == protocol_of(port) && {
                    let (published, target) = numbers(first);
                    numbers(port) == (published + *more + 1, target + *more + 1)
                } =>
            {
                *more += 1;
            }
            _ => ranges.push((port, 0)),
        }
    }
    let shown = ranges.iter().map(|(first, more)| {
        let range = |port: u32| if *more == 0 { port.to_string() } else { format!("{port}-{}", port + more) };
        let (published, target) = numbers(first);
        format!("*:{}->{}/{}", range(published), range(target), protocol_of(first))
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_ranges() {
        let port = |published, target| PortConfig {
            published_port: Some(published),
            target_port: Some(target),
            ..PortConfig::default()
        };
        assert_eq!(merged(&[port(8080, 80)]), "*:8080->80/tcp");
        assert_eq!(merged(&[port(8080, 80), port(8081, 81), port(9000, 90)]), "*:8080-8081->80-81/tcp, *:9000->90/tcp");
    }

    #[test]
    fn orders_ports_by_protocol_and_number() {
        let port = |protocol: &str, published| PortConfig {
            protocol: Some(protocol.to_owned()),
            published_port: Some(published),
            target_port: Some(1),
            publish_mode: Some("ingress".to_owned()),
            ..PortConfig::default()
        };
        let on_node = PortConfig { publish_mode: Some("host".to_owned()), ..port("tcp", 1) };
        let mut service = Service::default();
        service.endpoint.ports = Some(vec![port("sctp", 2), port("udp", 3), on_node, port("tcp", 9), port("tcp", 8)]);
        assert_eq!(ports(&service), "*:8->1/tcp, *:9->1/tcp, *:3->1/udp, *:2->1/sctp");
    }
}
