//! Which addresses of each network are in use, and which comes next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::{Network, NetworkId, TaskState};
use crate::store::View;

/// The address spaces of all networks that have a subnet.
#[derive(Debug, Default)]
pub(crate) struct Spaces {
    spaces: BTreeMap<NetworkId, Space>,
    names: BTreeMap<NetworkId, String>,
}

#[derive(Debug)]
struct Space {
    subnet: Ipv4Net,
    first: u32,
    last: u32,
    used: BTreeSet<u32>,
    /// Given most recently.
    cursor: u32,
    cursor_time: i64,
}

/// The address without prefix length, if it is one.
pub(crate) fn parse(address: &str) -> Option<Ipv4Addr> {
    address.split('/').next()?.parse().ok()
}

impl Spaces {
    /// Reads all uses from `view`; `networks` are those of the view, some perhaps allocated just now.
    pub(crate) fn new(view: &View, networks: &BTreeMap<NetworkId, Network>) -> Self {
        let mut all = Self::default();
        for network in networks.values() {
            all.names.insert(network.id.clone(), network.name().to_owned());
            if let Some(space) = Space::new(network) {
                all.spaces.insert(network.id.clone(), space);
            }
        }
        for node in view.nodes().values() {
            for attachment in &node.attachments {
                all.mark(&attachment.network_id, &attachment.address, i64::MIN, true);
            }
        }
        for service in view.services().values() {
            let time = service.meta.created_at_ns;
            for vip in service.virtual_ips() {
                all.mark(&vip.network_id, &vip.address, time, true);
            }
        }
        for task in view.tasks().values() {
            // The dead hold no address, but tell which was given lately.
            let alive = task.state() <= TaskState::Running;
            for network in &task.networks {
                all.mark(&network.network_id, &network.address, task.meta.created_at_ns, alive);
            }
        }
        for attachment in view.attachments().values().filter(|a| a.is_allocated()) {
            all.mark(&attachment.network_id, &attachment.address, attachment.meta.created_at_ns, true);
        }
        all
    }

    fn mark(&mut self, network: &str, address: &str, time: i64, alive: bool) {
        if let (Some(space), Some(address)) = (self.spaces.get_mut(network), parse(address)) {
            let address = u32::from(address);
            if alive {
                space.used.insert(address);
            }
            if (time, address) > (space.cursor_time, space.cursor) && (space.first..=space.last).contains(&address) {
                (space.cursor_time, space.cursor) = (time, address);
            }
        }
    }

    /// Whether the network has a subnet.
    pub(crate) fn contains(&self, network: &str) -> bool {
        self.spaces.contains_key(network)
    }

    /// Takes the next free address, with prefix length; the error tells the user what is missing.
    ///
    /// # Errors
    /// In words for the user, if there is no such network or it is full.
    pub(crate) fn take(&mut self, network: &str) -> Result<String, String> {
        let name = self.name(network);
        let Some(space) = self.spaces.get_mut(network) else {
            return Err(format!("network {name} not found or without a subnet yet"));
        };
        let after = (space.cursor.saturating_add(1)..=space.last).chain(space.first..=space.cursor.min(space.last));
        let Some(free) = after.into_iter().find(|address| !space.used.contains(address)) else {
            return Err(format!(
                "no free address in {} of network {name}: remove tasks or use a larger subnet",
                space.subnet
            ));
        };
        space.used.insert(free);
        space.cursor = free;
        Ok(format!("{}/{}", Ipv4Addr::from(free), space.subnet.prefix_len()))
    }

    /// Takes a certain address.
    ///
    /// # Errors
    /// In words for the user, if the address is not the network's or is taken.
    pub(crate) fn take_this(&mut self, network: &str, address: &str) -> Result<String, String> {
        let name = self.name(network);
        let Some(space) = self.spaces.get_mut(network) else {
            return Err(format!("network {name} not found or without a subnet yet"));
        };
        let Some(wanted) = parse(address) else { return Err(format!("{address} is not an IPv4 address")) };
        if !space.subnet.contains(&wanted) {
            return Err(format!("address {wanted} is not in {} of network {name}", space.subnet));
        }
        if !space.used.insert(u32::from(wanted)) {
            return Err(format!("address {wanted} is already in use on network {name}"));
        }
        Ok(format!("{wanted}/{}", space.subnet.prefix_len()))
    }

    /// Gives an address back.
    pub(crate) fn free(&mut self, network: &str, address: &str) {
        if let (Some(space), Some(address)) = (self.spaces.get_mut(network), parse(address)) {
            space.used.remove(&u32::from(address));
        }
    }

    fn name(&self, network: &str) -> String {
        self.names.get(network).cloned().unwrap_or_else(|| network.to_owned())
    }
}

impl Space {
    fn new(network: &Network) -> Option<Self> {
        let ipam = network.ipam.first()?;
        let subnet: Ipv4Net = ipam.subnet.parse().ok()?;
        let range: Ipv4Net = ipam.range.parse().unwrap_or(subnet);
        let (lowest, highest) = (u32::from(subnet.network()), u32::from(subnet.broadcast()));
        let first = u32::from(range.network()).max(lowest.saturating_add(1));
        let last = u32::from(range.broadcast()).min(highest.saturating_sub(1));
        let mut used = BTreeSet::new();
        used.extend(parse(&ipam.gateway).map(u32::from));
        Some(Self { subnet, first, last, used, cursor: first.saturating_sub(1), cursor_time: i64::MIN })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::IpamConfig;

    fn spaces(subnet: &str, range: &str) -> Spaces {
        let ipam = IpamConfig { subnet: subnet.into(), range: range.into(), gateway: "10.0.1.1".into() };
        let network = Network { id: "n".into(), ipam: vec![ipam], ..Network::default() };
        Spaces::new(&View::default(), &BTreeMap::from([("n".into(), network)]))
    }

    #[test]
    fn a_freed_address_rests_until_the_others_were_used() {
        let mut spaces = spaces("10.0.1.0/29", "");
        let given: Vec<_> = (0..3).map(|_| spaces.take("n").unwrap()).collect();
        assert_eq!(given, ["10.0.1.2/29", "10.0.1.3/29", "10.0.1.4/29"]);
        spaces.free("n", "10.0.1.3/29");
        let given: Vec<_> = (0..3).map(|_| spaces.take("n").unwrap()).collect();
        assert_eq!(given, ["10.0.1.5/29", "10.0.1.6/29", "10.0.1.3/29"]);
        assert!(spaces.take("n").unwrap_err().starts_with("no free address in 10.0.1.0/29"));
    }

    #[test]
    fn a_range_limits_what_is_given_but_not_what_is_asked_for() {
        let mut spaces = spaces("10.0.1.0/24", "10.0.1.128/30");
        let given: Vec<_> = (0..4).map(|_| spaces.take("n").unwrap()).collect();
        assert_eq!(given, ["10.0.1.128/24", "10.0.1.129/24", "10.0.1.130/24", "10.0.1.131/24"]);
        assert!(spaces.take("n").is_err());
        assert_eq!(spaces.take_this("n", "10.0.1.9").unwrap(), "10.0.1.9/24");
        assert!(spaces.take_this("n", "10.0.1.9").unwrap_err().contains("already in use"));
        assert!(spaces.take_this("n", "10.0.2.9").unwrap_err().contains("is not in 10.0.1.0/24"));
        assert!(spaces.take_this("n", "10.0.1.1").unwrap_err().contains("already in use"));
        assert!(spaces.take_this("n", "nine").unwrap_err().contains("is not an IPv4 address"));
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice(ops in proptest::collection::vec(any::<bool>(), 0..200)) {
            let mut spaces = spaces("10.0.1.0/26", "");
            let mut held: Vec<String> = Vec::new();
            for take in ops {
                if take {
                    if let Ok(address) = spaces.take("n") {
                        prop_assert!(!held.contains(&address) && address != "10.0.1.1/26");
                        held.push(address);
                    } else {
                        prop_assert_eq!(held.len(), 61);
                    }
                } else if !held.is_empty() {
                    spaces.free("n", &held.remove(0));
                }
            }
        }
    }
}
