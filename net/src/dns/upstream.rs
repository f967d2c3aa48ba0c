//! The machine's own name servers, to which unknown names are forwarded.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Port of DNS.
const PORT: u16 = 53;
/// As every resolver, no more servers than this are asked (resolv.conf(5), MAXNS).
const SERVERS_MAX: usize = 3;

/// Who is asked for names that are not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// Nobody: the container is on internal networks only, and its questions must not leave the machine.
    None,
    /// These servers, in order.
    Servers(Vec<SocketAddr>),
    /// The servers that this resolv.conf(5) names at the time of the question.
    ResolvConf(PathBuf),
}

impl Upstream {
    /// The servers to ask now, in order.
    pub(super) fn servers(&self) -> Vec<SocketAddr> {
        match self {
            Self::None => Vec::new(),
            Self::Servers(servers) => servers.iter().copied().take(SERVERS_MAX).collect(),
            Self::ResolvConf(path) => read(path),
        }
    }
}

fn read(path: &Path) -> Vec<SocketAddr> {
    std::fs::read_to_string(path).map(|text| parse(&text)).unwrap_or_default()
}

/// The `nameserver` lines of a resolv.conf(5). Our own address is left out: it would ask itself for ever.
fn parse(text: &str) -> Vec<SocketAddr> {
    let own = IpAddr::from([127, 0, 0, 11]);
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .filter(|address| *address != own)
        .map(|address| SocketAddr::new(address, PORT))
        .take(SERVERS_MAX)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_lines() {
        let text = "# c\nnameserver 10.0.0.1\nnameserver\nnameserver x\n nameserver fd00::1\nnameserver 127.0.0.11\n\
                    options ndots:0\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n";
        let servers: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[fd00::1]:53", "10.0.0.3:53"]);
    }
}
