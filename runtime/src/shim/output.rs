//! The way of a container's output: from its standard streams to the log and to the clients.

use super::clients::Clients;
use super::log::LogWriter;
use crate::lifecycle::launch::LogSettings;
use crate::streams::ends::StreamEnds;
use crate::streams::logs::LogStream;

/// Reads of one stream in a row.
const BURST: usize = 16;
/// Reads of one stream after the end: more than a pipe can hold.
const DRAIN: usize = 1024;
/// Bytes of one read.
const READ_SIZE: usize = 16 << 10;

/// Passes output on.
pub(super) struct Output {
    log: LogWriter,
    buffer: Vec<u8>,
}

impl Output {
    pub(super) fn new(log: LogSettings) -> Self {
        Self { log: LogWriter::new(log), buffer: vec![0; READ_SIZE] }
    }

    /// Passes on some of what is there, until a client for whom the container has to wait is behind.
    pub(super) fn pass(&mut self, stream: LogStream, ends: &mut StreamEnds, clients: &mut Clients) {
        for _ in 0..BURST {
            if !self.pass_once(stream, ends, clients) || clients.hold_up() {
                return;
            }
        }
    }

    /// Passes on all that is left: the container has ended.
    pub(super) fn drain(&mut self, ends: &mut StreamEnds, clients: &mut Clients) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            for _ in 0..DRAIN {
                if !self.pass_once(stream, ends, clients) {
                    break;
                }
            }
        }
        self.log.flush();
    }

    fn pass_once(&mut self, stream: LogStream, ends: &mut StreamEnds, clients: &mut Clients) -> bool {
        let Some(count) = ends.read(stream, &mut self.buffer) else { return false };
        let bytes = &self.buffer[..count];
        self.log.write(stream, bytes);
        clients.output(stream, bytes);
        true
    }
}
