//! The real kernel: sockets in every namespace, and each operation as its call.
//!
//! Made anew for each call of [`crate::Net`]. Invariant: a namespace is entered only to open a
//! socket in it or to write a setting; all else goes through the sockets.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::apply::Kernel;
use crate::diff::Op;
use crate::error::{Error, Result};
use crate::files::NetPaths;
use crate::ids::MacAddress;
use crate::intent::VXLAN_PORT;
use crate::ipvs;
use crate::model::{Link, LinkKind, Place};
use crate::netlink::route::{self, LinkChange, NewLink, RouteSocket};
use crate::netlink::socket::errno;
use crate::netlink::{NetlinkSocket, Protocol};
use crate::netns;
use crate::nft::conntrack::{self, Connection};
use crate::nft::table;
use crate::sysctl;

/// The kernel, as seen from the calling thread's namespace.
#[derive(Debug)]
pub(crate) struct Linux {
    paths: NetPaths,
    sockets: BTreeMap<(Place, Protocol), NetlinkSocket>,
    routing: BTreeMap<Place, RouteSocket>,
    ipvs_family: Option<Option<u16>>,
}

impl Linux {
    pub(crate) fn new(paths: &NetPaths) -> Self {
        Self { paths: paths.clone(), sockets: BTreeMap::new(), routing: BTreeMap::new(), ipvs_family: None }
    }

    pub(crate) fn exists(&self, place: &Place) -> bool {
        match place {
            Place::Host => true,
            Place::Named(name) => netns::exists(&self.paths.namespace(name)),
        }
    }

    /// The socket in a namespace, opened when first asked for.
    pub(crate) fn socket(&mut self, place: &Place, protocol: Protocol) -> Result<&NetlinkSocket> {
        let key = (place.clone(), protocol);
        if !self.sockets.contains_key(&key) {
            let opened = self.inside(place, || NetlinkSocket::open(protocol))?;
            let socket = opened.map_err(|source| Error::Socket { place: place.to_string(), source })?;
            self.sockets.insert(key.clone(), socket);
        }
        match self.sockets.get(&key) {
            Some(socket) => Ok(socket),
            None => Err(Error::Socket { place: place.to_string(), source: io::ErrorKind::NotFound.into() }),
        }
    }

    /// The routing socket in a namespace, opened when first asked for.
    pub(crate) fn route(&mut self, place: &Place) -> Result<&RouteSocket> {
        if !self.routing.contains_key(place) {
            let opened = self.inside(place, RouteSocket::open)?;
            let socket = opened.map_err(|source| Error::Socket { place: place.to_string(), source })?;
            self.routing.insert(place.clone(), socket);
        }
        match self.routing.get(place) {
            Some(socket) => Ok(socket),
            None => Err(Error::Socket { place: place.to_string(), source: io::ErrorKind::NotFound.into() }),
        }
    }

    /// Runs something inside a namespace.
    pub(crate) fn inside<T: Send>(&self, place: &Place, work: impl FnOnce() -> T + Send) -> Result<T> {
        match place {
            Place::Host => Ok(work()),
            Place::Named(name) => netns::in_namespace(&self.paths.namespace(name), work),
        }
    }

    /// The number of the IPVS family, if the kernel has it.
    pub(crate) fn ipvs_family(&mut self) -> Result<Option<u16>> {
        if let Some(known) = self.ipvs_family {
            return Ok(known);
        }
        let socket = self.socket(&Place::Host, Protocol::Generic)?;
        let family = ipvs::family(socket).map_err(|source| Error::Observe {
            what: "generic netlink families",
            place: Place::Host.to_string(),
            source,
        })?;
        self.ipvs_family = Some(family);
        Ok(family)
    }

    /// Forgets tracked connections. That it fails only makes them last until they time out.
    pub(crate) fn forget(&mut self, place: &Place, is_stale: impl Fn(&Connection) -> bool) {
        let Ok(socket) = self.socket(place, Protocol::Netfilter) else { return };
        match conntrack::forget(socket, is_stale) {
            Ok(count) => tracing::debug!(%place, count, "forgot connections"),
            Err(failure) => tracing::debug!(%place, %failure, "connections are not forgotten"),
        }
    }

    fn namespace_file(&self, place: &Place) -> PathBuf {
        match place {
            Place::Host => PathBuf::from("/proc/thread-self/ns/net"),
            Place::Named(name) => self.paths.namespace(name),
        }
    }

    fn index(&mut self, place: &Place, name: &str) -> Result<Option<u32>> {
        let link = route::link(self.route(place)?, name);
        let link = link.map_err(|source| Error::Observe { what: "links", place: place.to_string(), source })?;
        Ok(link.map(|link| link.index))
    }

    /// Does something to a link that has to be there.
    fn on_link(
        &mut self,
        place: &Place,
        name: &str,
        operation: impl FnOnce() -> String,
        work: impl FnOnce(&RouteSocket, u32) -> io::Result<()>,
    ) -> Result<()> {
        let index = self.index(place, name)?;
        let socket = self.route(place)?;
        let missing = || io::Error::from_raw_os_error(nix::libc::ENODEV);
        let result = index.ok_or_else(missing).and_then(|index| work(socket, index));
        result.map_err(|source| Error::Kernel { operation: operation(), place: place.to_string(), source })
    }

    fn add_link(&mut self, place: &Place, name: &str, link: &Link, inner_mac: Option<MacAddress>) -> Result<()> {
        let failed = |source| Error::Kernel { operation: format!("add link {name}"), place: place.to_string(), source };
        let mac = link.mac.map(|mac| mac.0);
        match &link.kind {
            LinkKind::Bridge => {
                route::add_link(self.route(place)?, name, mac, link.mtu, &NewLink::Bridge).map_err(failed)
            }
            LinkKind::Veth { peer: Some((other, peer)), .. } => {
                let namespace = File::open(self.namespace_file(other)).map_err(failed)?;
                let peer_mac = inner_mac.map(|mac| mac.0);
                let new = NewLink::Veth { peer, peer_mac, peer_namespace: namespace.as_fd() };
                route::add_link(self.route(place)?, name, mac, link.mtu, &new).map_err(failed)
            }
            LinkKind::Vxlan { vni, port, local } => {
                let namespace = File::open(self.namespace_file(place)).map_err(failed)?;
                let new = NewLink::Vxlan { vni: *vni, port: *port, local: *local, namespace: namespace.as_fd() };
                // Asked for in the host's namespace, which its packets then leave through.
                let socket = self.route(&Place::Host)?;
                match route::add_link(socket, name, mac, link.mtu, &new) {
                    Err(source) if errno(&source) == Some(nix::libc::EOPNOTSUPP) => Err(Error::NoVxlan { source }),
                    result => result.map_err(failed),
                }
            }
            LinkKind::Loopback | LinkKind::Veth { peer: None, .. } | LinkKind::Other => Ok(()),
        }
    }

    fn change_link(&mut self, place: &Place, name: &str, link: &Link) -> Result<()> {
        let master = match &link.master {
            Some(master) => self.index(place, master)?,
            None => None,
        };
        let change = LinkChange { up: None, mac: link.mac.map(|mac| mac.0), mtu: link.mtu, master };
        let port = link.master.is_some().then_some(link.port);
        self.on_link(
            place,
            name,
            || format!("change link {name}"),
            |socket, index| {
                route::set_link(socket, index, change)?;
                port.map_or(Ok(()), |port| route::set_port(socket, index, port.isolated, port.hairpin))
            },
        )
    }

    fn raise_link(&mut self, place: &Place, name: &str, up: bool) -> Result<()> {
        let change = LinkChange { up: Some(up), ..LinkChange::default() };
        let operation = || format!("set link {name} {}", if up { "up" } else { "down" });
        match self.on_link(place, name, operation, |socket, index| route::set_link(socket, index, change)) {
            Err(Error::Kernel { source, .. }) if errno(&source) == Some(nix::libc::EADDRINUSE) => {
                let tunnel = route::link(self.route(place)?, name).ok().flatten();
                Err(Error::VxlanPortTaken { port: tunnel.and_then(|link| link.port).unwrap_or(VXLAN_PORT), source })
            }
            result => result,
        }
    }

    fn change_route(&mut self, place: &Place, wanted: &crate::model::Route, add: bool) -> Result<()> {
        let verb = if add { "add" } else { "remove" };
        let operation = || format!("{verb} route to {} over {}", wanted.destination, wanted.link);
        let work =
            |socket: &RouteSocket, index| route::change_route(socket, add, wanted.destination, wanted.gateway, index);
        if add {
            self.on_link(place, &wanted.link, operation, work)
        } else {
            unless_gone(self.on_link(place, &wanted.link, operation, work))
        }
    }

    fn set_sysctl(&mut self, place: &Place, name: &str, value: &str) -> Result<()> {
        let written = self.inside(place, || sysctl::write(name, value))?;
        match written {
            Err(failure) if failure.kind() == io::ErrorKind::NotFound && is_optional(name) => Ok(()),
            Err(source) => {
                Err(Error::Sysctl { name: name.to_owned(), value: value.to_owned(), place: place.to_string(), source })
            }
            Ok(()) => Ok(()),
        }
    }

    fn ipvs(
        &mut self,
        place: &Place,
        operation: impl FnOnce() -> String,
        work: impl FnOnce(&NetlinkSocket, u16) -> io::Result<()>,
    ) -> Result<()> {
        let family = self.ipvs_family()?;
        let socket = self.socket(place, Protocol::Generic)?;
        let missing = || io::Error::from_raw_os_error(nix::libc::EPROTONOSUPPORT);
        let result = family.ok_or_else(missing).and_then(|family| work(socket, family));
        result.map_err(|source| Error::Kernel { operation: operation(), place: place.to_string(), source })
    }
}

/// Settings that some kernels have no use for: without IPv6, without IPVS, before 4.11.
pub(crate) fn is_optional(name: &str) -> bool {
    name.starts_with("net/ipv6/")
        || name.starts_with("net/ipv4/vs/")
        || matches!(name, "net/ipv4/ip_unprivileged_port_start" | "net/ipv4/ping_group_range")
}

/// A removal, which may find nothing there any more.
fn unless_gone(removal: Result<()>) -> Result<()> {
    match removal {
        Err(Error::Kernel { source, .. }) if is_gone(&source) => Ok(()),
        outcome => outcome,
    }
}

fn is_gone(failure: &io::Error) -> bool {
    matches!(errno(failure), Some(nix::libc::ENODEV | nix::libc::ENOENT | nix::libc::ESRCH | nix::libc::EADDRNOTAVAIL))
}

fn table_error(place: &Place, failure: table::TableError) -> Error {
    Error::Firewall { place: place.to_string(), detail: failure.detail, source: failure.source }
}

impl Kernel for Linux {
    fn execute(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::AddNamespace { name } => netns::create(&self.paths.namespace(name)),
            Op::RemoveNamespace { name } => {
                let gone = Place::Named(name.clone());
                self.sockets.retain(|(place, _), _| *place != gone);
                self.routing.remove(&gone);
                netns::remove(&self.paths.namespace(name))
            }
            Op::AddLink { place, name, link, inner_mac } => self.add_link(place, name, link, *inner_mac),
            Op::ChangeLink { place, name, link } => self.change_link(place, name, link),
            Op::RaiseLink { place, link, up } => self.raise_link(place, link, *up),
            Op::RemoveLink { place, link } => {
                unless_gone(self.on_link(place, link, || format!("remove link {link}"), route::remove_link))
            }
            Op::AddAddress { place, link, address } => {
                let operation = || format!("add address {address} to {link}");
                match self.on_link(place, link, operation, |socket, index| route::add_address(socket, index, *address))
                {
                    // A dump of addresses that change meanwhile may leave out one that is there.
                    Err(Error::Kernel { source, .. }) if errno(&source) == Some(nix::libc::EEXIST) => Ok(()),
                    result => result,
                }
            }
            Op::RemoveAddress { place, link, address } => unless_gone(self.on_link(
                place,
                link,
                || format!("remove address {address} from {link}"),
                |socket, index| route::remove_address(socket, index, *address),
            )),
            Op::AddRoute { place, route } => self.change_route(place, route, true),
            Op::RemoveRoute { place, route } => self.change_route(place, route, false),
            Op::SetNeighbour { place, link, address, mac } => self.neighbour(place, link, *address, *mac, true),
            Op::RemoveNeighbour { place, link, address, mac } => self.neighbour(place, link, *address, *mac, false),
            Op::SetForwarding { place, link, mac, node } => self.forwarding(place, link, *mac, *node, true),
            Op::RemoveForwarding { place, link, mac, node } => self.forwarding(place, link, *mac, *node, false),
            Op::SetSysctl { place, name, value } => self.set_sysctl(place, name, value),
            Op::SetFirewall { place, ruleset } => {
                let socket = self.socket(place, Protocol::Netfilter)?;
                table::replace(socket, ruleset).map_err(|failure| table_error(place, failure))
            }
            Op::RemoveFirewall { place } => {
                let socket = self.socket(place, Protocol::Netfilter)?;
                table::remove(socket).map_err(|failure| table_error(place, failure))
            }
            Op::AddService { .. } | Op::RemoveService { .. } | Op::SetBackend { .. } | Op::RemoveBackend { .. } => {
                self.execute_ipvs(op)
            }
        }
    }
}

impl Linux {
    fn neighbour(&mut self, place: &Place, link: &str, address: Ipv4Addr, mac: MacAddress, set: bool) -> Result<()> {
        let work = |socket: &RouteSocket, index| route::change_neighbour(socket, set, index, address, mac.0);
        if set {
            self.on_link(place, link, || format!("set neighbour {address}"), work)
        } else {
            unless_gone(self.on_link(place, link, || format!("remove neighbour {address}"), work))
        }
    }

    fn forwarding(&mut self, place: &Place, link: &str, mac: MacAddress, node: Ipv4Addr, set: bool) -> Result<()> {
        let work = |socket: &RouteSocket, index| route::change_forwarding(socket, set, index, mac.0, node);
        if set {
            self.on_link(place, link, || format!("forward {mac} to {node}"), work)
        } else {
            unless_gone(self.on_link(place, link, || format!("stop forwarding {mac} to {node}"), work))?;
            // The bridge has learned it as well; should the address come back elsewhere, frames
            // would go on into the tunnel.
            unless_gone(self.on_link(
                place,
                link,
                || format!("unlearn {mac}"),
                |socket, index| route::unlearn(socket, index, mac.0),
            ))
        }
    }

    fn execute_ipvs(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::AddService { place, mark } => self.ipvs(
                place,
                || format!("add virtual service {mark:#x}"),
                |socket, family| {
                    ipvs::add_service(socket, family, *mark)?;
                    ipvs::keep_idle_connections(socket, family)
                },
            ),
            Op::RemoveService { place, mark } => self.ipvs(
                place,
                || format!("remove virtual service {mark:#x}"),
                |socket, family| ipvs::remove_service(socket, family, *mark),
            ),
            Op::SetBackend { place, mark, backend, weight } => self.ipvs(
                place,
                || format!("set backend {backend} of {mark:#x}"),
                |socket, family| ipvs::set_backend(socket, family, *mark, *backend, *weight),
            ),
            Op::RemoveBackend { place, mark, backend } => self.ipvs(
                place,
                || format!("remove backend {backend} of {mark:#x}"),
                |socket, family| ipvs::remove_backend(socket, family, *mark, *backend),
            ),
            _ => Ok(()),
        }
    }
}
