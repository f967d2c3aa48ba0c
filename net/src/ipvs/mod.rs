//! The IP virtual server by generic netlink (linux/ip_vs.h).
//!
//! Used by observe and apply where the kernel has it. Only what the load balancer needs: virtual
//! services found by firewall mark, scheduled round robin, with backends reached by NAT.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use crate::netlink::socket::errno;
use crate::netlink::{Attributes, Message, NetlinkSocket};

const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Length of `struct genlmsghdr`.
const HEADER: usize = 4;

const IPVS_NAME: &str = "IPVS";
const IPVS_VERSION: u8 = 1;
const IPVS_CMD_NEW_SERVICE: u8 = 1;
const IPVS_CMD_DEL_SERVICE: u8 = 3;
const IPVS_CMD_GET_SERVICE: u8 = 4;
const IPVS_CMD_NEW_DEST: u8 = 5;
const IPVS_CMD_SET_DEST: u8 = 6;
const IPVS_CMD_DEL_DEST: u8 = 7;
const IPVS_CMD_GET_DEST: u8 = 8;

const IPVS_CMD_SET_CONFIG: u8 = 12;
/// Five days: nf_conntrack_tcp_timeout_established.
const IDLE_SECONDS: u32 = 432_000;

const IPVS_CMD_ATTR_TIMEOUT_TCP: u16 = 4;
const IPVS_CMD_ATTR_SERVICE: u16 = 1;
const IPVS_CMD_ATTR_DEST: u16 = 2;
const IPVS_SVC_ATTR_AF: u16 = 1;
const IPVS_SVC_ATTR_FWMARK: u16 = 5;
const IPVS_SVC_ATTR_SCHED_NAME: u16 = 6;
const IPVS_SVC_ATTR_FLAGS: u16 = 7;
const IPVS_SVC_ATTR_TIMEOUT: u16 = 8;
const IPVS_SVC_ATTR_NETMASK: u16 = 9;
const IPVS_DEST_ATTR_ADDR: u16 = 1;
const IPVS_DEST_ATTR_PORT: u16 = 2;
const IPVS_DEST_ATTR_FWD_METHOD: u16 = 3;
const IPVS_DEST_ATTR_WEIGHT: u16 = 4;
const IPVS_DEST_ATTR_U_THRESH: u16 = 5;
const IPVS_DEST_ATTR_L_THRESH: u16 = 6;
const IPVS_DEST_ATTR_ADDR_FAMILY: u16 = 11;
const IP_VS_CONN_F_MASQ: u32 = 0;

/// Virtual services by firewall mark, with their backends and weights.
pub(crate) type Services = BTreeMap<u32, BTreeMap<Ipv4Addr, u32>>;

/// The number of the kernel's IPVS family; `None` when it has none. Asking loads its module where
/// the kernel can load modules.
pub(crate) fn family(socket: &NetlinkSocket) -> io::Result<Option<u16>> {
    let mut request = Message::new(GENL_ID_CTRL, 0, &[CTRL_CMD_GETFAMILY, 2, 0, 0]);
    request.string(CTRL_ATTR_FAMILY_NAME, IPVS_NAME);
    match socket.query(request) {
        Ok(payload) => Ok(Attributes::after(&payload, HEADER).get(CTRL_ATTR_FAMILY_ID).and_then(|id| id.u16())),
        Err(failure) if errno(&failure) == Some(nix::libc::ENOENT) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The virtual services of the socket's namespace that are found by a mark.
pub(crate) fn services(socket: &NetlinkSocket, family: u16) -> io::Result<Services> {
    let mut services = Services::new();
    for payload in socket.dump(command(family, IPVS_CMD_GET_SERVICE))? {
        let service = Attributes::after(&payload, HEADER).get(IPVS_CMD_ATTR_SERVICE);
        let mark = service.and_then(|service| service.nested().get(IPVS_SVC_ATTR_FWMARK)).and_then(|mark| mark.u32());
        let Some(mark) = mark else { continue };
        let mut request = command(family, IPVS_CMD_GET_DEST);
        put_service(&mut request, mark, false);
        let backends = socket.dump(request)?;
        services.insert(mark, backends.iter().filter_map(|payload| parse_backend(payload)).collect());
    }
    Ok(services)
}

fn parse_backend(payload: &[u8]) -> Option<(Ipv4Addr, u32)> {
    let backend = Attributes::after(payload, HEADER).get(IPVS_CMD_ATTR_DEST)?.nested();
    Some((backend.get(IPVS_DEST_ATTR_ADDR)?.ipv4()?, backend.get(IPVS_DEST_ATTR_WEIGHT)?.u32()?))
}

/// Makes a virtual service without backends; that it exists is fine.
pub(crate) fn add_service(socket: &NetlinkSocket, family: u16, mark: u32) -> io::Result<()> {
    tolerating(socket.request(service_message(family, IPVS_CMD_NEW_SERVICE, mark)), nix::libc::EEXIST)
}

/// Lets idle TCP connections last as long as connection tracking does, not a quarter of an hour.
pub(crate) fn keep_idle_connections(socket: &NetlinkSocket, family: u16) -> io::Result<()> {
    let mut request = command(family, IPVS_CMD_SET_CONFIG);
    request.u32(IPVS_CMD_ATTR_TIMEOUT_TCP, IDLE_SECONDS);
    socket.request(request)
}

/// Removes a virtual service with its backends; that it is gone is fine.
pub(crate) fn remove_service(socket: &NetlinkSocket, family: u16, mark: u32) -> io::Result<()> {
    tolerating(socket.request(service_message(family, IPVS_CMD_DEL_SERVICE, mark)), nix::libc::ESRCH)
}

/// Sets a backend's weight, adding it if need be. With weight 0 it keeps its connections and gets
/// no new ones.
pub(crate) fn set_backend(
    socket: &NetlinkSocket,
    family: u16,
    mark: u32,
    backend: Ipv4Addr,
    weight: u32,
) -> io::Result<()> {
    match socket.request(backend_message(family, IPVS_CMD_NEW_DEST, mark, backend, Some(weight))) {
        Err(failure) if errno(&failure) == Some(nix::libc::EEXIST) => {
            socket.request(backend_message(family, IPVS_CMD_SET_DEST, mark, backend, Some(weight)))
        }
        result => result,
    }
}

/// Removes a backend; that it is gone is fine.
pub(crate) fn remove_backend(socket: &NetlinkSocket, family: u16, mark: u32, backend: Ipv4Addr) -> io::Result<()> {
    let request = backend_message(family, IPVS_CMD_DEL_DEST, mark, backend, None);
    tolerating(socket.request(request), nix::libc::ENOENT)
}

fn tolerating(result: io::Result<()>, tolerated: i32) -> io::Result<()> {
    match result {
        Err(failure) if errno(&failure) == Some(tolerated) => Ok(()),
        result => result,
    }
}

fn command(family: u16, command: u8) -> Message {
    Message::new(family, 0, &[command, IPVS_VERSION, 0, 0])
}

fn service_message(family: u16, number: u8, mark: u32) -> Message {
    let mut request = command(family, number);
    put_service(&mut request, mark, number == IPVS_CMD_NEW_SERVICE);
    request
}

fn put_service(request: &mut Message, mark: u32, whole: bool) {
    request.nest(IPVS_CMD_ATTR_SERVICE, |service| {
        service.u16(IPVS_SVC_ATTR_AF, nix::libc::AF_INET as u16);
        service.u32(IPVS_SVC_ATTR_FWMARK, mark);
        if whole {
            service.string(IPVS_SVC_ATTR_SCHED_NAME, "rr");
            // struct ip_vs_flags: no flags, all of them meant.
            service.bytes(IPVS_SVC_ATTR_FLAGS, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
            service.u32(IPVS_SVC_ATTR_TIMEOUT, 0);
            service.u32(IPVS_SVC_ATTR_NETMASK, u32::MAX);
        }
    });
}

fn backend_message(family: u16, number: u8, mark: u32, backend: Ipv4Addr, weight: Option<u32>) -> Message {
    let mut request = command(family, number);
    put_service(&mut request, mark, false);
    request.nest(IPVS_CMD_ATTR_DEST, |dest| {
        // union nf_inet_addr: 16 octets, IPv4 in the first four.
        let mut address = [0_u8; 16];
        address[..4].copy_from_slice(&backend.octets());
        dest.u16(IPVS_DEST_ATTR_ADDR_FAMILY, nix::libc::AF_INET as u16);
        dest.bytes(IPVS_DEST_ATTR_ADDR, &address);
        dest.u16_be(IPVS_DEST_ATTR_PORT, 0);
        if let Some(weight) = weight {
            dest.u32(IPVS_DEST_ATTR_FWD_METHOD, IP_VS_CONN_F_MASQ);
            dest.u32(IPVS_DEST_ATTR_WEIGHT, weight);
            dest.u32(IPVS_DEST_ATTR_U_THRESH, 0);
            dest.u32(IPVS_DEST_ATTR_L_THRESH, 0);
        }
    });
    request
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// What `ipvsadm -a -f 256 -r 10.0.0.6 -m` puts behind the generic header, but for the order.
    #[test]
    fn a_backend_is_encoded_as_the_kernel_reads_it() {
        let octets = backend_message(0x21, IPVS_CMD_NEW_DEST, 0x100, Ipv4Addr::new(10, 0, 0, 6), Some(1)).finish(5);
        let expected: &[&[u8]] = &[
            &[0x70, 0, 0, 0, 0x21, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0],
            &[IPVS_CMD_NEW_DEST, 1, 0, 0],
            &[0x14, 0, 1, 0x80],
            &[6, 0, 1, 0, 2, 0, 0, 0],
            &[8, 0, 5, 0, 0, 1, 0, 0],
            &[0x48, 0, 2, 0x80],
            &[6, 0, 11, 0, 2, 0, 0, 0],
            &[20, 0, 1, 0, 10, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[6, 0, 2, 0, 0, 0, 0, 0],
            &[8, 0, 3, 0, 0, 0, 0, 0],
            &[8, 0, 4, 0, 1, 0, 0, 0],
            &[8, 0, 5, 0, 0, 0, 0, 0],
            &[8, 0, 6, 0, 0, 0, 0, 0],
        ];
        assert_eq!(octets, expected.concat());
    }

    #[test]
    fn a_service_is_encoded_as_the_kernel_reads_it() {
        let octets = service_message(0x21, IPVS_CMD_NEW_SERVICE, 0x101).finish(1);
        let expected: &[&[u8]] = &[
            &[0x4c, 0, 0, 0, 0x21, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[IPVS_CMD_NEW_SERVICE, 1, 0, 0],
            &[0x38, 0, 1, 0x80],
            &[6, 0, 1, 0, 2, 0, 0, 0],
            &[8, 0, 5, 0, 1, 1, 0, 0],
            &[7, 0, 6, 0, b'r', b'r', 0, 0],
            &[12, 0, 7, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            &[8, 0, 8, 0, 0, 0, 0, 0],
            &[8, 0, 9, 0, 0xff, 0xff, 0xff, 0xff],
        ];
        assert_eq!(octets, expected.concat());
    }
}
