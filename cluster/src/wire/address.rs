//! Addresses as users write them. Names are looked up in the hosts file alone: a static binary has no resolver.

use std::net::{IpAddr, SocketAddr};

use super::WireError;

const HOSTS: &str = "/etc/hosts";

/// `IP`, `IP:PORT`, `[IP6]:PORT`, or the same with a name of the hosts file; without a port `default_port` is meant.
///
/// # Errors
/// If it is neither an address nor a name in the hosts file.
pub(crate) fn parse(text: &str, default_port: u16) -> Result<SocketAddr, WireError> {
    let hosts = std::fs::read_to_string(HOSTS).unwrap_or_default();
    parse_with(text, default_port, &hosts)
}

/// Joins a host and a port, with brackets around IPv6.
pub(crate) fn join_host_port(host: IpAddr, port: u16) -> String {
    SocketAddr::new(host, port).to_string()
}

fn parse_with(text: &str, default_port: u16, hosts: &str) -> Result<SocketAddr, WireError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, default_port));
    }
    let error = || WireError::Address(text.to_owned());
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| error())?),
        None => (text, default_port),
    };
    let ip = look_up(name, hosts).ok_or_else(error)?;
    Ok(SocketAddr::new(ip, port))
}

fn look_up(name: &str, hosts: &str) -> Option<IpAddr> {
    hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(ip)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_hosts_are_understood_and_other_names_refused() {
        let hosts = "127.0.0.1 localhost\n10.0.0.7 manager1 m1 # first\n";
        let check = |text: &str| parse_with(text, 2377, hosts).map(|a| a.to_string()).ok();
        assert_eq!(check("10.1.2.3").as_deref(), Some("10.1.2.3:2377"));
        assert_eq!(check("10.1.2.3:99").as_deref(), Some("10.1.2.3:99"));
        assert_eq!(check("[fd00::1]:99").as_deref(), Some("[fd00::1]:99"));
        assert_eq!(check("m1:99").as_deref(), Some("10.0.0.7:99"));
        assert_eq!(check("first"), None);
        assert_eq!(check("example.com:2377"), None);
        assert_eq!(check("m1:x"), None);
    }
}
