//! Exposed ports, and which of them are published.
//!
//! Called by [`super::resolve`].

use skep_common::port::parse_exposed;
use skep_image::ImageConfig;
use skep_net::PortMapping;

use crate::records::config::ContainerConfig;

/// Ports (`80/tcp`) that the image or the user exposes or that are published, each once.
pub(super) fn exposed(config: &ContainerConfig, image: &ImageConfig) -> Vec<String> {
    let mut exposed_ports = image.exposed_ports.clone();
    exposed_ports.extend(config.exposed_ports.iter().cloned());
    exposed_ports.extend(config.ports.iter().map(|port| format!("{}/{}", port.container_port, port.protocol)));
    exposed_ports.sort();
    exposed_ports.dedup();
    exposed_ports
}

/// The ports that the user publishes, with `-P` all of `exposed` besides.
pub(super) fn published(config: &ContainerConfig, exposed: &[String]) -> Vec<PortMapping> {
    let mut ports = config.ports.clone();
    if config.publish_all {
        publish_exposed(&mut ports, exposed);
    }
    ports
}

fn publish_exposed(ports: &mut Vec<PortMapping>, exposed: &[String]) {
    for text in exposed {
        let Some((first, last, protocol)) = parse_exposed(text) else { continue };
        for container_port in first..=last {
            let published = |other: &PortMapping| other.container_port == container_port && other.protocol == protocol;
            if !ports.iter().any(published) {
                ports.push(PortMapping { host_ip: None, host_port: None, container_port, protocol });
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use skep_net::{PortMapping, PortProtocol};

    use crate::records::config::ContainerConfig;
    use crate::records::resolve::fixtures::image;
    use crate::records::resolve::resolve;

    #[test]
    fn publishing_all_adds_what_is_not_published() {
        let port =
            PortMapping { host_ip: None, host_port: Some(8080), container_port: 80, protocol: PortProtocol::Tcp };
        let config = ContainerConfig { publish_all: true, ports: vec![port], ..Default::default() };
        let ports = resolve(&config, &image()).unwrap().ports;
        assert_eq!(ports.len(), 2);
        assert_eq!((ports[1].container_port, ports[1].protocol, ports[1].host_port), (53, PortProtocol::Udp, None));
    }
}
