//! Addresses to listen on and to advertise: an address, `HOST:PORT`, or an interface's name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::ErrorKind;
use crate::error::{Error, Result};

/// The managers' port.
pub const PORT: u16 = 2377;

/// One address of one interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's name.
    pub interface: String,
    /// Its address.
    pub address: Ipv4Addr,
}

/// The IPv4 addresses of this machine's (network namespace's) interfaces that are up.
pub fn interfaces() -> Result<Vec<InterfaceAddress>> {
    let all = nix::ifaddrs::getifaddrs().map_err(|failure| {
        Error::new(ErrorKind::Internal, format!("cannot read the interfaces' addresses: {failure}"))
    })?;
    let mut found: Vec<InterfaceAddress> = Vec::new();
    for interface in all.filter(|interface| interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP)) {
        let address =
            interface.address.as_ref().and_then(|address| address.as_sockaddr_in()).map(|address| address.ip());
        if let Some(address) = address {
            found.push(InterfaceAddress { interface: interface.interface_name, address });
        }
    }
    Ok(found)
}

/// `HOST:PORT` from an address or interface with or without a port.
pub fn with_port(text: &str, port: u16, known: &[InterfaceAddress]) -> Result<SocketAddr> {
    let (host, port) = split(text, port)?;
    Ok(SocketAddr::new(resolve(&host, known)?, port))
}

fn split(text: &str, port: u16) -> Result<(String, u16)> {
    match text.rsplit_once(':') {
        Some((host, text_port)) if !host.contains(':') || host.ends_with(']') => {
            let port = text_port
                .parse()
                .map_err(|_| Error::bad_argument(format!("invalid port {text_port:?} in address {text:?}")))?;
            Ok((host.trim_matches(['[', ']']).to_owned(), port))
        }
        _ => Ok((text.to_owned(), port)),
    }
}

fn resolve(host: &str, known: &[InterfaceAddress]) -> Result<IpAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let of_interface: Vec<&InterfaceAddress> = known.iter().filter(|found| found.interface == host).collect();
    match *of_interface.as_slice() {
        [one] => Ok(one.address.into()),
        [] => Err(Error::bad_argument(format!(
            "{host:?} is neither an IP address nor an interface of this machine that has one"
        ))),
        [first, second, ..] => Err(Error::bad_argument(format!(
            "interface {host} has more than one IPv4 address ({} and {})",
            first.address, second.address
        ))),
    }
}

/// The address to advertise: the one asked for, the one listened on, or the machine's only one.
pub fn advertise(asked: Option<&str>, listen: SocketAddr, known: &[InterfaceAddress]) -> Result<SocketAddr> {
    if let Some(text) = asked {
        let address = with_port(text, listen.port(), known)?;
        if address.ip().is_unspecified() {
            return Err(Error::bad_argument("advertise address must be a non-zero IP address"));
        }
        return Ok(address);
    }
    if !listen.ip().is_unspecified() {
        return Ok(listen);
    }
    let outward: Vec<&InterfaceAddress> =
        known.iter().filter(|found| !found.address.is_loopback() && !is_ours(&found.interface)).collect();
    match *outward.as_slice() {
        [one] => Ok(SocketAddr::new(one.address.into(), listen.port())),
        [] => {
            Err(Error::bad_argument("could not choose an IP address to advertise - specify one with --advertise-addr"))
        }
        [first, second, ..] if first.interface == second.interface => Err(Error::bad_argument(format!(
            "could not choose an IP address to advertise since this system has multiple addresses on interface {} \
             ({} and {}) - specify one with --advertise-addr",
            first.interface, first.address, second.address
        ))),
        [first, second, ..] => Err(Error::bad_argument(format!(
            "could not choose an IP address to advertise since this system has multiple addresses on different \
             interfaces ({} on {} and {} on {}) - specify one with --advertise-addr",
            first.address, first.interface, second.address, second.interface
        ))),
    }
}

/// Bridges and veths that container engines make are never the way to other machines.
fn is_ours(interface: &str) -> bool {
    ["skep", "skv", "docker", "br-", "veth", "cni", "podman"].iter().any(|prefix| interface.starts_with(prefix))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn known(addresses: &[(&str, &str)]) -> Vec<InterfaceAddress> {
        addresses
            .iter()
            .map(|(interface, address)| InterfaceAddress {
                interface: (*interface).to_owned(),
                address: address.parse().unwrap(),
            })
            .collect()
    }

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);

    #[test]
    fn finds_the_only_address() {
        let machine = known(&[("lo", "127.0.0.1"), ("eth0", "10.1.0.2"), ("skep0", "172.17.0.1")]);
        assert_eq!(advertise(None, ANY, &machine).unwrap().to_string(), "10.1.0.2:2377");
        assert_eq!(advertise(Some("eth0"), ANY, &machine).unwrap().to_string(), "10.1.0.2:2377");
        assert_eq!(advertise(Some("10.1.0.2:3000"), ANY, &machine).unwrap().to_string(), "10.1.0.2:3000");
        assert!(advertise(Some("0.0.0.0"), ANY, &machine).is_err());
        assert!(advertise(Some("eth7"), ANY, &machine).unwrap_err().to_string().contains("eth7"));
    }

    #[test]
    fn does_not_guess_among_several() {
        let machine = known(&[("eth0", "10.1.0.2"), ("eth1", "10.2.0.2")]);
        assert_eq!(
            advertise(None, ANY, &machine).unwrap_err().to_string(),
            "could not choose an IP address to advertise since this system has multiple addresses on different \
             interfaces (10.1.0.2 on eth0 and 10.2.0.2 on eth1) - specify one with --advertise-addr"
        );
        let machine = known(&[("eth0", "10.1.0.2"), ("eth0", "10.1.0.3")]);
        assert!(advertise(None, ANY, &machine).unwrap_err().to_string().contains("on interface eth0"));
        assert!(advertise(None, ANY, &[]).is_err());
        assert!(with_port("eth0:x", PORT, &machine).is_err());
    }
}
