//! The machine's own name servers, to which unknown names are forwarded.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use skep_common::resolv_conf::{ResolvConf, SERVERS_MAX};

use crate::names;

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
    std::fs::read_to_string(path).map(|text| known(&text)).unwrap_or_default()
}

/// The name servers of a resolv.conf(5). Our own address is left out: it would ask itself for ever.
fn known(text: &str) -> Vec<SocketAddr> {
    let servers = ResolvConf::parse(text).servers.into_iter().filter(|server| server.address != names::RESOLVER);
    servers.filter_map(|server| server.socket_address()).take(SERVERS_MAX).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_lines() {
        let text = "# c\nnameserver 10.0.0.1\nnameserver\nnameserver x\nnameserver fe80::1%lo\nnameserver 127.0.0.11\n\
                    options ndots:0\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n";
        let servers: Vec<String> = known(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[fe80::1%1]:53", "10.0.0.3:53"]);
    }
}
