//! DNS messages over a non-blocking TCP stream: two bytes of length before each (RFC 1035, section 4.2.2).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// A client's connection, or ours to a name server.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Stream {
    /// `socket` must be non-blocking; it may still be connecting.
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, incoming: Vec::new(), outgoing: Vec::new() }
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

    /// Sends what the socket takes now.
    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => drop(self.outgoing.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The whole messages that have come; an error when the other side has gone.
    pub(super) fn receive(&mut self) -> std::io::Result<Vec<Vec<u8>>> {
        let mut buffer = [0; 4096];
        let mut is_closed = false;
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => is_closed = true,
                Ok(count) => {
                    self.incoming.extend_from_slice(&buffer[..count]);
                    // Read on only up to one message: a client that never stops must not fill the memory.
                    if self.incoming.len() <= usize::from(u16::MAX) + 2 {
                        continue;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            break;
        }
        let messages = self.take_messages();
        if is_closed && messages.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(messages) }
    }

    fn take_messages(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let [high, low, rest @ ..] = self.incoming.as_slice() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(message) = rest.get(..length) else { break };
            messages.push(message.to_vec());
            self.incoming.drain(..length + 2);
        }
        messages
    }
}
