//! Links, addresses, routes, neighbours and bridge forwarding entries (linux/rtnetlink.h).
//!
//! Used by observe and apply. Each function is one message and its answer; nothing is decided here.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::Ipv4Net;

use super::socket::{NetlinkSocket, errno};
use super::wire::{Attributes, Message, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_BRIDGE: u8 = 7;

const IFF_UP: u32 = 1;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const VETH_INFO_PEER: u16 = 1;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PROXY: u16 = 11;
const IFLA_VXLAN_L2MISS: u16 = 13;
const IFLA_VXLAN_L3MISS: u16 = 14;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_UDP_CSUM: u16 = 18;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
const NTF_SELF: u8 = 0x02;
const NTF_MASTER: u8 = 0x04;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_KERNEL: u8 = 2;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;

/// The VXLAN port (IANA's).
pub(crate) const VXLAN_PORT: u16 = 4789;

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
    pub(crate) local: Option<Ipv4Addr>,
}

/// A route in the main table that the kernel did not make by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelRoute {
    pub(crate) destination: Ipv4Net,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) link: u32,
    pub(crate) by_kernel: bool,
}

/// What a new link is to be.
#[derive(Debug)]
pub(crate) enum NewLink<'a> {
    Bridge,
    /// The peer is made in another namespace.
    Veth { peer: &'a str, peer_mac: Option<[u8; 6]>, peer_namespace: BorrowedFd<'a> },
    /// Made in another namespace; its packets leave through the socket's own.
    Vxlan { vni: u32, local: Ipv4Addr, namespace: BorrowedFd<'a> },
}

fn link_header(family: u8, index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// All links of the namespace.
pub(crate) fn links(socket: &NetlinkSocket) -> io::Result<Vec<KernelLink>> {
    let request = Message::new(RTM_GETLINK, 0, &link_header(AF_UNSPEC, 0, 0, 0));
    Ok(socket.dump(request)?.iter().filter_map(|payload| parse_link(payload)).collect())
}

/// The link of this name.
pub(crate) fn link(socket: &NetlinkSocket, name: &str) -> io::Result<Option<KernelLink>> {
    let mut request = Message::new(RTM_GETLINK, 0, &link_header(AF_UNSPEC, 0, 0, 0));
    request.string(IFLA_IFNAME, name);
    match socket.query(request) {
        Ok(payload) => Ok(parse_link(&payload)),
        Err(failure) if errno(&failure) == Some(libc::ENODEV) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn parse_link(payload: &[u8]) -> Option<KernelLink> {
    let index = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
    let flags = u32::from_ne_bytes(payload.get(8..12)?.try_into().ok()?);
    let attributes = Attributes::after(payload, 16);
    let info = attributes.get(IFLA_LINKINFO).map(|info| info.nested());
    let data = info.and_then(|info| info.get(IFLA_INFO_DATA)).map(|data| data.nested());
    let kind = info.and_then(|info| info.get(IFLA_INFO_KIND)).map(|kind| kind.string()).unwrap_or_default();
    let vxlan = data.filter(|_| kind == "vxlan");
    let port = info.and_then(|info| info.get(IFLA_INFO_SLAVE_DATA)).map(|port| port.nested());
    Some(KernelLink {
        index,
        name: attributes.get(IFLA_IFNAME)?.string(),
        mac: attributes.get(IFLA_ADDRESS).and_then(|mac| mac.mac()),
        mtu: attributes.get(IFLA_MTU).and_then(|mtu| mtu.u32()).unwrap_or(0),
        master: attributes.get(IFLA_MASTER).and_then(|master| master.u32()),
        peer: attributes.get(IFLA_LINK).and_then(|peer| peer.u32()),
        up: flags & IFF_UP != 0,
        isolated: port.and_then(|port| port.get(IFLA_BRPORT_ISOLATED)).and_then(|on| on.u8()) == Some(1),
        hairpin: port.and_then(|port| port.get(IFLA_BRPORT_MODE)).and_then(|on| on.u8()) == Some(1),
        vni: vxlan.and_then(|data| data.get(IFLA_VXLAN_ID)).and_then(|vni| vni.u32()),
        local: vxlan.and_then(|data| data.get(IFLA_VXLAN_LOCAL)).and_then(|local| local.ipv4()),
        kind,
    })
}

/// Makes a link, down.
pub(crate) fn add_link(
    socket: &NetlinkSocket,
    name: &str,
    mac: Option<[u8; 6]>,
    mtu: Option<u32>,
    new: &NewLink<'_>,
) -> io::Result<()> {
    let mut request = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_header(AF_UNSPEC, 0, 0, 0));
    request.string(IFLA_IFNAME, name);
    put_shape(&mut request, mac, mtu);
    if let NewLink::Vxlan { namespace, .. } = new {
        request.i32(IFLA_NET_NS_FD, namespace.as_raw_fd());
    }
    request.nest(IFLA_LINKINFO, |info| match new {
        NewLink::Bridge => info.string(IFLA_INFO_KIND, "bridge"),
        NewLink::Veth { peer, peer_mac, peer_namespace } => {
            info.string(IFLA_INFO_KIND, "veth");
            info.nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |other| {
                    other.raw(&link_header(AF_UNSPEC, 0, 0, 0));
                    other.string(IFLA_IFNAME, peer);
                    put_shape(other, *peer_mac, mtu);
                    other.i32(IFLA_NET_NS_FD, peer_namespace.as_raw_fd());
                });
            });
        }
        NewLink::Vxlan { vni, local, .. } => {
            info.string(IFLA_INFO_KIND, "vxlan");
            info.nest(IFLA_INFO_DATA, |data| {
                data.u32(IFLA_VXLAN_ID, *vni);
                if !local.is_unspecified() {
                    data.ipv4(IFLA_VXLAN_LOCAL, *local);
                }
                data.u16_be(IFLA_VXLAN_PORT, VXLAN_PORT);
                data.u8(IFLA_VXLAN_LEARNING, 0);
                for on in [IFLA_VXLAN_PROXY, IFLA_VXLAN_L2MISS, IFLA_VXLAN_L3MISS, IFLA_VXLAN_UDP_CSUM] {
                    data.u8(on, 1);
                }
            });
        }
    });
    socket.request(request)
}

fn put_shape(request: &mut Message, mac: Option<[u8; 6]>, mtu: Option<u32>) {
    if let Some(mac) = mac {
        request.bytes(IFLA_ADDRESS, &mac);
    }
    if let Some(mtu) = mtu {
        request.u32(IFLA_MTU, mtu);
    }
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
pub(crate) fn set_link(socket: &NetlinkSocket, index: u32, change: LinkChange) -> io::Result<()> {
    let (flags, mask) = match change.up {
        Some(true) => (IFF_UP, IFF_UP),
        Some(false) => (0, IFF_UP),
        None => (0, 0),
    };
    let mut request = Message::new(RTM_NEWLINK, 0, &link_header(AF_UNSPEC, index, flags, mask));
    put_shape(&mut request, change.mac, change.mtu);
    if let Some(master) = change.master {
        request.u32(IFLA_MASTER, master);
    }
    socket.request(request)
}

/// Sets how a bridge treats one of its ports.
pub(crate) fn set_port(socket: &NetlinkSocket, index: u32, isolated: bool, hairpin: bool) -> io::Result<()> {
    let mut request = Message::new(RTM_SETLINK, 0, &link_header(AF_BRIDGE, index, 0, 0));
    request.nest(IFLA_PROTINFO, |port| {
        port.u8(IFLA_BRPORT_MODE, u8::from(hairpin));
        port.u8(IFLA_BRPORT_ISOLATED, u8::from(isolated));
    });
    socket.request(request)
}

/// Removes a link.
pub(crate) fn remove_link(socket: &NetlinkSocket, index: u32) -> io::Result<()> {
    socket.request(Message::new(RTM_DELLINK, 0, &link_header(AF_UNSPEC, index, 0, 0)))
}

fn address_header(prefix: u8, index: u32) -> [u8; 8] {
    let mut header = [AF_INET, prefix, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

/// All IPv4 addresses of the namespace, with the index of their link.
pub(crate) fn addresses(socket: &NetlinkSocket) -> io::Result<Vec<(u32, Ipv4Net)>> {
    let payloads = socket.dump(Message::new(RTM_GETADDR, 0, &address_header(0, 0)))?;
    let parse = |payload: &Vec<u8>| {
        let index = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
        let address = Attributes::after(payload, 8).get(IFA_LOCAL)?.ipv4()?;
        Some((index, Ipv4Net::new(address, *payload.get(1)?).ok()?))
    };
    Ok(payloads.iter().filter_map(parse).collect())
}

/// Adds an address.
pub(crate) fn add_address(socket: &NetlinkSocket, index: u32, address: Ipv4Net) -> io::Result<()> {
    let header = address_header(address.prefix_len(), index);
    let mut request = Message::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header);
    request.ipv4(IFA_LOCAL, address.addr());
    request.ipv4(IFA_ADDRESS, address.addr());
    if address.prefix_len() < 31 {
        request.ipv4(IFA_BROADCAST, address.broadcast());
    }
    socket.request(request)
}

/// Removes an address.
pub(crate) fn remove_address(socket: &NetlinkSocket, index: u32, address: Ipv4Net) -> io::Result<()> {
    let mut request = Message::new(RTM_DELADDR, 0, &address_header(address.prefix_len(), index));
    request.ipv4(IFA_LOCAL, address.addr());
    socket.request(request)
}

fn route_header(prefix: u8) -> [u8; 12] {
    [AF_INET, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0, 0, 0, 0]
}

/// The unicast routes of the main table.
pub(crate) fn routes(socket: &NetlinkSocket) -> io::Result<Vec<KernelRoute>> {
    let payloads = socket.dump(Message::new(RTM_GETROUTE, 0, &route_header(0)))?;
    Ok(payloads.iter().filter_map(|payload| parse_route(payload)).collect())
}

fn parse_route(payload: &[u8]) -> Option<KernelRoute> {
    let header = payload.get(..12)?;
    let attributes = Attributes::after(payload, 12);
    let table = attributes.get(RTA_TABLE).and_then(|table| table.u32()).unwrap_or(u32::from(header[4]));
    if header[0] != AF_INET || table != u32::from(RT_TABLE_MAIN) || header[7] != RTN_UNICAST {
        return None;
    }
    let destination = attributes.get(RTA_DST).and_then(|destination| destination.ipv4());
    Some(KernelRoute {
        destination: Ipv4Net::new(destination.unwrap_or(Ipv4Addr::UNSPECIFIED), header[1]).ok()?,
        gateway: attributes.get(RTA_GATEWAY).and_then(|gateway| gateway.ipv4()),
        link: attributes.get(RTA_OIF).and_then(|link| link.u32()).unwrap_or(0),
        by_kernel: header[5] == RTPROT_KERNEL,
    })
}

/// Adds a route, or removes it.
pub(crate) fn change_route(
    socket: &NetlinkSocket,
    add: bool,
    destination: Ipv4Net,
    gateway: Option<Ipv4Addr>,
    index: u32,
) -> io::Result<()> {
    let (kind, flags) = if add { (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE) } else { (RTM_DELROUTE, 0) };
    let mut request = Message::new(kind, flags, &route_header(destination.prefix_len()));
    if destination.prefix_len() > 0 {
        request.ipv4(RTA_DST, destination.network());
    }
    if let Some(gateway) = gateway {
        request.ipv4(RTA_GATEWAY, gateway);
    }
    request.u32(RTA_OIF, index);
    socket.request(request)
}

fn neighbour_header(family: u8, index: u32, state: u16, flags: u8) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&state.to_ne_bytes());
    header[10] = flags;
    header
}

/// The permanent neighbours of a link: address and MAC address.
pub(crate) fn neighbours(socket: &NetlinkSocket, index: u32) -> io::Result<Vec<(Ipv4Addr, [u8; 6])>> {
    entries(socket, AF_INET, index)
}

/// The permanent forwarding entries of a VXLAN link: MAC address and remote node.
pub(crate) fn forwarding(socket: &NetlinkSocket, index: u32) -> io::Result<Vec<([u8; 6], Ipv4Addr)>> {
    let found = entries(socket, AF_BRIDGE, index)?;
    Ok(found.into_iter().map(|(node, mac)| (mac, node)).collect())
}

fn entries(socket: &NetlinkSocket, family: u8, link: u32) -> io::Result<Vec<(Ipv4Addr, [u8; 6])>> {
    let payloads = socket.dump(Message::new(RTM_GETNEIGH, 0, &neighbour_header(family, 0, 0, 0)))?;
    let parse = |payload: &Vec<u8>| {
        let index = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
        let state = u16::from_ne_bytes(payload.get(8..10)?.try_into().ok()?);
        if index != link || state & NUD_PERMANENT == 0 {
            return None;
        }
        let attributes = Attributes::after(payload, 12);
        Some((attributes.get(NDA_DST)?.ipv4()?, attributes.get(NDA_LLADDR)?.mac()?))
    };
    Ok(payloads.iter().filter_map(parse).collect())
}

/// Sets a permanent neighbour, or removes it.
pub(crate) fn change_neighbour(
    socket: &NetlinkSocket,
    set: bool,
    index: u32,
    address: Ipv4Addr,
    mac: [u8; 6],
) -> io::Result<()> {
    let header = neighbour_header(AF_INET, index, NUD_PERMANENT, 0);
    socket.request(entry(set, &header, address, mac))
}

/// Sets a VXLAN link's forwarding entry, or removes it.
pub(crate) fn change_forwarding(
    socket: &NetlinkSocket,
    set: bool,
    index: u32,
    mac: [u8; 6],
    node: Ipv4Addr,
) -> io::Result<()> {
    let header = neighbour_header(AF_BRIDGE, index, NUD_PERMANENT | NUD_NOARP, NTF_SELF);
    socket.request(entry(set, &header, node, mac))
}

/// Makes a bridge forget that it learned a MAC address behind one of its ports.
pub(crate) fn unlearn(socket: &NetlinkSocket, port: u32, mac: [u8; 6]) -> io::Result<()> {
    let mut request = Message::new(RTM_DELNEIGH, 0, &neighbour_header(AF_BRIDGE, port, 0, NTF_MASTER));
    request.bytes(NDA_LLADDR, &mac);
    match socket.request(request) {
        Err(failure) if errno(&failure) == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

fn entry(set: bool, header: &[u8], address: Ipv4Addr, mac: [u8; 6]) -> Message {
    let (kind, flags) = if set { (RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE) } else { (RTM_DELNEIGH, 0) };
    let mut request = Message::new(kind, flags, header);
    request.ipv4(NDA_DST, address);
    request.bytes(NDA_LLADDR, &mac);
    request
}
