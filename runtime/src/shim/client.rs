//! One connection to the control socket.
//!
//! Invariants: nothing here blocks; what waits to be sent is bounded. The client a container was
//! started for slows the container down when it does not read; any other one is cut off.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::streams::control::Request;
use crate::streams::framed::FramedSocket;

/// Waiting output from which on the first client slows the container down, bytes.
const SLOW: usize = 128 << 10;
/// Waiting output with which another client is cut off, bytes.
const TOO_SLOW: usize = 1 << 20;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    socket: FramedSocket,
    /// What it came for, once it has said so.
    pub(super) request: Option<Request>,
    /// The container was started for it.
    first: bool,
    /// It has said that it leaves.
    left: bool,
}

impl Client {
    pub(super) fn new(stream: UnixStream, first: bool) -> io::Result<Self> {
        Ok(Self { socket: FramedSocket::new(stream)?, request: None, first, left: false })
    }

    pub(super) fn is_gone(&self) -> bool {
        self.socket.is_gone()
    }

    /// It leaves, and the container's input is to stay open.
    pub(super) fn leave(&mut self) {
        self.left = true;
        self.socket.cut_off();
    }

    pub(super) fn has_output(&self) -> bool {
        self.socket.waiting() > 0
    }

    /// Whether the container has to wait for it.
    pub(super) fn is_slow(&self) -> bool {
        self.first && self.socket.waiting() > SLOW
    }

    pub(super) fn wants_stdin(&self) -> bool {
        !self.left && matches!(self.request, Some(Request::Attach { stdin: true, .. }))
    }

    /// Reads what is there and returns whole frames.
    pub(super) fn read(&mut self) -> Vec<(u8, Vec<u8>)> {
        self.socket.read()
    }

    /// Sends a frame, now or when the client reads.
    pub(super) fn send(&mut self, kind: u8, payload: &[u8]) {
        self.socket.send(kind, payload);
        if !self.first && self.socket.waiting() > TOO_SLOW {
            self.socket.cut_off();
        }
    }

    /// Sends a last frame.
    pub(super) fn finish(&mut self, kind: u8, payload: &[u8]) {
        self.socket.finish(kind, payload);
    }

    /// Sends what waits, as far as the client takes it.
    pub(super) fn flush(&mut self) {
        self.socket.flush();
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
