//! resolv.conf(5): which name servers are asked, and for which names.
//!
//! Read by everybody who asks or forwards questions, and by whoever writes a container's own. Lenient as the C
//! libraries are: what is not understood is skipped.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

/// Port of DNS.
const DNS_PORT: u16 = 53;
/// No more servers than this are asked (MAXNS).
pub const SERVERS_MAX: usize = 3;
/// Most dots that `ndots` can ask for.
const DOTS_MAX: usize = 15;

/// What a resolv.conf(5) says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// All name servers, in order.
    pub servers: Vec<NameServer>,
    /// Domains that are tried behind a name, in order.
    pub search: Vec<String>,
    /// Options as they are written, as in `ndots:2`.
    pub options: Vec<String>,
    /// A name with fewer dots is tried with the search domains first.
    pub dots_min: usize,
}

/// A name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    /// Its address.
    pub address: IpAddr,
    /// The link by which a link-local address is reached: an interface's name, or its number (RFC 4007, section 11).
    pub scope: Option<String>,
}

impl ResolvConf {
    /// Reads the text of a resolv.conf(5). Of several `search` (or `domain`) lines the last counts.
    pub fn parse(text: &str) -> Self {
        let mut configuration = Self { servers: Vec::new(), search: Vec::new(), options: Vec::new(), dots_min: 1 };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace().take_while(|word| !word.starts_with(['#', ';']));
            match words.next() {
                Some("nameserver") => configuration.servers.extend(words.next().and_then(NameServer::parse)),
                Some("search") => configuration.search = words.map(str::to_owned).collect(),
                Some("domain") => configuration.search = words.take(1).map(str::to_owned).collect(),
                Some("options") => configuration.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        let mut dots = configuration.options.iter().filter_map(|option| option.strip_prefix("ndots:")?.parse().ok());
        configuration.dots_min = dots.next_back().unwrap_or(1).min(DOTS_MAX);
        configuration
    }

    /// Where questions are sent, in order: at most [`SERVERS_MAX`] servers; where there is none, this machine.
    pub fn socket_addresses(&self) -> Vec<SocketAddr> {
        let known = self.servers.iter().filter_map(NameServer::socket_address).take(SERVERS_MAX);
        let addresses: Vec<SocketAddr> = known.collect();
        match self.servers.is_empty() {
            true => vec![(Ipv4Addr::LOCALHOST, DNS_PORT).into()],
            false => addresses,
        }
    }

    /// The absolute names to try for a name, in order.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let within = |domain: &String| match domain.trim_matches('.') {
            "" => format!("{name}."),
            domain => format!("{name}.{domain}."),
        };
        let mut names: Vec<String> = self.search.iter().map(within).collect();
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let position = if dots >= self.dots_min { 0 } else { names.len() };
        names.insert(position, format!("{name}."));
        names.dedup();
        names
    }
}

impl NameServer {
    fn parse(word: &str) -> Option<Self> {
        let (address, scope) = match word.split_once('%') {
            Some((address, scope)) => (address, Some(scope)),
            None => (word, None),
        };
        let address = address.parse().ok()?;
        let scope = scope.filter(|scope| !scope.is_empty()).map(str::to_owned);
        Some(Self { address, scope })
    }

    /// Where it is asked; `None` where its link does not exist on this machine.
    ///
    /// The link is looked for in this thread's network namespace.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match (self.address, &self.scope) {
            (IpAddr::V6(address), Some(scope)) => {
                let index = scope.parse().ok().or_else(|| nix::net::if_::if_nametoindex(scope.as_str()).ok())?;
                Some(SocketAddrV6::new(address, DNS_PORT, 0, index).into())
            }
            (address, _) => Some((address, DNS_PORT).into()),
        }
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.address)?;
        match &self.scope {
            Some(scope) => write!(formatter, "%{scope}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(servers: &[SocketAddr]) -> Vec<String> {
        servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_are_read_as_the_manual_says() {
        let parsed = ResolvConf::parse(
            "# c\n; c\nnameserver 10.0.0.1 # the first\nnameserver\nnameserver x\n nameserver fd00::1\nsearch a.b c.\n\
             domain d e\nsearch f g\noptions ndots:2 rotate\noptions edns0\nsortlist 1.2.3.4\nnameserver\t10.0.0.3\n\
             nameserver 10.0.0.4\n",
        );
        assert_eq!(parsed.search, ["f", "g"]);
        assert_eq!(parsed.options, ["ndots:2", "rotate", "edns0"]);
        assert_eq!(parsed.dots_min, 2);
        assert_eq!(parsed.servers.len(), 4);
        assert_eq!(shown(&parsed.socket_addresses()), ["10.0.0.1:53", "[fd00::1]:53", "10.0.0.3:53"]);
        assert_eq!(ResolvConf::parse("search a b\ndomain c d").search, ["c"]);
        assert_eq!(ResolvConf::parse("options ndots:999").dots_min, 15);
    }

    #[test]
    fn without_servers_this_machine_is_asked() {
        assert_eq!(shown(&ResolvConf::parse("").socket_addresses()), ["127.0.0.1:53"]);
    }

    #[test]
    fn a_scope_leads_to_its_link() {
        let parsed =
            ResolvConf::parse("nameserver fe80::1%lo\nnameserver fe80::2%7\nnameserver fe80::3%no-such-link\n");
        let texts: Vec<String> = parsed.servers.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["fe80::1%lo", "fe80::2%7", "fe80::3%no-such-link"]);
        // The loopback is the first link of every network namespace.
        assert_eq!(shown(&parsed.socket_addresses()), ["[fe80::1%1]:53", "[fe80::2%7]:53"]);
        // Not this machine in place of a server that was named but cannot be reached.
        assert!(ResolvConf::parse("nameserver fe80::3%no-such-link").socket_addresses().is_empty());
    }

    #[test]
    fn names_are_tried_in_the_resolvers_order() {
        let parsed = ResolvConf::parse("search a.b c.\noptions ndots:2");
        assert_eq!(parsed.candidates("x.y"), ["x.y.a.b.", "x.y.c.", "x.y."]);
        assert_eq!(parsed.candidates("x.y.z"), ["x.y.z.", "x.y.z.a.b.", "x.y.z.c."]);
        assert_eq!(parsed.candidates("x."), ["x."]);
        assert_eq!(ResolvConf::parse("search .").candidates("x"), ["x."]);
    }
}
