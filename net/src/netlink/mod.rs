//! Netlink: one blocking socket type and one codec for routing, nftables and generic netlink.
//!
//! Used by observe and apply only. Own code, because the three families then share one small
//! synchronous path (no runtime in every shim), and because only the attributes that are used get
//! parsed: kernels from 4.18 on differ in the others.

pub(crate) mod route;
pub(crate) mod socket;
pub(crate) mod wire;

pub(crate) use socket::{NetlinkSocket, Protocol};
pub(crate) use wire::{Attributes, Message};
