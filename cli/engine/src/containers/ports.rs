//! The ports of a container that is to be made: exposed ones, and published ones, of which each gets one of the ports of
//! the host that are asked for.

use std::net::Ipv4Addr;

use skep_common::port::{parse_exposed, parse_range};
use skep_net::{Net, PortMapping, PortProtocol, Sandbox};

use crate::docker::create::PortBinding;
use crate::docker::{Empty, Named};
use crate::error::{Error, Result};

/// The exposed ports, one by one.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`].
pub(super) fn exposed(asked: &Named<Empty>) -> Result<Vec<String>> {
    let mut ports = Vec::new();
    for text in asked.names() {
        let (first, last, protocol) = parse_exposed(text)
            .ok_or_else(|| Error::bad_argument(format!("invalid range format for --expose: {text}")))?;
        ports.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    }
    Ok(ports)
}

/// A port to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    address: Option<Ipv4Addr>,
    /// First and last of the host's ports that would do; none: any.
    host: Option<(u16, u16)>,
    container: u16,
    protocol: PortProtocol,
}

/// The published ports, each with a port of the host from the range that is asked for.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`], or the containers' ports cannot be read.
pub(super) fn published(net: &Net, asked: &Named<Option<Vec<PortBinding>>>) -> Result<Vec<PortMapping>> {
    let mut ports = Vec::new();
    for (key, bindings) in asked.iter() {
        for binding in bindings.iter().flatten() {
            ports.push(wanted(key, binding)?);
        }
    }
    let taken = match ports.iter().any(|port| port.host.is_some_and(|(first, last)| first != last)) {
        true => net.sandboxes()?,
        false => Vec::new(),
    };
    Ok(ports.iter().map(|port| mapping(port, &taken)).collect())
}

fn wanted(key: &str, binding: &PortBinding) -> Result<Wanted> {
    let (container, _, protocol) = parse_exposed(key)
        .filter(|(first, last, _)| first == last)
        .ok_or_else(|| Error::bad_argument(format!("invalid containerPort: {key}")))?;
    let address = match binding.host_ip.as_str() {
        "" | "0.0.0.0" => None,
        text => {
            let invalid =
                || Error::bad_argument(format!("invalid IP address: {text}: ports are published on IPv4 only"));
            Some(text.parse().map_err(|_| invalid())?)
        }
    };
    let host = match binding.host_port.as_str() {
        "" | "0" => None,
        text => Some(parse_range(text).ok_or_else(|| Error::bad_argument(format!("invalid hostPort: {text}")))?),
    };
    Ok(Wanted { address, host, container, protocol })
}

fn mapping(port: &Wanted, taken: &[Sandbox]) -> PortMapping {
    let is_free = |number: u16| {
        !taken.iter().flat_map(|sandbox| &sandbox.ports).any(|bound| {
            bound.host_port == number
                && bound.protocol == port.protocol
                && port.address.is_none_or(|address| bound.host_ip.is_unspecified() || bound.host_ip == address)
        })
    };
    let host_port =
        port.host.map(|(first, last)| (first..=last).find(|number| first == last || is_free(*number)).unwrap_or(first));
    PortMapping { host_ip: port.address, host_port, container_port: port.container, protocol: port.protocol }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::PathBuf;

    use skep_net::{BoundPort, SandboxId};

    use super::*;

    #[test]
    fn exposed_ports_are_listed_one_by_one() {
        let asked = [("80/tcp".to_owned(), Empty {}), ("90-91/udp".to_owned(), Empty {})].into_iter().collect();
        assert_eq!(exposed(&asked).unwrap(), ["80/tcp", "90/udp", "91/udp"]);
    }

    #[test]
    fn a_range_gives_the_first_that_is_free() {
        let bound = |host_port| BoundPort {
            host_ip: Ipv4Addr::UNSPECIFIED,
            host_port,
            container_port: 80,
            protocol: PortProtocol::Tcp,
        };
        let other = Sandbox {
            id: SandboxId::new("0".repeat(64)).unwrap(),
            name: "other".to_owned(),
            namespace: PathBuf::new(),
            endpoints: Vec::new(),
            ports: vec![bound(8000), bound(8001)],
            dns: None,
        };
        let choose = |host_port: &str| {
            let binding = PortBinding { host_ip: String::new(), host_port: host_port.to_owned() };
            mapping(&wanted("80/tcp", &binding).unwrap(), std::slice::from_ref(&other)).host_port
        };
        assert_eq!(choose("8000-8010"), Some(8002));
        assert_eq!(choose("8000"), Some(8000));
        assert_eq!(choose(""), None);
        assert_eq!(choose("8000-8001"), Some(8000));
    }

    #[test]
    fn refuses_what_it_cannot_publish() {
        let refused = |key: &str, host_ip: &str, host_port: &str| {
            let binding = PortBinding { host_ip: host_ip.to_owned(), host_port: host_port.to_owned() };
            wanted(key, &binding).unwrap_err().to_string()
        };
        assert!(refused("80/tcp", "::1", "").starts_with("invalid IP address: ::1"));
        assert_eq!(refused("80/tcp", "", "x"), "invalid hostPort: x");
        assert_eq!(refused("x/tcp", "", ""), "invalid containerPort: x/tcp");
    }
}
