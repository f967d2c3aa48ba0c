//! Address allocation as pure functions: no kernel, no files, no clock.
//!
//! Used by the network store (subnets) and by `connect` (addresses). Invariant: what is given out
//! is never the subnet's own or broadcast address, and never one of those passed as used.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// A range of addresses handed out in blocks of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pool {
    base: Ipv4Net,
    block_prefix: u8,
}

impl Pool {
    /// `base` cut into blocks of `/block_prefix`; `None` when the blocks would be larger than it.
    pub(crate) fn new(base: Ipv4Net, block_prefix: u8) -> Option<Self> {
        (base.prefix_len() <= block_prefix && block_prefix <= 30).then_some(Self { base: base.trunc(), block_prefix })
    }

    /// The lowest block that overlaps none of `taken`.
    pub(crate) fn first_free(&self, taken: &[Ipv4Net]) -> Option<Ipv4Net> {
        let mut candidate = Ipv4Net::new(self.base.network(), self.block_prefix).ok()?;
        loop {
            if !self.base.contains(&candidate) {
                return None;
            }
            // Jumping behind the overlapping network, not to the next block, keeps this quick
            // when a whole /8 is routed elsewhere.
            let end = match taken.iter().find(|other| overlap(&candidate, other)) {
                None => return Some(candidate),
                Some(other) => u32::from(candidate.broadcast()).max(u32::from(other.broadcast())),
            };
            candidate = Ipv4Net::new(Ipv4Addr::from(end.checked_add(1)?), self.block_prefix).ok()?.trunc();
        }
    }
}

/// The pools local networks are taken from when no subnet is given: docker's.
pub(crate) fn default_pools() -> Vec<Pool> {
    let sixteens = (17..=31).map(|second| (Ipv4Addr::new(172, second, 0, 0), 16, 16));
    let twenties = std::iter::once((Ipv4Addr::new(192, 168, 0, 0), 16, 20));
    sixteens
        .chain(twenties)
        .filter_map(|(base, prefix, block)| Pool::new(Ipv4Net::new(base, prefix).ok()?, block))
        .collect()
}

/// Whether two networks have an address in common.
pub(crate) fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// Whether `address` may be given to a host of `subnet`.
pub(crate) fn is_host_address(subnet: &Ipv4Net, address: Ipv4Addr) -> bool {
    subnet.contains(&address) && address != subnet.network() && address != subnet.broadcast()
}

/// The first host address of a subnet: the gateway unless another is asked for.
pub(crate) fn default_gateway(subnet: &Ipv4Net) -> Option<Ipv4Addr> {
    subnet.hosts().next()
}

/// The lowest free address of `range` (a part of `subnet`, or all of it) that is not in `used`.
pub(crate) fn lowest_free(subnet: &Ipv4Net, range: Option<&Ipv4Net>, used: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let range = range.unwrap_or(subnet);
    let last = u32::from(range.broadcast());
    let mut candidate = u32::from(range.network());
    // `used` is sorted, so one pass over it beside the candidates is enough.
    let mut taken = used.range(range.network()..).map(|address| u32::from(*address)).peekable();
    while candidate <= last {
        while taken.next_if(|address| *address < candidate).is_some() {}
        let address = Ipv4Addr::from(candidate);
        if taken.peek() != Some(&candidate) && is_host_address(subnet, address) {
            return Some(address);
        }
        candidate = candidate.checked_add(1)?;
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn default_pools_start_with_docker0s_subnet() {
        let free = |taken: &[Ipv4Net]| default_pools().iter().find_map(|pool| pool.first_free(taken));
        assert_eq!(free(&[]), Some(net("172.17.0.0/16")));
        assert_eq!(free(&[net("172.17.3.0/24")]), Some(net("172.18.0.0/16")));
        assert_eq!(free(&[net("172.16.0.0/12")]), Some(net("192.168.0.0/20")));
        assert_eq!(free(&[net("172.16.0.0/12"), net("192.168.0.1/32")]), Some(net("192.168.16.0/20")));
        assert_eq!(free(&[net("128.0.0.0/1")]), None);
    }

    #[test]
    fn addresses_are_given_out_from_below() {
        let subnet = net("10.0.0.0/29");
        let mut used = BTreeSet::from([Ipv4Addr::new(10, 0, 0, 1)]);
        let mut given = Vec::new();
        while let Some(address) = lowest_free(&subnet, None, &used) {
            used.insert(address);
            given.push(address.octets()[3]);
        }
        assert_eq!(given, [2, 3, 4, 5, 6]);
        let range = net("10.0.0.4/30");
        assert_eq!(lowest_free(&subnet, Some(&range), &BTreeSet::new()), Some(Ipv4Addr::new(10, 0, 0, 4)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_block_never_overlaps_what_is_taken(
            taken in proptest::collection::vec((any::<u16>(), 9u8..=24), 0..40),
            block in 20u8..=26,
        ) {
            let base = net("10.0.0.0/8");
            let taken: Vec<Ipv4Net> = taken
                .iter()
                .map(|(middle, prefix)| {
                    let [a, b] = middle.to_be_bytes();
                    Ipv4Net::new(Ipv4Addr::new(10, a, b, 0), *prefix).unwrap()
                })
                .collect();
            if let Some(found) = Pool::new(base, block).unwrap().first_free(&taken) {
                prop_assert!(base.contains(&found));
                prop_assert!(taken.iter().all(|other| !overlap(&found, other)));
            }
        }

        #[test]
        fn the_lowest_free_address_is_free_and_lowest(
            prefix in 24u8..=30,
            used in proptest::collection::btree_set(any::<u8>(), 0..256),
        ) {
            let subnet = Ipv4Net::new(Ipv4Addr::new(192, 168, 7, 0), prefix).unwrap();
            let used: BTreeSet<Ipv4Addr> = used.iter().map(|last| Ipv4Addr::new(192, 168, 7, *last)).collect();
            let expected = subnet.hosts().find(|address| !used.contains(address));
            prop_assert_eq!(lowest_free(&subnet, None, &used), expected);
        }
    }
}
