//! A socket on which frames come and go, without ever blocking.
//!
//! Held by the shim for each of its clients, and by the process behind `exec` for its only one. How much may wait to be
//! sent is its holder's business.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::streams::control::{self, Decoder};

/// Bytes of one read.
const READ_SIZE: usize = 8 << 10;

/// The socket, what was read of a frame, and what waits to be sent.
#[derive(Debug)]
pub(crate) struct FramedSocket {
    stream: UnixStream,
    decoder: Decoder,
    output: Vec<u8>,
    /// It goes as soon as everything is sent.
    closing: bool,
    gone: bool,
}

impl FramedSocket {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, decoder: Decoder::default(), output: Vec::new(), closing: false, gone: false })
    }

    /// Whether the other side is gone, or has been sent the last frame.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone || (self.closing && self.output.is_empty())
    }

    /// Has nothing more to do with the other side.
    pub(crate) fn cut_off(&mut self) {
        self.gone = true;
    }

    /// Bytes that wait to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.output.len()
    }

    /// Reads once what is there and returns whole frames.
    pub(crate) fn read(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut buffer = [0; READ_SIZE];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.gone = true,
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.gone = true,
        }
        let mut frames = Vec::new();
        loop {
            match self.decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return frames,
                Err(_) => {
                    self.gone = true;
                    return frames;
                }
            }
        }
    }

    /// Sends a frame, now or when the other side reads.
    pub(crate) fn send(&mut self, kind: u8, payload: &[u8]) {
        if self.closing || self.gone {
            return;
        }
        control::push_frame(&mut self.output, kind, payload);
        self.flush();
    }

    /// Sends a last frame.
    pub(crate) fn finish(&mut self, kind: u8, payload: &[u8]) {
        self.send(kind, payload);
        self.closing = true;
    }

    /// Sends what waits, as far as the other side takes it.
    pub(crate) fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.output.len() {
            match self.stream.write(&self.output[sent..]) {
                Ok(0) => break,
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
        self.output.drain(..sent);
        if self.output.is_empty() {
            self.output = Vec::new();
        }
    }
}

impl AsFd for FramedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
