//! Tracked connections (linux/netfilter/nfnetlink_conntrack.h): forgetting those that lead nowhere.
//!
//! Used after a change, since a connection keeps the translation it began with: without this, one
//! to a backend that is gone would hang instead of being refused, and UDP would go astray for as
//! long as somebody sends.

use std::io;
use std::net::Ipv4Addr;

use crate::netlink::{Attributes, Message, NetlinkSocket};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const AF_INET: u8 = 2;
const HEADER: usize = 4;

/// What a connection is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) protocol: u8,
    /// Where it was addressed.
    pub(crate) destination: Ipv4Addr,
    pub(crate) destination_port: u16,
    /// Who answers it, after translation.
    pub(crate) answered_by: Ipv4Addr,
}

/// Forgets the connections for which this holds. Returns how many they were.
pub(crate) fn forget(socket: &NetlinkSocket, is_stale: impl Fn(&Connection) -> bool) -> io::Result<usize> {
    let mut forgotten = 0;
    for payload in socket.dump(message(IPCTNL_MSG_CT_GET))? {
        let attributes = Attributes::after(&payload, HEADER);
        let Some(original) =
            attributes.get(CTA_TUPLE_ORIG).filter(|_| parse(attributes).is_some_and(|it| is_stale(&it)))
        else {
            continue;
        };
        let mut request = message(IPCTNL_MSG_CT_DELETE);
        request.nest(CTA_TUPLE_ORIG, |nest| {
            for part in original.nested() {
                nest.nest(part.kind, |inner| {
                    for value in part.nested() {
                        inner.bytes(value.kind, value.payload);
                    }
                });
            }
        });
        // One that ended by itself meanwhile is as good as forgotten.
        forgotten += usize::from(socket.request(request).is_ok());
    }
    Ok(forgotten)
}

fn message(kind: u16) -> Message {
    Message::new(NFNL_SUBSYS_CTNETLINK << 8 | kind, 0, &[AF_INET, 0, 0, 0])
}

fn parse(attributes: Attributes<'_>) -> Option<Connection> {
    let original = attributes.get(CTA_TUPLE_ORIG)?.nested();
    let reply = attributes.get(CTA_TUPLE_REPLY)?.nested();
    let protocol = original.get(CTA_TUPLE_PROTO)?.nested();
    let port = protocol.get(CTA_PROTO_DST_PORT).and_then(|port| port.payload.try_into().ok());
    Some(Connection {
        protocol: *protocol.get(CTA_PROTO_NUM)?.payload.first()?,
        destination: original.get(CTA_TUPLE_IP)?.nested().get(CTA_IP_V4_DST)?.ipv4()?,
        destination_port: port.map_or(0, u16::from_be_bytes),
        answered_by: reply.get(CTA_TUPLE_IP)?.nested().get(CTA_IP_V4_SRC)?.ipv4()?,
    })
}
