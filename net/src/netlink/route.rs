//! Links, addresses, routes, neighbours and bridge forwarding entries (linux/rtnetlink.h), through rtnetlink.
//!
//! Used by observe and apply. Each function is one request and its answer; nothing is decided here.
//! Callers block: a socket has a small event loop of its own, which runs only while an answer is awaited.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use futures::{Stream, TryStreamExt};
use ipnet::Ipv4Net;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoData, InfoPortData, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder,
};
use tokio::runtime::Runtime;

/// NUD_NOARP and NUD_PERMANENT together, as static forwarding entries have them.
const STATIC_FORWARDING: u16 = 0x40 | 0x80;

/// A routing socket. It belongs for ever to the namespace it was opened in, and may be used from any thread
/// that does not run an event loop itself.
pub(crate) struct RouteSocket {
    runtime: Runtime,
    handle: Handle,
}

impl fmt::Debug for RouteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteSocket").finish_non_exhaustive()
    }
}

impl RouteSocket {
    /// Opens a socket in the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (connection, handle, _) = {
            let _entered = runtime.enter();
            rtnetlink::new_connection()?
        };
        runtime.spawn(connection);
        Ok(Self { runtime, handle })
    }

    fn request(&self, request: impl Future<Output = Result<(), rtnetlink::Error>>) -> io::Result<()> {
        self.runtime.block_on(request).map_err(refusal)
    }

    fn collect<T>(&self, answers: impl Stream<Item = Result<T, rtnetlink::Error>>) -> io::Result<Vec<T>> {
        self.runtime.block_on(answers.try_collect()).map_err(refusal)
    }
}

/// The kernel's error number, where it gave one.
fn refusal(error: rtnetlink::Error) -> io::Error {
    match &error {
        rtnetlink::Error::NetlinkError(message) => io::Error::from_raw_os_error(-message.raw_code()),
        _ => io::Error::other(error.to_string()),
    }
}

/// A link as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelLink {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// "bridge", "veth", "vxlan", …; empty for hardware and loopback.
    pub(crate) kind: String,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: u32,
    pub(crate) master: Option<u32>,
    /// Index of a veth's peer, in the peer's namespace.
    pub(crate) peer: Option<u32>,
    pub(crate) up: bool,
    pub(crate) isolated: bool,
    pub(crate) hairpin: bool,
    pub(crate) vni: Option<u32>,
    /// UDP port of a VXLAN link.
    pub(crate) port: Option<u16>,
    pub(crate) local: Option<Ipv4Addr>,
}

/// A route in the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelRoute {
    pub(crate) destination: Ipv4Net,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) link: u32,
    /// The kernel made it by itself, for an address.
    pub(crate) by_kernel: bool,
}

/// What a new link is to be.
#[derive(Debug)]
pub(crate) enum NewLink<'a> {
    Bridge,
    /// The peer is made in another namespace.
    Veth {
        peer: &'a str,
        peer_mac: Option<[u8; 6]>,
        peer_namespace: BorrowedFd<'a>,
    },
    /// Made in another namespace; its packets leave through the socket's own.
    Vxlan {
        vni: u32,
        port: u16,
        local: Ipv4Addr,
        namespace: BorrowedFd<'a>,
    },
}

/// All links of the namespace.
pub(crate) fn links(socket: &RouteSocket) -> io::Result<Vec<KernelLink>> {
    let found = socket.collect(socket.handle.link().get().execute())?;
    Ok(found.into_iter().filter_map(parse_link).collect())
}

/// The link of this name.
pub(crate) fn link(socket: &RouteSocket, name: &str) -> io::Result<Option<KernelLink>> {
    match socket.collect(socket.handle.link().get().match_name(name).execute()) {
        Ok(found) => Ok(found.into_iter().find_map(parse_link)),
        Err(failure) if failure.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn parse_link(message: LinkMessage) -> Option<KernelLink> {
    let mut link = KernelLink {
        index: message.header.index,
        name: String::new(),
        kind: String::new(),
        mac: None,
        mtu: 0,
        master: None,
        peer: None,
        up: message.header.flags.contains(LinkFlags::Up),
        isolated: false,
        hairpin: false,
        vni: None,
        port: None,
        local: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(mac) => link.mac = mac.try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(master) => link.master = Some(master),
            LinkAttribute::Link(peer) => link.peer = Some(peer),
            LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|info| parse_info(&mut link, info)),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn parse_info(link: &mut KernelLink, info: LinkInfo) {
    match info {
        LinkInfo::Kind(kind) => link.kind = kind.to_string(),
        LinkInfo::Data(InfoData::Vxlan(data)) => {
            for value in data {
                match value {
                    InfoVxlan::Id(vni) => link.vni = Some(vni),
                    InfoVxlan::Port(port) => link.port = Some(port),
                    InfoVxlan::Local(local) => link.local = Some(local),
                    _ => {}
                }
            }
        }
        LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
            link.isolated = port.iter().any(|value| matches!(value, InfoBridgePort::Isolated(true)));
            link.hairpin = port.iter().any(|value| matches!(value, InfoBridgePort::HairpinMode(true)));
        }
        _ => {}
    }
}

/// Makes a link, down.
pub(crate) fn add_link(
    socket: &RouteSocket,
    name: &str,
    mac: Option<[u8; 6]>,
    mtu: Option<u32>,
    new: &NewLink<'_>,
) -> io::Result<()> {
    let message = match new {
        NewLink::Bridge => shaped(LinkBridge::new(name), mac, mtu).build(),
        NewLink::Veth { peer, peer_mac, peer_namespace } => {
            let peer = shaped(LinkUnspec::new_with_name(peer), *peer_mac, mtu).setns_by_fd(peer_namespace.as_raw_fd());
            shaped(LinkVeth::new(name, ""), mac, mtu)
                .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
                .build()
        }
        NewLink::Vxlan { vni, port, local, namespace } => {
            let link = shaped(LinkVxlan::new(name, *vni), mac, mtu)
                .port(*port)
                .learning(false)
                .proxy(true)
                .l2miss(true)
                .l3miss(true)
                .udp_csum(true)
                .setns_by_fd(namespace.as_raw_fd());
            if local.is_unspecified() { link.build() } else { link.local(*local).build() }
        }
    };
    socket.request(socket.handle.link().add(message).execute())
}

fn shaped<T>(mut link: LinkMessageBuilder<T>, mac: Option<[u8; 6]>, mtu: Option<u32>) -> LinkMessageBuilder<T> {
    if let Some(mac) = mac {
        link = link.address(mac.to_vec());
    }
    if let Some(mtu) = mtu {
        link = link.mtu(mtu);
    }
    link
}

/// Changes to a link; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LinkChange {
    pub(crate) up: Option<bool>,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: Option<u32>,
    pub(crate) master: Option<u32>,
}

/// Changes a link.
pub(crate) fn set_link(socket: &RouteSocket, index: u32, change: LinkChange) -> io::Result<()> {
    let mut link = shaped(LinkUnspec::new_with_index(index), change.mac, change.mtu);
    link = match change.up {
        Some(true) => link.up(),
        Some(false) => link.down(),
        None => link,
    };
    if let Some(master) = change.master {
        link = link.controller(master);
    }
    socket.request(socket.handle.link().change(link.build()).execute())
}

/// Sets how a bridge treats one of its ports.
pub(crate) fn set_port(socket: &RouteSocket, index: u32, isolated: bool, hairpin: bool) -> io::Result<()> {
    let message = LinkBridgePort::new(index).isolated(isolated).hairpin(hairpin).build();
    socket.request(socket.handle.link().set_port(message).execute())
}

/// Removes a link.
pub(crate) fn remove_link(socket: &RouteSocket, index: u32) -> io::Result<()> {
    socket.request(socket.handle.link().del(index).execute())
}

/// All IPv4 addresses of the namespace, with the index of their link.
pub(crate) fn addresses(socket: &RouteSocket) -> io::Result<Vec<(u32, Ipv4Net)>> {
    let found = socket.collect(socket.handle.address().get().execute())?;
    let parse = |message: rtnetlink::packet_route::address::AddressMessage| {
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
            _ => None,
        });
        Some((message.header.index, Ipv4Net::new(local?, message.header.prefix_len).ok()?))
    };
    Ok(found.into_iter().filter_map(parse).collect())
}

/// Adds an address.
pub(crate) fn add_address(socket: &RouteSocket, index: u32, address: Ipv4Net) -> io::Result<()> {
    socket.request(socket.handle.address().add(index, address.addr().into(), address.prefix_len()).execute())
}

/// Removes an address.
pub(crate) fn remove_address(socket: &RouteSocket, index: u32, address: Ipv4Net) -> io::Result<()> {
    let mut message = rtnetlink::packet_route::address::AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address.addr().into()));
    socket.request(socket.handle.address().del(message).execute())
}

/// The unicast routes of the main table.
pub(crate) fn routes(socket: &RouteSocket) -> io::Result<Vec<KernelRoute>> {
    let request = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let found = socket.collect(socket.handle.route().get(request).execute())?;
    Ok(found.into_iter().filter_map(parse_route).collect())
}

fn parse_route(message: RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    let (mut table, mut destination) = (u32::from(header.table), Ipv4Addr::UNSPECIFIED);
    let (mut gateway, mut link) = (None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::Oif(index) => link = *index,
            _ => {}
        }
    }
    let is_wanted = header.address_family == AddressFamily::Inet
        && header.kind == RouteType::Unicast
        && table == u32::from(RouteHeader::RT_TABLE_MAIN);
    is_wanted.then_some(())?;
    let destination = Ipv4Net::new(destination, header.destination_prefix_length).ok()?;
    Some(KernelRoute { destination, gateway, link, by_kernel: header.protocol == RouteProtocol::Kernel })
}

/// Adds a route, or removes it.
pub(crate) fn change_route(
    socket: &RouteSocket,
    add: bool,
    destination: Ipv4Net,
    gateway: Option<Ipv4Addr>,
    index: u32,
) -> io::Result<()> {
    let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(destination.network(), destination.prefix_len())
        .output_interface(index);
    if let Some(gateway) = gateway {
        route = route.gateway(gateway);
    } else {
        route = route.scope(rtnetlink::packet_route::route::RouteScope::Link);
    }
    let routes = socket.handle.route();
    if add {
        socket.request(routes.add(route.build()).replace().execute())
    } else {
        socket.request(routes.del(route.build()).execute())
    }
}

/// The permanent neighbours of a link: address and MAC address.
pub(crate) fn neighbours(socket: &RouteSocket, index: u32) -> io::Result<Vec<(Ipv4Addr, [u8; 6])>> {
    let request = socket.handle.neighbours().get().set_address_family(AddressFamily::Inet);
    entries(socket.collect(request.execute())?, index)
}

/// The permanent forwarding entries of a VXLAN link: MAC address and remote node.
pub(crate) fn forwarding(socket: &RouteSocket, index: u32) -> io::Result<Vec<([u8; 6], Ipv4Addr)>> {
    let request = socket.handle.neighbours().get().set_address_family(AddressFamily::Bridge);
    let found = entries(socket.collect(request.execute())?, index)?;
    Ok(found.into_iter().map(|(node, mac)| (mac, node)).collect())
}

fn entries(found: Vec<NeighbourMessage>, link: u32) -> io::Result<Vec<(Ipv4Addr, [u8; 6])>> {
    let parse = |message: NeighbourMessage| {
        let permanent = u16::from(NeighbourState::Permanent);
        if message.header.ifindex != link || u16::from(message.header.state) & permanent == 0 {
            return None;
        }
        let (mut address, mut mac) = (None, None);
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(to)) => address = Some(to),
                // Of forwarding entries the family does not say what the destination is.
                NeighbourAttribute::Destination(NeighbourAddress::Other(octets)) => {
                    address = <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from);
                }
                NeighbourAttribute::LinkLayerAddress(octets) => mac = octets.try_into().ok(),
                _ => {}
            }
        }
        Some((address?, mac?))
    };
    Ok(found.into_iter().filter_map(parse).collect())
}

/// Sets a permanent neighbour, or removes it.
pub(crate) fn change_neighbour(
    socket: &RouteSocket,
    set: bool,
    index: u32,
    address: Ipv4Addr,
    mac: [u8; 6],
) -> io::Result<()> {
    let header = NeighbourHeader {
        family: AddressFamily::Inet,
        ifindex: index,
        state: NeighbourState::Permanent,
        flags: NeighbourFlags::empty(),
        kind: RouteType::Unspec,
    };
    change_entry(socket, set, header, address, mac)
}

/// Sets a VXLAN link's forwarding entry, or removes it.
pub(crate) fn change_forwarding(
    socket: &RouteSocket,
    set: bool,
    index: u32,
    mac: [u8; 6],
    node: Ipv4Addr,
) -> io::Result<()> {
    let header = NeighbourHeader {
        family: AddressFamily::Bridge,
        ifindex: index,
        state: NeighbourState::Other(STATIC_FORWARDING),
        flags: NeighbourFlags::Own,
        kind: RouteType::Unspec,
    };
    change_entry(socket, set, header, node, mac)
}

/// Makes a bridge forget that it learned a MAC address behind one of its ports.
pub(crate) fn unlearn(socket: &RouteSocket, port: u32, mac: [u8; 6]) -> io::Result<()> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    message.header.flags = NeighbourFlags::Controller;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    match socket.request(socket.handle.neighbours().del(message).execute()) {
        Err(failure) if failure.raw_os_error() == Some(nix::libc::ENOENT) => Ok(()),
        result => result,
    }
}

fn change_entry(
    socket: &RouteSocket,
    set: bool,
    header: NeighbourHeader,
    address: Ipv4Addr,
    mac: [u8; 6],
) -> io::Result<()> {
    let attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
        NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
    ];
    let neighbours = socket.handle.neighbours();
    if set {
        let mut request = neighbours.add(header.ifindex, address.into()).replace();
        let message = request.message_mut();
        message.header = header;
        message.attributes = attributes;
        socket.request(request.execute())
    } else {
        let mut message = NeighbourMessage::default();
        message.header = header;
        message.attributes = attributes;
        socket.request(neighbours.del(message).execute())
    }
}
