//! Netlink messages and attributes, octet for octet (linux/netlink.h).
//!
//! Used by everything that talks netlink. Invariant: lengths and alignment are right by
//! construction, and parsing never reads beyond what was received.

use std::net::Ipv4Addr;

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER_LENGTH: usize = 16;

pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;

const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// A message being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    octets: Vec<u8>,
}

impl Message {
    /// A message of this type, with its family's fixed header.
    pub(crate) fn new(kind: u16, flags: u16, family_header: &[u8]) -> Self {
        let mut octets = vec![0; HEADER_LENGTH];
        octets[4..6].copy_from_slice(&kind.to_ne_bytes());
        octets[6..8].copy_from_slice(&flags.to_ne_bytes());
        let mut message = Self { octets };
        message.octets.extend_from_slice(family_header);
        message.pad();
        message
    }

    pub(crate) fn bytes(&mut self, kind: u16, payload: &[u8]) {
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.octets.extend_from_slice(&length.to_ne_bytes());
        self.octets.extend_from_slice(&kind.to_ne_bytes());
        self.octets.extend_from_slice(payload);
        self.pad();
    }

    pub(crate) fn u16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    pub(crate) fn u16_be(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    pub(crate) fn u32_be(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Text with its final NUL.
    pub(crate) fn string(&mut self, kind: u16, value: &str) {
        let mut octets = value.as_bytes().to_vec();
        octets.push(0);
        self.bytes(kind, &octets);
    }

    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        self.nest_plain(kind | NLA_F_NESTED, fill);
    }

    /// A nest without the flag, for the families that predate it.
    pub(crate) fn nest_plain(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.octets.len();
        self.bytes(kind, &[]);
        fill(self);
        let length = u16::try_from(self.octets.len() - start).unwrap_or(u16::MAX);
        self.octets[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    pub(crate) fn add_flags(&mut self, flags: u16) {
        let old = u16::from_ne_bytes([self.octets[6], self.octets[7]]);
        self.octets[6..8].copy_from_slice(&(old | flags).to_ne_bytes());
    }

    /// The finished message.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.octets.len()).unwrap_or(u32::MAX);
        self.octets[0..4].copy_from_slice(&length.to_ne_bytes());
        self.octets[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.octets
    }

    fn pad(&mut self) {
        self.octets.resize(self.octets.len().next_multiple_of(4), 0);
    }
}

/// A received message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of one datagram.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.get(..HEADER_LENGTH)?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let payload = datagram.get(HEADER_LENGTH..length)?;
        let received = Received {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            payload,
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(received)
    })
}

/// Attributes being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

/// One attribute being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) kind: u16,
    pub(crate) payload: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// The attributes behind a fixed header of `skip` octets.
    pub(crate) fn after(payload: &'a [u8], skip: usize) -> Self {
        Self(payload.get(skip.next_multiple_of(4)..).unwrap_or(&[]))
    }

    /// The first attribute of this type.
    pub(crate) fn get(self, kind: u16) -> Option<Attribute<'a>> {
        self.into_iter().find(|attribute| attribute.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let header = self.0.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & NLA_TYPE_MASK;
        let payload = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Attribute { kind, payload })
    }
}

impl<'a> Attribute<'a> {
    pub(crate) fn nested(self) -> Attributes<'a> {
        Attributes(self.payload)
    }

    pub(crate) fn u16(self) -> Option<u16> {
        self.payload.get(..2)?.try_into().ok().map(u16::from_ne_bytes)
    }

    pub(crate) fn u32(self) -> Option<u32> {
        self.payload.get(..4)?.try_into().ok().map(u32::from_ne_bytes)
    }

    pub(crate) fn u32_be(self) -> Option<u32> {
        self.payload.get(..4)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub(crate) fn ipv4(self) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.payload.get(..4)?.try_into().ok()?;
        Some(octets.into())
    }

    /// Text up to its NUL.
    pub(crate) fn string(self) -> String {
        let end = self.payload.iter().position(|octet| *octet == 0).unwrap_or(self.payload.len());
        String::from_utf8_lossy(&self.payload[..end]).into_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_padded_and_nests_measured() {
        let mut message = Message::new(16, NLM_F_REQUEST, &[7; 3]);
        message.string(1, "eth0");
        message.nest(2, |nest| nest.u16(3, 0x1234));
        let octets = message.finish(9);
        assert_eq!(octets.len(), HEADER_LENGTH + 4 + 12 + 12);
        let received = messages(&octets).next().unwrap();
        assert_eq!((received.kind, received.sequence), (16, 9));
        let attributes = Attributes::after(received.payload, 3);
        assert_eq!(attributes.get(1).unwrap().string(), "eth0");
        assert_eq!(attributes.get(2).unwrap().nested().get(3).unwrap().u16(), Some(0x1234));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn hostile_octets_end_the_iteration(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            for received in messages(&octets) {
                for attribute in Attributes::after(received.payload, 16) {
                    for inner in attribute.nested() {
                        prop_assert!(inner.payload.len() <= octets.len());
                    }
                }
            }
        }
    }
}
