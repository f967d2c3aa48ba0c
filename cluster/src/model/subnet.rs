//! What a subnet that somebody asks for has to be. The control API checks it when it is asked for, the allocator when
//! it is given: others may have been given in between.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::IpamConfig;

/// Longest prefix of an overlay: fewer addresses do not do for gateway, balancers and tasks.
const PREFIX_MAX: u8 = 29;

/// Why a subnet cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubnetError {
    /// Not an IPv4 network.
    #[error("invalid subnet {0:?}: give an IPv4 network as ADDRESS/LENGTH")]
    Malformed(String),
    /// Too few addresses.
    #[error("subnet {0} is too small: at most /29")]
    TooSmall(Ipv4Net),
    /// A gateway or a range which is none, or without a subnet.
    #[error("invalid {what} {text:?}")]
    Part {
        /// What it should be.
        what: &'static str,
        /// As it was given.
        text: String,
    },
    /// A gateway or a range elsewhere.
    #[error("{what} {text} is not in subnet {subnet}")]
    Outside {
        /// What it should be.
        what: &'static str,
        /// As it was given.
        text: String,
        /// Where it should be.
        subnet: Ipv4Net,
    },
    /// A gateway or a range needs a subnet.
    #[error("no matching subnet for {what} {text}")]
    NoSubnet {
        /// What was given.
        what: &'static str,
        /// As it was given.
        text: String,
    },
    /// Another network has addresses of it.
    #[error("subnet {subnet} overlaps with {other} of network {network}")]
    Taken {
        /// What was asked for.
        subnet: Ipv4Net,
        /// What is there.
        other: Ipv4Net,
        /// Its name.
        network: String,
    },
}

/// Whether two networks have an address in common.
pub(crate) fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

/// The subnets of networks, each with the network's name.
pub(crate) fn taken<'a>(networks: impl Iterator<Item = (&'a [IpamConfig], &'a str)>) -> Vec<(Ipv4Net, &'a str)> {
    let parsed = |ipam: &IpamConfig| ipam.subnet.parse().ok();
    networks.flat_map(|(ipam, name)| ipam.iter().filter_map(parsed).map(move |subnet| (subnet, name))).collect()
}

/// `asked` with its subnet in the usual form and a gateway; its subnet may be empty only where nothing depends on it.
///
/// # Errors
/// If it is not a subnet, not one that can be used, or overlaps with a taken one.
pub(crate) fn check(asked: &IpamConfig, taken: &[(Ipv4Net, &str)]) -> Result<IpamConfig, SubnetError> {
    if asked.subnet.is_empty() {
        let parts = [("gateway", &asked.gateway), ("range", &asked.range)];
        return match parts.into_iter().find(|(_, text)| !text.is_empty()) {
            Some((what, text)) => Err(SubnetError::NoSubnet { what, text: text.clone() }),
            None => Ok(IpamConfig::default()),
        };
    }
    let subnet: Ipv4Net = asked.subnet.parse().map_err(|_| SubnetError::Malformed(asked.subnet.clone()))?;
    let subnet = subnet.trunc();
    if subnet.prefix_len() > PREFIX_MAX {
        return Err(SubnetError::TooSmall(subnet));
    }
    let outside = |what, text: &str| SubnetError::Outside { what, text: text.to_owned(), subnet };
    let malformed = |what, text: &str| SubnetError::Part { what, text: text.to_owned() };
    let gateway = if asked.gateway.is_empty() {
        Ipv4Addr::from(u32::from(subnet.network()).saturating_add(1))
    } else {
        asked.gateway.parse().map_err(|_| malformed("gateway", &asked.gateway))?
    };
    if !subnet.contains(&gateway) {
        return Err(outside("gateway", &asked.gateway));
    }
    if gateway == subnet.network() || gateway == subnet.broadcast() {
        return Err(malformed("gateway", &asked.gateway));
    }
    if !asked.range.is_empty() {
        let range: Ipv4Net = asked.range.parse().map_err(|_| malformed("address range", &asked.range))?;
        if !subnet.contains(&range) {
            return Err(outside("address range", &asked.range));
        }
    }
    if let Some((other, network)) = taken.iter().find(|(other, _)| overlap(other, &subnet)) {
        return Err(SubnetError::Taken { subnet, other: *other, network: (*network).to_owned() });
    }
    Ok(IpamConfig { subnet: subnet.to_string(), range: asked.range.clone(), gateway: gateway.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(subnet: &str, gateway: &str, range: &str) -> IpamConfig {
        IpamConfig { subnet: subnet.into(), gateway: gateway.into(), range: range.into() }
    }

    #[test]
    fn a_subnet_is_completed_or_refused_with_the_reason() {
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        let taken = [(net("10.1.0.0/16"), "app")];
        let good = check(&asked("10.0.0.7/24", "", "10.0.0.128/25"), &taken).unwrap();
        assert_eq!(good, asked("10.0.0.0/24", "10.0.0.1", "10.0.0.128/25"));
        assert_eq!(check(&IpamConfig::default(), &taken), Ok(IpamConfig::default()));
        for (bad, words) in [
            (asked("10.0.0.0", "", ""), "invalid subnet \"10.0.0.0\": give an IPv4 network as ADDRESS/LENGTH"),
            (asked("fd00::/64", "", ""), "invalid subnet \"fd00::/64\": give an IPv4 network as ADDRESS/LENGTH"),
            (asked("10.0.0.0/30", "", ""), "subnet 10.0.0.0/30 is too small: at most /29"),
            (asked("10.0.0.0/24", "10.0.1.1", ""), "gateway 10.0.1.1 is not in subnet 10.0.0.0/24"),
            (asked("10.0.0.0/24", "10.0.0.255", ""), "invalid gateway \"10.0.0.255\""),
            (asked("10.0.0.0/24", "x", ""), "invalid gateway \"x\""),
            (asked("10.0.0.0/24", "", "10.0.1.0/25"), "address range 10.0.1.0/25 is not in subnet 10.0.0.0/24"),
            (asked("", "10.0.0.1", ""), "no matching subnet for gateway 10.0.0.1"),
            (asked("10.1.2.0/24", "", ""), "subnet 10.1.2.0/24 overlaps with 10.1.0.0/16 of network app"),
            (asked("10.0.0.0/8", "", ""), "subnet 10.0.0.0/8 overlaps with 10.1.0.0/16 of network app"),
        ] {
            assert_eq!(check(&bad, &taken).unwrap_err().to_string(), words);
        }
    }
}
