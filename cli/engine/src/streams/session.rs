//! A session with a program in a container, held by an async runtime.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, stream};
use skep_runtime::{Input, Output, OutputDecoder, Peer, Session};
use tokio::net::UnixStream;

use crate::blocking::aside;
use crate::error::{Error, Result};

/// Bytes of one read.
const READ_SIZE: usize = 16 << 10;
/// Input that waits for the program, from which on whoever sends more waits, bytes.
const WAITING_MAX: usize = 64 << 10;

/// The program's output, and its input. Dropping it leaves the program running; its input ends with the last
/// [`SessionInput`], unless it is a terminal.
#[derive(Debug)]
pub struct AsyncSession {
    input: SessionInput,
    decoder: OutputDecoder,
    ended: bool,
}

/// The way to the program. All clones are one.
#[derive(Debug, Clone)]
pub struct SessionInput {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: UnixStream,
    peer: Peer,
    /// Whole messages that are not sent yet, but for their first bytes.
    waiting: Mutex<Vec<u8>>,
}

impl AsyncSession {
    /// Hands a session to the async runtime around the caller.
    ///
    /// # Errors
    /// The runtime has no input and output.
    pub fn new(session: Session) -> Result<Self> {
        let (socket, peer) = session.into_parts();
        let socket = UnixStream::from_std(socket).map_err(|error| failed("watch a session", error))?;
        let input = SessionInput { shared: Arc::new(Shared { socket, peer, waiting: Mutex::default() }) };
        Ok(Self { input, decoder: OutputDecoder::default(), ended: false })
    }

    /// The way to the program, for as many as want to use it.
    pub fn input(&self) -> SessionInput {
        self.input.clone()
    }

    /// What comes next from the program; `None` after [`Output::Ended`]. Nothing is lost when it is cancelled.
    ///
    /// # Errors
    /// The streams cannot be had, or the program's end is not known.
    pub async fn next(&mut self) -> Result<Option<Output>> {
        if self.ended {
            return Ok(None);
        }
        let Shared { socket, peer, .. } = &*self.input.shared;
        loop {
            if let Some(output) = self.decoder.decode()? {
                self.ended = matches!(output, Output::Ended(_));
                return Ok(Some(output));
            }
            socket.readable().await.map_err(|error| failed("read from a session", error))?;
            let mut buffer = [0; READ_SIZE];
            match socket.try_read(&mut buffer) {
                Ok(count) if count > 0 => self.decoder.push(&buffer[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                // A connection that was cut may be at its end, or broken.
                Ok(_) | Err(_) => {
                    let peer = peer.clone();
                    let exit_code = aside(move || Ok(peer.after_hang_up()?)).await?;
                    self.ended = true;
                    return Ok(Some(Output::Ended(exit_code)));
                }
            }
        }
    }

    /// Everything that comes from the program, as a stream.
    pub fn outputs(self) -> impl Stream<Item = Result<Output>> + Send {
        stream::try_unfold(self, async |mut session| Ok(session.next().await?.map(|output| (output, session))))
    }
}

impl SessionInput {
    /// Says something to the program, waiting while it takes no more. When it is cancelled, all of it is sent or nothing.
    ///
    /// # Errors
    /// The program has ended.
    pub async fn send(&self, input: Input<'_>) -> Result<()> {
        self.flush(WAITING_MAX).await?;
        input.encode(&mut self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.flush(0).await
    }

    /// Sends a signal to the program, ahead of all input that waits.
    ///
    /// # Errors
    /// It is no signal, or the program cannot be reached.
    pub async fn signal(&self, number: i32) -> Result<()> {
        let peer = self.shared.peer.clone();
        aside(move || Ok(peer.signal(number)?)).await
    }

    /// Writes until no more than `left` bytes wait.
    async fn flush(&self, left: usize) -> Result<()> {
        loop {
            let written = {
                let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if waiting.len() <= left {
                    return Ok(());
                }
                let written = self.shared.socket.try_write(&waiting);
                if let Ok(count) = written {
                    waiting.drain(..count);
                }
                written
            };
            match written {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let writable = self.shared.socket.writable().await;
                    writable.map_err(|error| failed("write to a session", error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("write to a session", error)),
            }
        }
    }
}

fn failed(call: &'static str, source: io::Error) -> Error {
    skep_runtime::Error::System { call, source }.into()
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
