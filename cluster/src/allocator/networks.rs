//! Subnet, gateway and VXLAN id of each overlay network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::brain::Decision;
use crate::model::{Cluster, IpamConfig, Network, NetworkId, subnet};
use crate::store::{View, update};

const VNI_MIN: u32 = 4096;
const VNI_MAX: u32 = (1 << 24) - 1;
const POOL_DEFAULT: &str = "10.0.0.0/8";
const SUBNET_SIZE_DEFAULT: u8 = 24;

/// All networks that are to stay, those without a subnet given one.
pub(super) fn allocate(view: &View, decision: &mut Decision) -> BTreeMap<NetworkId, Network> {
    let mut networks: BTreeMap<NetworkId, Network> = view
        .networks()
        .values()
        .filter(|n| !n.pending_delete || !n.ipam.is_empty())
        .map(|n| (n.id.clone(), Network::clone(n)))
        .collect();
    let mut pending: Vec<(bool, i64, NetworkId)> = networks
        .values()
        .filter(|n| n.ipam.is_empty() && n.is_overlay())
        .map(|n| (!n.spec.ingress, n.meta.created_at_ns, n.id.clone()))
        .collect();
    pending.sort();
    let mut vni =
        networks.values().filter(|n| n.vni != 0).max_by_key(|n| (n.meta.created_at_ns, n.vni)).map_or(0, |n| n.vni);
    for (_, _, id) in pending {
        let Some(network) = networks.get(&id) else { continue };
        let mut changed = network.clone();
        match subnet(view, network, &networks) {
            Ok(ipam) => {
                let used: BTreeSet<u32> = networks.values().map(|n| n.vni).collect();
                let next = (vni.saturating_add(1).max(VNI_MIN)..=VNI_MAX).chain(VNI_MIN..=VNI_MAX);
                if let Some(free) = next.into_iter().find(|v| !used.contains(v)) {
                    vni = free;
                    changed.vni = free;
                    changed.ipam = vec![ipam];
                    changed.allocation_error.clear();
                }
            }
            Err(reason) => changed.allocation_error = reason,
        }
        if &changed != network {
            decision.change(update(changed.clone()));
            networks.insert(id, changed);
        }
    }
    networks
}

fn subnet(view: &View, network: &Network, all: &BTreeMap<NetworkId, Network>) -> Result<IpamConfig, String> {
    let taken = subnet::taken(all.values().map(|n| (n.ipam.as_slice(), n.name())));
    let mut asked = match network.spec.ipam.as_slice() {
        [] => IpamConfig::default(),
        [one] => one.clone(),
        _ => return Err("an overlay network has one subnet: leave out the others".into()),
    };
    if asked.subnet.is_empty() {
        asked.subnet = from_pools(view, &taken)?.to_string();
    }
    subnet::check(&asked, &taken).map_err(|error| error.to_string())
}

/// The first free part of the pools; none in which a node has its own address.
fn from_pools(view: &View, taken: &[(Ipv4Net, &str)]) -> Result<Ipv4Net, String> {
    let cluster = view.cluster().map(AsRef::as_ref);
    let (pools, size) = pools(cluster);
    let nodes: Vec<Ipv4Addr> = view
        .nodes()
        .values()
        .flat_map(|n| [n.data_path_addr.as_str(), n.status.addr.as_str()])
        .filter_map(|a| a.parse().ok())
        .collect();
    for pool in &pools {
        let parts = pool.subnets(size.max(pool.prefix_len())).map_err(|e| e.to_string())?;
        let free = parts.into_iter().find(|part| {
            !taken.iter().any(|(other, _)| subnet::overlap(other, part))
                && !nodes.iter().any(|node| part.contains(node))
        });
        if let Some(free) = free {
            return Ok(free);
        }
    }
    Err("all default address pools are used up: remove networks or give a --subnet".into())
}

fn pools(cluster: Option<&Cluster>) -> (Vec<Ipv4Net>, u8) {
    let mut pools: Vec<Ipv4Net> =
        cluster.iter().flat_map(|c| &c.default_address_pool).filter_map(|p| p.parse().ok()).collect();
    if pools.is_empty() {
        pools.extend(POOL_DEFAULT.parse::<Ipv4Net>());
    }
    let size = cluster.and_then(|c| u8::try_from(c.subnet_size).ok()).filter(|s| (1..=29).contains(s));
    (pools, size.unwrap_or(SUBNET_SIZE_DEFAULT))
}
