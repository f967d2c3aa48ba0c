//! /etc/hostname, /etc/hosts and /etc/resolv.conf of a container, as docker writes them. Pure.
//!
//! Called by `start`, once the container's addresses are known.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use skep_common::resolv_conf::ResolvConf;

/// What /etc/hosts is made of.
#[derive(Debug, Default)]
pub(crate) struct Hosts<'a> {
    /// `name:address` or `name=address`; the address may be `host-gateway`.
    pub(crate) extra: &'a [String],
    /// What `host-gateway` means.
    pub(crate) host_gateway: Option<Ipv4Addr>,
    /// The container's own addresses and names.
    pub(crate) own: Vec<(Ipv4Addr, String)>,
}

const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// /etc/hosts; `base` is the host's own file for containers in the host's network.
pub(crate) fn hosts(base: Option<&str>, hosts: &Hosts<'_>) -> String {
    let mut text = base.unwrap_or(LOCAL).to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for line in hosts.extra {
        let Some((name, address)) = split_extra(line) else { continue };
        match (address, hosts.host_gateway) {
            ("host-gateway", Some(gateway)) => _ = writeln!(text, "{gateway}\t{name}"),
            ("host-gateway", None) => {}
            _ => _ = writeln!(text, "{address}\t{name}"),
        }
    }
    for (address, name) in &hosts.own {
        _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// `name:address` or `name=address`, checked.
pub(crate) fn split_extra(line: &str) -> Option<(&str, &str)> {
    let (name, address) = line.split_once(['=', ':'])?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let known = address == "host-gateway" || address.parse::<IpAddr>().is_ok();
    (known && !name.is_empty() && !name.contains(char::is_whitespace)).then_some((name, address))
}

/// What the user says about DNS.
#[derive(Debug, Default)]
pub(crate) struct Dns<'a> {
    pub(crate) servers: &'a [IpAddr],
    pub(crate) search: &'a [String],
    pub(crate) options: &'a [String],
}

/// Which name server a container asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolver {
    /// The shim's, at 127.0.0.11.
    Embedded,
    /// The host's, but those on its loopback, which the container cannot reach.
    Filtered,
    /// Exactly the host's.
    Host,
}

/// /etc/resolv.conf, from the host's.
pub(crate) fn resolv_conf(host: &str, dns: &Dns<'_>, resolver: Resolver) -> String {
    let host = ResolvConf::parse(host);
    let mut servers: Vec<String> = match resolver {
        Resolver::Embedded => vec!["127.0.0.11".to_owned()],
        _ if !dns.servers.is_empty() => dns.servers.iter().map(ToString::to_string).collect(),
        _ => host.servers.iter().map(ToString::to_string).collect(),
    };
    if resolver == Resolver::Filtered {
        servers.retain(|server| server.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback()));
        if servers.is_empty() {
            servers = vec!["8.8.8.8".to_owned(), "8.8.4.4".to_owned()];
        }
    }
    let search = match dns.search {
        [] => host.search,
        [only] if only == "." => Vec::new(),
        given => given.to_vec(),
    };
    let mut options = match dns.options {
        [] => host.options,
        given => given.to_vec(),
    };
    if resolver == Resolver::Embedded && !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    let mut text = String::new();
    for server in servers {
        _ = writeln!(text, "nameserver {server}");
    }
    if !search.is_empty() {
        _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_and_extra_lines_follow_the_local_ones() {
        let extra = ["db:10.0.0.5".to_owned(), "gw=host-gateway".to_owned(), "bad".to_owned(), "six:::1".to_owned()];
        let own = vec![(Ipv4Addr::new(172, 17, 0, 2), "web".to_owned())];
        let text = hosts(None, &Hosts { extra: &extra, host_gateway: Some(Ipv4Addr::new(172, 17, 0, 1)), own });
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.0.0.5\tdb\n172.17.0.1\tgw\n::1\tsix\n172.17.0.2\tweb\n"), "{text}");
        assert_eq!(hosts(Some("1.2.3.4 h"), &Hosts::default()), "1.2.3.4 h\n");
    }

    #[test]
    fn loopback_servers_do_not_reach_a_container() {
        let host = "nameserver 127.0.0.53\nnameserver 10.1.1.1\nsearch a b\noptions edns0 trust-ad\n";
        let dns = Dns::default();
        let filtered = resolv_conf(host, &dns, Resolver::Filtered);
        assert_eq!(filtered, "nameserver 10.1.1.1\nsearch a b\noptions edns0 trust-ad\n");
        assert_eq!(
            resolv_conf("nameserver 127.0.0.1\n", &dns, Resolver::Filtered),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        );
        assert!(resolv_conf(host, &dns, Resolver::Host).contains("127.0.0.53"));
        let embedded = resolv_conf(host, &dns, Resolver::Embedded);
        assert_eq!(embedded, "nameserver 127.0.0.11\nsearch a b\noptions edns0 trust-ad ndots:0\n");
    }

    #[test]
    fn what_the_user_says_comes_first() {
        let (servers, search, options) = ([IpAddr::from([9, 9, 9, 9])], [".".to_owned()], ["ndots:2".to_owned()]);
        let dns = Dns { servers: &servers, search: &search, options: &options };
        assert_eq!(resolv_conf("search x\n", &dns, Resolver::Filtered), "nameserver 9.9.9.9\noptions ndots:2\n");
        let embedded = resolv_conf("", &dns, Resolver::Embedded);
        assert_eq!(embedded, "nameserver 127.0.0.11\noptions ndots:2\n");
    }
}
