//! DNS messages over a non-blocking TCP stream: two bytes of length before each (RFC 1035, section 4.2.2).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// The longest message, with its length.
const MESSAGE_MAX: usize = u16::MAX as usize + 2;
/// What may wait for a reader before no more is made for it, in octets.
pub(super) const OUTGOING_MAX: usize = 128 << 10;

/// A client's connection, or ours to a name server.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    is_closed: bool,
}

impl Stream {
    /// `socket` must be non-blocking; it may still be connecting.
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, incoming: Vec::new(), outgoing: Vec::new(), is_closed: false }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Queues a message. One longer than its length field can say is left out.
    pub(super) fn queue(&mut self, message: &[u8]) {
        if let Ok(length) = u16::try_from(message.len()) {
            self.outgoing.extend_from_slice(&length.to_be_bytes());
            self.outgoing.extend_from_slice(message);
        }
    }

    /// Whether something waits to be sent.
    pub(super) fn wants_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the other side takes so little of what it is sent that it gets no more.
    pub(super) fn is_backlogged(&self) -> bool {
        self.outgoing.len() > OUTGOING_MAX
    }

    /// What is kept of both directions, in octets.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.incoming.len() + self.outgoing.len()
    }

    /// Whether the other side has said all that it will say.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Sends what the socket takes now, and says whether it took anything.
    pub(super) fn flush(&mut self) -> std::io::Result<bool> {
        let mut has_sent = false;
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    self.outgoing.drain(..sent);
                    has_sent = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(has_sent)
    }

    /// Reads what has come, up to one message: a client that never stops must not fill the memory.
    pub(super) fn read(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; 4096];
        while !self.is_closed && self.incoming.len() < MESSAGE_MAX {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.is_closed = true,
                Ok(count) => self.incoming.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether a whole message has been read and not been taken.
    pub(super) fn holds_message(&self) -> bool {
        self.message_length().is_some()
    }

    /// The next whole message that has been read.
    pub(super) fn take_message(&mut self) -> Option<Vec<u8>> {
        let length = self.message_length()?;
        Some(self.incoming.drain(..length).skip(2).collect())
    }

    /// Of the first message, its length field included.
    fn message_length(&self) -> Option<usize> {
        let [high, low, ..] = self.incoming.as_slice() else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low])) + 2;
        (self.incoming.len() >= length).then_some(length)
    }

    /// The whole messages that have come; an error when the other side has gone.
    pub(super) fn receive(&mut self) -> std::io::Result<Vec<Vec<u8>>> {
        self.read()?;
        let messages: Vec<Vec<u8>> = std::iter::from_fn(|| self.take_message()).collect();
        if self.is_closed && messages.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(messages) }
    }
}
