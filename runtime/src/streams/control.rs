//! What is said over a shim's control socket, over the socket to its starter, and between the process behind `exec` and
//! its client.
//!
//! A connection to a shim begins with one [`Request`] from the client, a connection to the process behind `exec` with
//! one [`ExecOrder`]; what follows depends on it. Frames: one byte kind, four bytes length (big endian), then that many
//! bytes.
//!
//! | kind | direction | payload |
//! |---|---|---|
//! | `R` | from the client | [`Request`] as JSON, first on every connection to a shim |
//! | `X` | from the client | [`ExecOrder`] as JSON, in as many frames as it needs, the last one empty |
//! | `0` | from the client | standard input; empty: its end |
//! | `w` | from the client | terminal size: rows, columns, two bytes each, big endian |
//! | `o` | from the client | nobody reads the output any more |
//! | `l` | from the client | it leaves, and the input stays open |
//! | `1` `2` | to the client | standard output, standard error |
//! | `b` | to the client | [`Begun`] as JSON: the program that was ordered runs |
//! | `f` | to the client | [`NotBegun`] as JSON: it does not |
//! | `k` | to the client | done |
//! | `e` | to the client | refused: the reason as text |
//! | `x` | to the client | [`Ended`] as JSON: the program ended; of a container, it is torn down |

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

use crate::kernel::ProcessError;
use crate::records::state::ProcessId;
use crate::streams::exec::ExecOptions;

/// Longest payload of a frame, bytes.
pub(crate) const PAYLOAD_MAX: usize = 64 << 10;
const HEADER: usize = 5;

/// Kinds of frames.
pub(crate) mod kind {
    pub(crate) const REQUEST: u8 = b'R';
    pub(crate) const EXEC_ORDER: u8 = b'X';
    pub(crate) const STDIN: u8 = b'0';
    pub(crate) const STDOUT: u8 = b'1';
    pub(crate) const STDERR: u8 = b'2';
    pub(crate) const WINDOW: u8 = b'w';
    pub(crate) const END_OF_OUTPUT: u8 = b'o';
    pub(crate) const LEAVE: u8 = b'l';
    pub(crate) const BEGUN: u8 = b'b';
    pub(crate) const NOT_BEGUN: u8 = b'f';
    pub(crate) const DONE: u8 = b'k';
    pub(crate) const REFUSED: u8 = b'e';
    pub(crate) const ENDED: u8 = b'x';
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// The standard streams; then `ENDED` when the process ends.
    Attach { stdin: bool, stdout: bool, stderr: bool },
    /// `ENDED` when the container ends; with `next`, also when it ends to be restarted.
    Wait { next: bool },
    /// `stop`: signal, patience, SIGKILL; then `ENDED`. `None` is what the container says.
    Stop { signal: Option<i32>, timeout: Option<i64> },
    /// A signal; then `DONE`.
    Kill { signal: i32 },
    /// Freeze; then `DONE`.
    Pause,
    /// Thaw; then `DONE`.
    Unpause,
    /// Terminal size; then `DONE`.
    Resize { rows: u16, columns: u16 },
    /// launch.json has changed; then `DONE`.
    Reload,
}

/// What the process behind `exec` is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExecOrder {
    /// The container's first process.
    pub(crate) init: ProcessId,
    pub(crate) options: ExecOptions,
    /// Nobody listens: without streams, or with a terminal that is kept open.
    pub(crate) detached: bool,
}

/// A program that was ordered runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    /// The program, as the host sees it.
    pub(crate) process: ProcessId,
    pub(crate) warnings: Vec<String>,
}

/// Why a program that was ordered does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NotBegun {
    /// It cannot be executed in the container.
    Process(ProcessError),
    /// The container has ended.
    NotRunning,
    /// The container stands still.
    Paused,
    /// Anything else, with its causes.
    Other(String),
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) exit_code: i32,
}

/// What a shim tells its starter, once, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StartReport {
    /// The program runs.
    Started { warnings: Vec<String> },
    /// It does not.
    Failed { message: String, exit_code: i32 },
}

/// What a starter tells a shim, once, in one message; descriptors come with it in this order:
/// container's lock, starter's mount namespace, attached client, name server UDP, name server TCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) attach: bool,
    pub(crate) dns: bool,
    pub(crate) restarted: bool,
}

/// A frame ready to be written.
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    push_frame(&mut bytes, kind, payload);
    bytes
}

/// Appends a frame to a buffer; a payload that is too long becomes several frames.
pub(crate) fn push_frame(buffer: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let mut rest = payload;
    loop {
        let (part, later) = rest.split_at(rest.len().min(PAYLOAD_MAX));
        buffer.push(kind);
        buffer.extend_from_slice(&(part.len() as u32).to_be_bytes());
        buffer.extend_from_slice(part);
        rest = later;
        if rest.is_empty() {
            return;
        }
    }
}

/// A frame with a value as JSON.
pub(crate) fn json_frame<T: Serialize>(kind: u8, value: &T) -> Vec<u8> {
    frame(kind, &serde_json::to_vec(value).unwrap_or_default())
}

/// Collects bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Adds what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// The frame is longer than any may be.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        let Some((header, _)) = self.buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > PAYLOAD_MAX {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let kind = header[0];
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        let payload = self.buffer[HEADER..HEADER + length].to_vec();
        self.buffer.drain(..HEADER + length);
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
        Ok(Some((kind, payload)))
    }
}

/// Adds a value as JSON in frames of one kind, of which the last is empty: it may be longer than a frame.
pub(crate) fn push_long<T: Serialize>(buffer: &mut Vec<u8>, kind: u8, value: &T) {
    push_frame(buffer, kind, &serde_json::to_vec(value).unwrap_or_default());
    push_frame(buffer, kind, b"");
}

/// Reads what [`push_long`] wrote, waiting for it.
pub(crate) fn read_long<T: serde::de::DeserializeOwned>(stream: &mut UnixStream, kind: u8) -> io::Result<T> {
    let mut text = Vec::new();
    loop {
        match read_frame(stream)? {
            Some((found, part)) if found == kind && part.is_empty() => return Ok(serde_json::from_slice(&text)?),
            Some((found, part)) if found == kind => text.extend(part),
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Reads one frame, waiting for it; `None` at the end of the connection.
pub(crate) fn read_frame(stream: &mut UnixStream) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut header = [0; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match stream.read(&mut header[filled..]) {
            Ok(0) => return Ok(None),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length > PAYLOAD_MAX {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok(Some((header[0], payload)))
}

/// Sends a frame with a value as JSON.
pub(crate) fn send<T: Serialize>(stream: &mut UnixStream, kind: u8, value: &T) -> io::Result<()> {
    stream.write_all(&json_frame(kind, value))
}

/// Sends a request, the first thing on every connection.
pub(crate) fn send_request(stream: &mut UnixStream, request: &Request) -> io::Result<()> {
    send(stream, kind::REQUEST, request)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_that_is_too_long_is_an_error() {
        let mut decoder = Decoder::default();
        decoder.push(&[b'1', 0xff, 0, 0, 0]);
        assert!(decoder.next().is_err());
    }

    #[test]
    fn what_is_longer_than_a_frame_arrives_whole() {
        let words: Vec<String> = vec!["x".repeat(PAYLOAD_MAX), "y".repeat(PAYLOAD_MAX)];
        let mut bytes = Vec::new();
        push_long(&mut bytes, kind::EXEC_ORDER, &words);
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || near.write_all(&bytes));
        assert_eq!(read_long::<Vec<String>>(&mut far, kind::EXEC_ORDER).unwrap(), words);
        writer.join().unwrap().unwrap();
        assert!(read_long::<Vec<String>>(&mut far, kind::EXEC_ORDER).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn frames_arrive_whole_however_they_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            cut in 1_usize..64,
        ) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                push_frame(&mut bytes, kind::STDOUT, payload);
            }
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for part in bytes.chunks(cut) {
                decoder.push(part);
                while let Some((_, payload)) = decoder.next().unwrap() {
                    seen.push(payload);
                }
            }
            prop_assert_eq!(seen, payloads);
        }
    }
}
