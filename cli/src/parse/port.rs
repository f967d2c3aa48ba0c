//! Published ports: `[[IP:][HOST[-RANGE]]:]CONTAINER[-RANGE][/PROTOCOL]`, and the long form of services.

use std::fmt;
use std::net::Ipv4Addr;

use skep_common::port::{PortProtocolError, parse_exposed, parse_range, split_protocol};
use skep_engine::docker::service::PortConfig;
use skep_net::PortProtocol;

use super::csv;

/// One published port, before a range of host ports is narrowed to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortSpec {
    /// Address to publish on.
    pub host_ip: Option<Ipv4Addr>,
    /// First and last possible host port; `None` for any.
    pub host: Option<(u16, u16)>,
    /// Port in the container.
    pub container: u16,
    /// Protocol.
    pub protocol: PortProtocol,
}

/// `80` or `8000-8010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range(u16, u16);

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { write!(formatter, "{}", self.0) } else { write!(formatter, "{}-{}", self.0, self.1) }
    }
}

fn range(text: &str) -> Option<Range> {
    parse_range(text).map(|(first, last)| Range(first, last))
}

/// `IP`, host part and container part of a specification.
fn parts(spec: &str) -> Result<(Option<&str>, &str, &str), String> {
    if let Some(rest) = spec.strip_prefix('[') {
        let (address, _) = rest.split_once(']').ok_or_else(|| format!("invalid IP address: {spec}"))?;
        return Err(format!("invalid IP address: {address}: ports are published on IPv4 addresses only"));
    }
    match *spec.split(':').collect::<Vec<_>>().as_slice() {
        [container] => Ok((None, "", container)),
        [host, container] => Ok((None, host, container)),
        [address, host, container] => Ok((Some(address), host, container)),
        _ => Err(format!("invalid port specification: {spec:?}")),
    }
}

/// One `-p` of `run`: one or, of ranges, several ports.
pub(crate) fn published(spec: &str) -> Result<Vec<PortSpec>, String> {
    let (address, host_text, container) = parts(spec)?;
    let (container, protocol_text) = split_protocol(container);
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let Range(first, last) =
        range(container).filter(|range| range.0 > 0).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    let protocol: PortProtocol = protocol_text.parse().map_err(|error: PortProtocolError| error.to_string())?;
    let host_ip = match address {
        None | Some("" | "0.0.0.0") => None,
        Some(text) => Some(text.parse().map_err(|_| format!("invalid IP address: {text}"))?),
    };
    let host = match host_text {
        "" => None,
        text => Some(range(text).ok_or_else(|| format!("invalid hostPort: {text}"))?),
    };
    let host = host.filter(|range| *range != Range(0, 0));
    if let Some(host) = host
        && last - first != host.1 - host.0
        && first != last
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {} and {host}",
            Range(first, last)
        ));
    }
    let each = (first..=last).map(|port| {
        let host = host.map(|Range(low, high)| match first == last {
            true => (low, high),
            false => (low + (port - first), low + (port - first)),
        });
        PortSpec { host_ip, host, container: port, protocol }
    });
    Ok(each.collect())
}

/// `80`, `80/udp` or `8000-8010/tcp` of `--expose` and of an image.
pub(crate) fn exposed(spec: &str) -> Result<Vec<(u16, PortProtocol)>, String> {
    let ports = parse_exposed(spec).ok_or_else(|| format!("invalid range format for --expose: {spec}"))?;
    let (first, last, protocol) = ports;
    Ok((first..=last).map(|port| (port, protocol)).collect())
}

/// One `--publish` of a service, short or long.
pub(crate) fn service(spec: &str) -> Result<Vec<PortConfig>, String> {
    if !spec.contains('=') {
        return short_service(spec);
    }
    let mut port = PortConfig::default();
    for field in csv::fields(spec)? {
        let lower = field.to_ascii_lowercase();
        let (key, value) =
            lower.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| format!("invalid field {field}"))?;
        match key {
            "protocol" => {
                let protocol = match value {
                    "" => PortProtocol::Tcp,
                    text => text.parse().map_err(|_| format!("invalid protocol value {value}"))?,
                };
                port.protocol = Some(protocol.to_string());
            }
            "mode" => {
                if !matches!(value, "ingress" | "host") {
                    return Err(format!("invalid publish mode value {value}"));
                }
                port.publish_mode = Some(value.to_owned());
            }
            "target" => port.target_port = Some(number("target", value)?),
            "published" => port.published_port = Some(number("published", value)?),
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if port.target_port.unwrap_or_default() == 0 {
        return Err("missing mandatory field 'target'".to_owned());
    }
    Ok(vec![port])
}

fn number(which: &str, value: &str) -> Result<u32, String> {
    let invalid = |reason| format!("invalid {which} port ({value}): value must be an integer: {reason}");
    match value.parse::<u64>() {
        Ok(port) if port <= 65535 => Ok(port as u32),
        Ok(_) => Err(invalid("value out of range")),
        Err(_) => Err(invalid("invalid syntax")),
    }
}

fn short_service(spec: &str) -> Result<Vec<PortConfig>, String> {
    if spec.starts_with('[') || spec.matches(':').count() > 1 {
        return Err("hostip is not supported".to_owned());
    }
    let ports = published(spec)?.into_iter().map(|port| {
        let published = match port.host {
            Some((first, last)) if first != last => {
                return Err(format!("invalid publish range {first}-{last} for the single port {}", port.container));
            }
            Some((first, _)) => first,
            None => 0,
        };
        Ok(PortConfig {
            protocol: Some(port.protocol.to_string()),
            target_port: Some(port.container.into()),
            published_port: Some(published.into()),
            ..PortConfig::default()
        })
    });
    ports.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Expected<'a> = (Option<&'a str>, Option<(u16, u16)>, u16, PortProtocol);

    fn check(spec: &str, expected: &[Expected<'_>]) {
        let expected: Vec<PortSpec> = expected
            .iter()
            .map(|(ip, host, container, protocol)| PortSpec {
                host_ip: ip.map(|ip| ip.parse().unwrap()),
                host: *host,
                container: *container,
                protocol: *protocol,
            })
            .collect();
        assert_eq!(published(spec).unwrap(), expected, "{spec}");
    }

    #[test]
    fn reads_the_short_form() {
        use PortProtocol::{Tcp, Udp};
        check("80", &[(None, None, 80, Tcp)]);
        check("8080:80", &[(None, Some((8080, 8080)), 80, Tcp)]);
        check("127.0.0.1:8080:80/udp", &[(Some("127.0.0.1"), Some((8080, 8080)), 80, Udp)]);
        check("127.0.0.1::80", &[(Some("127.0.0.1"), None, 80, Tcp)]);
        check("0:80", &[(None, None, 80, Tcp)]);
        check("8000-8001:80-81", &[(None, Some((8000, 8000)), 80, Tcp), (None, Some((8001, 8001)), 81, Tcp)]);
        check("8000-8010:80", &[(None, Some((8000, 8010)), 80, Tcp)]);
    }

    #[test]
    fn refuses_in_dockers_words() {
        for (spec, words) in [
            ("foo", "invalid containerPort: foo"),
            ("99999:80", "invalid hostPort: 99999"),
            ("x:80:80", "invalid IP address: x"),
            ("80/foo", "invalid proto: foo"),
            ("", "no port specified: <empty>"),
            ("1-3:80-81", "invalid ranges specified for container and host Ports: 80-81 and 1-3"),
            ("90-80", "invalid containerPort: 90-80"),
            ("0", "invalid containerPort: 0"),
        ] {
            assert_eq!(published(spec).unwrap_err(), words, "{spec}");
        }
        assert!(published("[::1]:80:80").is_err());
    }

    #[test]
    fn reads_services_ports() {
        let port = service("target=80,published=8080,mode=host,protocol=udp").unwrap();
        assert_eq!(
            port,
            [PortConfig {
                target_port: Some(80),
                published_port: Some(8080),
                publish_mode: Some("host".to_owned()),
                protocol: Some("udp".to_owned()),
                ..PortConfig::default()
            }]
        );
        assert_eq!(service("8080:80").unwrap()[0].published_port, Some(8080));
        assert_eq!(service("8080-8081:80-81").unwrap().len(), 2);
        for (spec, words) in [
            ("127.0.0.1:80:80", "hostip is not supported"),
            ("published=80", "missing mandatory field 'target'"),
            ("target=80,mode=x", "invalid publish mode value x"),
            ("target=80,protocol=x", "invalid protocol value x"),
            ("target=x", "invalid target port (x): value must be an integer: invalid syntax"),
            ("target=70000", "invalid target port (70000): value must be an integer: value out of range"),
            ("target=80,host_ip=1", "invalid field key host_ip"),
            ("target=80,foo", "invalid field foo"),
        ] {
            assert_eq!(service(spec).unwrap_err(), words, "{spec}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_panics(spec in "[0-9a-z:./=,-]{0,20}") {
            published(&spec).ok();
            service(&spec).ok();
            exposed(&spec).ok();
        }
    }
}
