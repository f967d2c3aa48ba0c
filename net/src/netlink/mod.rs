//! Netlink: links, addresses, routes and neighbours through rtnetlink; a small blocking socket and
//! codec of our own for nftables and IPVS.
//!
//! Used by observe and apply only. The own codec knows only the attributes that are used: kernels
//! from 4.18 on differ in the others.

pub(crate) mod route;
pub(crate) mod socket;
pub(crate) mod wire;

pub(crate) use socket::{NetlinkSocket, Protocol};
pub(crate) use wire::{Attributes, Message};
