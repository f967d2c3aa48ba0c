//! The names under which kernel objects of ours are found, all derived from ids.
//!
//! Used by plan and observe. Invariant: the same id gives the same name for ever, so that a killed
//! command's leftovers are found again by name and nothing that another program made is touched.

use std::net::Ipv4Addr;

use crate::ids::{MacAddress, NetworkId, SandboxId};

/// The Linux bridge of the default network.
pub(crate) const DEFAULT_BRIDGE: &str = "skep0";
/// The network, and Linux bridge, through which containers of overlays reach the world.
pub const GATEWAY_BRIDGE: &str = "skep_gwbridge";
/// Another name users know [`GATEWAY_BRIDGE`] by.
pub(crate) const GATEWAY_BRIDGE_ALIAS: &str = "docker_gwbridge";
/// The name under which the network is kept that a user calls `name`.
pub fn of_network(name: &str) -> &str {
    if name == GATEWAY_BRIDGE_ALIAS { GATEWAY_BRIDGE } else { name }
}

/// Namespace of the routing mesh.
pub(crate) const INGRESS_SANDBOX: &str = "ingress_sbox";
/// What every outer end of a veth pair starts with.
pub(crate) const VETH_PREFIX: &str = "skv";
/// What the name of an overlay's load-balancer namespace starts with.
pub(crate) const BALANCER_PREFIX: &str = "lb_";
/// What the name of an overlay's namespace starts with.
pub(crate) const OVERLAY_PREFIX: &str = "1-";
/// Bridge inside an overlay's namespace.
pub(crate) const OVERLAY_BRIDGE: &str = "br0";
/// VXLAN link inside an overlay's namespace.
pub(crate) const OVERLAY_VXLAN: &str = "vxlan0";
/// Where a container finds its DNS.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// The nftables table of every namespace.
pub(crate) const TABLE: &str = "skep";

/// File name, below RUN_ROOT/netns, of a container's namespace.
pub(crate) fn sandbox_namespace(id: &SandboxId) -> String {
    prefix(id.as_str(), 12)
}

/// File name of an overlay's namespace.
pub(crate) fn overlay_namespace(id: &NetworkId) -> String {
    format!("{OVERLAY_PREFIX}{}", prefix(id.as_str(), 10))
}

/// File name of an overlay's load-balancer namespace.
pub(crate) fn balancer_namespace(id: &NetworkId) -> String {
    format!("{BALANCER_PREFIX}{}", prefix(id.as_str(), 9))
}

/// The Linux bridge of a user-defined bridge network.
pub(crate) fn bridge(id: &NetworkId) -> String {
    format!("br-{}", prefix(id.as_str(), 12))
}

/// The end outside of the container of the veth pair that joins a sandbox to a network.
pub(crate) fn veth(sandbox: &str, network: &str) -> String {
    format!("{VETH_PREFIX}{:012x}", digest(&[sandbox, network]) & 0xffff_ffff_ffff)
}

/// The MAC address every endpoint has: 02:42 and the address's four octets.
pub fn mac_of(address: Ipv4Addr) -> MacAddress {
    let [a, b, c, d] = address.octets();
    MacAddress([0x02, 0x42, a, b, c, d])
}

/// FNV-1a over length-delimited parts: a stable, unkeyed digest for names and change detection.
pub(crate) fn digest(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain(std::iter::once(0xff)) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

fn prefix(id: &str, length: usize) -> String {
    id.chars().take(length).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_the_kernel() {
        let id = NetworkId::new("f".repeat(64)).unwrap();
        assert!(veth("sandbox", "network").len() <= 15);
        assert_eq!(bridge(&id).len(), 15);
        assert_eq!(overlay_namespace(&id), "1-ffffffffff");
        assert_eq!(balancer_namespace(&id), "lb_fffffffff");
    }

    #[test]
    fn digest_separates_parts() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(veth("a", "b"), veth("a", "c"));
    }

    #[test]
    fn mac_is_derived_from_the_address() {
        assert_eq!(mac_of(Ipv4Addr::new(10, 10, 0, 7)).to_string(), "02:42:0a:0a:00:07");
    }
}
