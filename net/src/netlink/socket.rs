//! A blocking netlink socket for nftables and generic netlink: requests, dumps, and nftables' batches.
//!
//! Used by observe and apply. Invariant: a socket belongs for ever to the namespace it was opened
//! in, so one is opened per namespace and then used from any thread. Answers are matched by
//! sequence number, so what an abandoned request left behind is skipped.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt};

use super::wire::{self, Attributes, Message, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR};
use crate::sys;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;

/// How often a dump that the kernel changed under is read again.
const DUMP_ATTEMPTS: usize = 8;

/// Which part of the kernel to talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Netfilter,
    Generic,
}

/// An open socket.
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    descriptor: OwnedFd,
    sequence: Cell<u32>,
}

/// A refused message of a batch.
#[derive(Debug)]
pub(crate) struct BatchError {
    /// Its position; `None` when the batch as a whole was refused.
    pub(crate) index: Option<usize>,
    pub(crate) source: io::Error,
}

impl NetlinkSocket {
    /// Opens a socket in the namespace of the calling thread.
    pub(crate) fn open(protocol: Protocol) -> io::Result<Self> {
        let number = match protocol {
            Protocol::Netfilter => SockProtocol::NetlinkNetFilter,
            Protocol::Generic => SockProtocol::NetlinkGeneric,
        };
        let descriptor = socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, number)?;
        socket::bind(descriptor.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // Kernels without it answer with a bare error number, which is enough.
        let _ = sys::enable_extended_acknowledgements(&descriptor);
        Ok(Self { descriptor, sequence: Cell::new(0) })
    }

    /// Sends a request and waits until it was carried out.
    pub(crate) fn request(&self, mut message: Message) -> io::Result<()> {
        message.add_flags(wire::NLM_F_REQUEST | NLM_F_ACK);
        self.exchange(message, |_, _| {})
    }

    /// Sends a request that is answered with one message, and returns its payload.
    pub(crate) fn query(&self, mut message: Message) -> io::Result<Vec<u8>> {
        message.add_flags(wire::NLM_F_REQUEST | NLM_F_ACK);
        let mut answer = None;
        self.exchange(message, |_, payload| answer = Some(payload.to_vec()))?;
        answer.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    /// Asks for all objects of a kind; `each` gets their types and payloads.
    pub(crate) fn dump(&self, mut message: Message) -> io::Result<Vec<Vec<u8>>> {
        message.add_flags(wire::NLM_F_REQUEST | NLM_F_DUMP);
        for _ in 0..DUMP_ATTEMPTS {
            let (mut payloads, mut changed) = (Vec::new(), false);
            self.exchange(message.clone(), |flags, payload| {
                changed |= flags & NLM_F_DUMP_INTR != 0;
                payloads.push(payload.to_vec());
            })?;
            if !changed {
                return Ok(payloads);
            }
        }
        Err(io::Error::from(io::ErrorKind::Interrupted))
    }

    /// Sends messages as one nftables transaction between `begin` and `end`.
    pub(crate) fn batch(&self, begin: Message, messages: Vec<Message>, end: Message) -> Result<(), BatchError> {
        let whole = |source| BatchError { index: None, source };
        let count = messages.len();
        let first = self.next_sequence();
        let mut datagram = begin.finish(first);
        for mut message in messages {
            message.add_flags(wire::NLM_F_REQUEST | NLM_F_ACK);
            datagram.extend(message.finish(self.next_sequence()));
        }
        datagram.extend(end.finish(self.next_sequence()));
        // The kernel takes the transaction as one datagram, and answers each of its messages.
        let _ = socket::setsockopt(&self.descriptor, sockopt::SndBufForce, &(datagram.len() * 2).max(1 << 20));
        let _ = socket::setsockopt(&self.descriptor, sockopt::RcvBufForce, &(count * 1024).max(1 << 20));
        self.send(&datagram).map_err(whole)?;
        let (mut answered, mut failure) = (0, None);
        while answered < count {
            let datagram = self.receive().map_err(whole)?;
            for received in wire::messages(&datagram).filter(|received| received.kind == NLMSG_ERROR) {
                let Some(index) = received.sequence.checked_sub(first).map(|offset| offset as usize) else { continue };
                let result = outcome(received.flags, received.payload);
                match (index, result) {
                    (0, Err(source)) => return Err(whole(source)),
                    (0, Ok(())) => {}
                    (index, result) => {
                        answered += 1;
                        if let (None, Err(source)) = (&failure, result) {
                            failure = Some(BatchError { index: Some(index - 1), source });
                        }
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn exchange(&self, message: Message, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let sequence = self.next_sequence();
        self.send(&message.finish(sequence))?;
        loop {
            let datagram = self.receive()?;
            for received in wire::messages(&datagram).filter(|received| received.sequence == sequence) {
                match received.kind {
                    NLMSG_ERROR => return outcome(received.flags, received.payload),
                    NLMSG_DONE => return done(received.payload),
                    _ => each(received.flags, received.payload),
                }
            }
        }
    }

    fn next_sequence(&self) -> u32 {
        let next = self.sequence.get() + 1;
        self.sequence.set(next);
        next
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        let sent = retrying(|| socket::sendto(self.descriptor.as_raw_fd(), datagram, &kernel, MsgFlags::empty()))?;
        if sent == datagram.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let descriptor = self.descriptor.as_raw_fd();
        let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
        let length = retrying(|| socket::recv(descriptor, &mut [0_u8; 0], peek))?;
        let mut datagram = vec![0; length];
        let received = retrying(|| socket::recv(descriptor, &mut datagram, MsgFlags::empty()))?;
        datagram.truncate(received);
        Ok(datagram)
    }
}

fn retrying(mut call: impl FnMut() -> nix::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

fn done(payload: &[u8]) -> io::Result<()> {
    match error_number(payload) {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

fn error_number(payload: &[u8]) -> i32 {
    payload.get(..4).and_then(|octets| octets.try_into().ok()).map_or(0, |octets| -i32::from_ne_bytes(octets))
}

/// An acknowledgement: the error number, and the kernel's reason in words where it gives one.
fn outcome(flags: u16, payload: &[u8]) -> io::Result<()> {
    let number = error_number(payload);
    if number == 0 {
        return Ok(());
    }
    let plain = io::Error::from_raw_os_error(number);
    if flags & NLM_F_ACK_TLVS == 0 {
        return Err(plain);
    }
    // The refused message is repeated whole unless capped, then the attributes follow.
    let request = payload.get(4..8).and_then(|octets| octets.try_into().ok()).map_or(0, u32::from_ne_bytes) as usize;
    let repeated = if flags & NLM_F_CAPPED == 0 { request } else { wire::HEADER_LENGTH };
    match Attributes::after(payload, 4 + repeated).get(NLMSGERR_ATTR_MSG) {
        Some(reason) => Err(io::Error::new(plain.kind(), Refusal { number, reason: reason.string() })),
        None => Err(plain),
    }
}

/// A refusal with the kernel's reason.
#[derive(Debug)]
pub(crate) struct Refusal {
    number: i32,
    reason: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", io::Error::from_raw_os_error(self.number), self.reason)
    }
}

impl std::error::Error for Refusal {}

/// The error number of a refusal, with or without a reason.
pub(crate) fn errno(failure: &io::Error) -> Option<i32> {
    let inner = failure.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>());
    inner.map(|refusal| refusal.number).or_else(|| failure.raw_os_error())
}
