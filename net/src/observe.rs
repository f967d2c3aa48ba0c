//! Reads the kernel into the plan's own types.
//!
//! Used before every change. Looks only where the scope says, and of settings only at those that
//! the plan asks for. Invariant: observing changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::error::{Error, Result};
use crate::ids::MacAddress;
use crate::linux::{self, Linux};
use crate::model::{Firewall, Link, LinkKind, Place, Plan, PortMode, Reach, Route, Scope, Space};
use crate::netlink::Protocol;
use crate::netlink::route::{self, KernelLink, RouteSocket};
use crate::netns::outside_of_event_loops;
use crate::nft::table;
use crate::sysctl;
use crate::{ipvs, names};

/// A route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostRoute {
    pub(crate) destination: Ipv4Net,
    pub(crate) device: String,
}

/// The IPv4 routes of this thread's namespace.
pub(crate) fn host_routes() -> Result<Vec<HostRoute>> {
    outside_of_event_loops(read_host_routes)
}

fn read_host_routes() -> Result<Vec<HostRoute>> {
    let failed = |source| Error::Observe { what: "routes", place: Place::Host.to_string(), source };
    let socket = RouteSocket::open().map_err(failed)?;
    let links: BTreeMap<u32, String> =
        route::links(&socket).map_err(failed)?.into_iter().map(|link| (link.index, link.name)).collect();
    let routes = route::routes(&socket).map_err(failed)?.into_iter();
    Ok(routes
        .map(|found| HostRoute {
            destination: found.destination,
            device: links.get(&found.link).cloned().unwrap_or_default(),
        })
        .collect())
}

/// What there is within the scope.
pub(crate) fn observe(linux: &mut Linux, scope: &Scope, desired: &Plan) -> Result<Plan> {
    let mut observed = Plan::default();
    let mut indices = BTreeMap::new();
    for (place, reach) in scope {
        if !linux.exists(place) {
            continue;
        }
        let wanted = desired.places.get(place);
        let mut space = Space::default();
        links(linux, place, reach, wanted, &mut space, &mut indices)?;
        if wanted.is_some() || *reach == Reach::Whole {
            content(linux, place, reach, wanted, &mut space)?;
        }
        observed.places.insert(place.clone(), space);
    }
    pair_up(&mut observed, desired, &indices);
    Ok(observed)
}

/// Index and peer's index of every observed link.
type Indices = BTreeMap<(Place, String), (u32, Option<u32>)>;

fn failed<'a>(what: &'static str, place: &'a Place) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |source| Error::Observe { what, place: place.to_string(), source }
}

fn links(
    linux: &mut Linux,
    place: &Place,
    reach: &Reach,
    wanted: Option<&Space>,
    space: &mut Space,
    indices: &mut Indices,
) -> Result<()> {
    let socket = linux.route(place)?;
    let found = match reach {
        Reach::Whole => route::links(socket).map_err(failed("links", place))?,
        Reach::Links { names, .. } | Reach::Sandbox { names, .. } => {
            let mut found = Vec::new();
            for name in names {
                found.extend(route::link(socket, name).map_err(failed("links", place))?);
            }
            found
        }
    };
    let mut by_index: BTreeMap<u32, String> = found.iter().map(|link| (link.index, link.name.clone())).collect();
    for link in &found {
        let kind = kind_of(link);
        // Fallback devices of tunnel modules appear in every namespace and cannot be removed.
        if kind == LinkKind::Other && *reach == Reach::Whole {
            by_index.remove(&link.index);
            continue;
        }
        indices.insert((place.clone(), link.name.clone()), (link.index, link.peer));
        space.links.insert(link.name.clone(), observed_link(link, kind, &by_index));
    }
    for (index, address) in route::addresses(socket).map_err(failed("addresses", place))? {
        let Some(link) = by_index.get(&index).filter(|link| *link != "lo") else { continue };
        let entry = (link.clone(), address);
        let ours = match reach {
            Reach::Sandbox { addresses, .. } => {
                addresses.contains(&entry) || wanted.is_some_and(|wanted| wanted.addresses.contains(&entry))
            }
            Reach::Whole | Reach::Links { .. } => true,
        };
        if ours {
            space.addresses.insert(entry);
        }
    }
    Ok(())
}

fn kind_of(link: &KernelLink) -> LinkKind {
    match link.kind.as_str() {
        "bridge" => LinkKind::Bridge,
        "veth" => LinkKind::Veth { peer: None, outer: link.name.starts_with(names::VETH_PREFIX) },
        "vxlan" => LinkKind::Vxlan {
            vni: link.vni.unwrap_or(0),
            port: link.port.unwrap_or(0),
            local: link.local.unwrap_or(Ipv4Addr::UNSPECIFIED),
        },
        _ if link.name == "lo" => LinkKind::Loopback,
        _ => LinkKind::Other,
    }
}

fn observed_link(link: &KernelLink, kind: LinkKind, names: &BTreeMap<u32, String>) -> Link {
    // A master outside of what was looked at has no name here: it is not the planned one then.
    let master = link.master.map(|master| names.get(&master).cloned().unwrap_or_else(|| format!("#{master}")));
    Link {
        kind,
        mac: link.mac.map(MacAddress),
        mtu: Some(link.mtu),
        port: PortMode { isolated: link.isolated, hairpin: link.hairpin },
        master,
        up: link.up,
    }
}

fn content(linux: &mut Linux, place: &Place, reach: &Reach, wanted: Option<&Space>, space: &mut Space) -> Result<()> {
    if !matches!(reach, Reach::Links { .. }) {
        routes(linux, place, reach, space)?;
    }
    if *reach == Reach::Whole && space.links.contains_key(names::OVERLAY_VXLAN) {
        tunnel(linux, place, space)?;
    }
    if !matches!(reach, Reach::Links { firewall: false, .. }) {
        space.firewall = firewall(linux, place, wanted)?;
    }
    if is_balancer(place)
        && let Some(family) = linux.ipvs_family()?
    {
        let socket = linux.socket(place, Protocol::Generic)?;
        space.services = ipvs::services(socket, family).map_err(failed("virtual services", place))?;
    }
    if let Some(wanted) = wanted.filter(|wanted| !wanted.sysctls.is_empty()) {
        space.sysctls = sysctls(linux, place, &wanted.sysctls)?;
    }
    Ok(())
}

fn is_balancer(place: &Place) -> bool {
    matches!(place, Place::Named(name) if name == names::INGRESS_SANDBOX || name.starts_with(names::BALANCER_PREFIX))
}

fn routes(linux: &mut Linux, place: &Place, reach: &Reach, space: &mut Space) -> Result<()> {
    let socket = linux.route(place)?;
    let found = route::routes(socket).map_err(failed("routes", place))?;
    let links = route::links(socket).map_err(failed("links", place))?;
    for found in found.into_iter().filter(|found| !found.by_kernel) {
        let Some(link) = links.iter().find(|link| link.index == found.link) else { continue };
        let ours =
            *reach == Reach::Whole || (found.destination.prefix_len() == 0 && space.links.contains_key(&link.name));
        if ours {
            space.routes.insert(Route {
                destination: found.destination,
                gateway: found.gateway,
                link: link.name.clone(),
            });
        }
    }
    Ok(())
}

fn tunnel(linux: &mut Linux, place: &Place, space: &mut Space) -> Result<()> {
    let name = names::OVERLAY_VXLAN;
    let socket = linux.route(place)?;
    let Some(link) = route::link(socket, name).map_err(failed("links", place))? else { return Ok(()) };
    for (address, mac) in route::neighbours(socket, link.index).map_err(failed("neighbours", place))? {
        space.neighbours.insert((name.to_owned(), address), MacAddress(mac));
    }
    for (mac, node) in route::forwarding(socket, link.index).map_err(failed("forwarding entries", place))? {
        space.forwarding.insert((name.to_owned(), MacAddress(mac)), node);
    }
    Ok(())
}

fn firewall(linux: &mut Linux, place: &Place, wanted: Option<&Space>) -> Result<Option<Firewall>> {
    let needed = wanted.is_some_and(|wanted| wanted.firewall.is_some());
    let socket = match linux.socket(place, Protocol::Netfilter) {
        Ok(socket) => socket,
        // A kernel without netfilter has no rules of ours; only wanting some makes that an error.
        Err(failure) if needed => return Err(failure),
        Err(_) => return Ok(None),
    };
    match table::fingerprint(socket) {
        Ok(found) => Ok(found.map(|fingerprint| Firewall { fingerprint, ruleset: None })),
        Err(source) if needed => {
            Err(Error::Firewall { place: place.to_string(), detail: "reading the rules".to_owned(), source })
        }
        Err(_) => Ok(None),
    }
}

fn sysctls(linux: &Linux, place: &Place, wanted: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    linux.inside(place, || {
        let mut values = BTreeMap::new();
        for (name, value) in wanted {
            match sysctl::read(name) {
                Ok(text) => {
                    let words: Vec<&str> = text.split_whitespace().collect();
                    values.insert(name.clone(), words.join(" "));
                }
                // What this kernel does not have is as good as set.
                Err(_) if linux::is_optional(name) => {
                    values.insert(name.clone(), value.clone());
                }
                Err(_) => {}
            }
        }
        values
    })
}

/// Tells veths whose other end is where the plan wants it: both ends name each other's index.
fn pair_up(observed: &mut Plan, desired: &Plan, indices: &Indices) {
    let mut paired = BTreeSet::new();
    for (place, space) in &desired.places {
        for (name, link) in &space.links {
            let LinkKind::Veth { peer: Some((other, peer)), .. } = &link.kind else { continue };
            let here = indices.get(&(place.clone(), name.clone()));
            let there = indices.get(&(other.clone(), peer.clone()));
            if let (Some((index, Some(link))), Some((other_index, Some(other_link)))) = (here, there)
                && link == other_index
                && other_link == index
            {
                paired.insert((place.clone(), name.clone(), other.clone(), peer.clone()));
            }
        }
    }
    for (place, name, other, peer) in paired {
        if let Some(link) = observed.places.get_mut(&place).and_then(|space| space.links.get_mut(&name))
            && let LinkKind::Veth { peer: known, .. } = &mut link.kind
        {
            *known = Some((other, peer));
        }
    }
}
