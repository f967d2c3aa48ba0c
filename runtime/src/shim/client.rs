//! One connection to the control socket.
//!
//! Invariants: nothing here blocks; what waits to be sent is bounded. The client a container was
//! started for slows the container down when it does not read; any other one is cut off.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use crate::streams::control::{self, Decoder, Request};

/// Waiting output from which on the first client slows the container down, bytes.
const SLOW: usize = 128 << 10;
/// Waiting output with which another client is cut off, bytes.
const TOO_SLOW: usize = 1 << 20;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    decoder: Decoder,
    output: Vec<u8>,
    /// What it came for, once it has said so.
    pub(super) request: Option<Request>,
    /// The container was started for it.
    first: bool,
    /// It goes as soon as everything is sent.
    closing: bool,
    gone: bool,
}

impl Client {
    pub(super) fn new(stream: UnixStream, first: bool) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            output: Vec::new(),
            request: None,
            first,
            closing: false,
            gone: false,
        })
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone || (self.closing && self.output.is_empty())
    }

    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether the container has to wait for it.
    pub(super) fn is_slow(&self) -> bool {
        self.first && self.output.len() > SLOW
    }

    pub(super) fn wants_stdin(&self) -> bool {
        matches!(self.request, Some(Request::Attach { stdin: true, .. }))
    }

    /// Reads what is there and returns whole frames.
    pub(super) fn read(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut buffer = [0; 8 << 10];
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

    /// Sends a frame, now or when the client reads.
    pub(super) fn send(&mut self, kind: u8, payload: &[u8]) {
        if self.closing || self.gone {
            return;
        }
        control::push_frame(&mut self.output, kind, payload);
        self.flush();
        if !self.first && self.output.len() > TOO_SLOW {
            self.gone = true;
        }
    }

    /// Sends a last frame.
    pub(super) fn finish(&mut self, kind: u8, payload: &[u8]) {
        self.send(kind, payload);
        self.closing = true;
    }

    /// Sends what waits, as far as the client takes it.
    pub(super) fn flush(&mut self) {
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
