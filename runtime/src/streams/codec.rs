//! What a client says to a program in a container and hears from it, as bytes of a [`Session`](super::session::Session)'s
//! socket.
//!
//! Does no input and output itself: a loop of poll(2) and an async runtime both drive it.

use crate::error::{Error, Result};
use crate::streams::control::{self, Decoder, Ended, kind};

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// Bytes for the program's standard input.
    Stdin(&'a [u8]),
    /// No more input comes. Of no effect on a terminal, where the end is a character.
    EndOfStdin,
    /// The size of the client's terminal.
    Window {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// Nobody reads the output any more: an executed program without a terminal gets SIGPIPE when it writes on. The output
    /// of a container goes to its log all the same.
    EndOfOutput,
    /// The client leaves, and the program's input stays open. (Where a client goes without a word, the input ends, unless
    /// it is a terminal.)
    Leave,
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// From the program's standard output, or its terminal.
    Stdout(Vec<u8>),
    /// From its standard error.
    Stderr(Vec<u8>),
    /// The program ended with this exit code; nothing comes after it.
    Ended(i32),
}

impl Input<'_> {
    /// Appends it to what is to be written to the socket.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        match *self {
            // Without a byte it would mean the end.
            Self::Stdin(b"") => {}
            Self::Stdin(bytes) => control::push_frame(buffer, kind::STDIN, bytes),
            Self::EndOfStdin => control::push_frame(buffer, kind::STDIN, b""),
            Self::Window { rows, columns } => {
                control::push_frame(buffer, kind::WINDOW, &[rows.to_be_bytes(), columns.to_be_bytes()].concat());
            }
            Self::EndOfOutput => control::push_frame(buffer, kind::END_OF_OUTPUT, b""),
            Self::Leave => control::push_frame(buffer, kind::LEAVE, b""),
        }
    }
}

/// Makes [`Output`] of what is read from the socket, however it is cut.
#[derive(Debug, Default)]
pub struct OutputDecoder {
    frames: Decoder,
}

impl OutputDecoder {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
    }

    /// The next whole message; `None` until more was read.
    ///
    /// # Errors
    /// [`Error::Refused`]: the streams cannot be had; or what was read is no message.
    pub fn decode(&mut self) -> Result<Option<Output>> {
        while let Some((frame, payload)) = self.frames.next().map_err(Error::system("read the container's streams"))? {
            match frame {
                kind::STDOUT => return Ok(Some(Output::Stdout(payload))),
                kind::STDERR => return Ok(Some(Output::Stderr(payload))),
                kind::ENDED => {
                    let ended = serde_json::from_slice(&payload).unwrap_or(Ended { exit_code: 125 });
                    return Ok(Some(Output::Ended(ended.exit_code)));
                }
                kind::REFUSED => return Err(Error::Refused(String::from_utf8_lossy(&payload).into_owned())),
                // What a newer shim may say.
                _ => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_of_input_are_not_its_end() {
        let mut buffer = Vec::new();
        Input::Stdin(b"").encode(&mut buffer);
        assert!(buffer.is_empty());
        Input::EndOfStdin.encode(&mut buffer);
        assert_eq!(buffer, control::frame(kind::STDIN, b""));
    }

    #[test]
    fn what_is_unknown_is_passed_over_and_a_refusal_is_an_error() {
        let mut decoder = OutputDecoder::default();
        decoder.push(&control::frame(b'?', b"from the future"));
        decoder.push(&control::frame(kind::STDERR, b"oh"));
        decoder.push(&control::json_frame(kind::ENDED, &Ended { exit_code: 7 }));
        assert_eq!(decoder.decode().unwrap(), Some(Output::Stderr(b"oh".to_vec())));
        assert_eq!(decoder.decode().unwrap(), Some(Output::Ended(7)));
        assert_eq!(decoder.decode().unwrap(), None);
        decoder.push(&control::frame(kind::REFUSED, b"no"));
        assert!(matches!(decoder.decode(), Err(Error::Refused(reason)) if reason == "no"));
    }
}
