//! The protocols of published ports: the swarm's and `net`'s. Used by the worker and by whoever reads a specification.

use skep_cluster::api::PortProtocol as ApiProtocol;
use skep_net::PortProtocol;

/// The protocol as the swarm has it.
pub(crate) fn api_protocol(protocol: PortProtocol) -> ApiProtocol {
    match protocol {
        PortProtocol::Tcp => ApiProtocol::Tcp,
        PortProtocol::Udp => ApiProtocol::Udp,
        PortProtocol::Sctp => ApiProtocol::Sctp,
    }
}

/// The protocol as `net` has it.
pub(crate) fn net_protocol(protocol: ApiProtocol) -> PortProtocol {
    match protocol {
        ApiProtocol::Tcp => PortProtocol::Tcp,
        ApiProtocol::Udp => PortProtocol::Udp,
        ApiProtocol::Sctp => PortProtocol::Sctp,
    }
}
