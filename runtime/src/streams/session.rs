//! The streams of a program in a container, as a value: a socket, and who is at its other end.
//!
//! Made by [`Runtime::exec`], [`Runtime::attach`] and [`Runtime::start_attached`]; driven by whoever holds it, with
//! [`Input`](super::codec::Input) and [`OutputDecoder`](super::codec::OutputDecoder) for the bytes. At the other end is
//! the container's shim, or the process behind `exec`.
//!
//! A session may be dropped at any time: the program runs on, and what it prints goes where it would go without a client
//! (the log of a container; nowhere for an executed program).

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::error::{Error, Result};
use crate::kernel::process;
use crate::records::state::ProcessId;
use crate::runtime::Runtime;

/// A connection to the streams of a program in a container.
#[derive(Debug)]
pub struct Session {
    socket: UnixStream,
    peer: Peer,
    terminal: bool,
    takes_input: bool,
    warnings: Vec<String>,
}

/// Who is at the other end of a session.
#[derive(Debug, Clone)]
pub struct Peer(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// The shim of a container: its first process' streams.
    Shim { runtime: Runtime, id: String, shim: Option<ProcessId> },
    /// The process behind `exec`; the program is its child.
    Exec { id: String, program: ProcessId },
}

impl Session {
    /// To a container's own program.
    pub(crate) fn of_container(
        runtime: Runtime,
        id: String,
        shim: Option<ProcessId>,
        socket: UnixStream,
    ) -> Result<Self> {
        Self::new(socket, Kind::Shim { runtime, id, shim })
    }

    /// To an executed program.
    pub(crate) fn of_exec(id: String, program: ProcessId, socket: UnixStream) -> Result<Self> {
        Self::new(socket, Kind::Exec { id, program })
    }

    fn new(socket: UnixStream, kind: Kind) -> Result<Self> {
        socket.set_nonblocking(true).map_err(Error::system("make the socket non-blocking"))?;
        Ok(Self { socket, peer: Peer(kind), terminal: false, takes_input: false, warnings: Vec::new() })
    }

    pub(crate) fn with(self, terminal: bool, takes_input: bool, warnings: Vec<String>) -> Self {
        Self { terminal, takes_input, warnings, ..self }
    }

    /// Whether the program has a terminal: one stream of output, whose window has a size.
    pub fn has_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether the program reads what the client sends.
    pub fn takes_input(&self) -> bool {
        self.takes_input
    }

    /// What the user should know about the start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The socket, which is non-blocking.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The non-blocking socket, and who is at its other end.
    pub fn into_parts(self) -> (UnixStream, Peer) {
        (self.socket, self.peer)
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Peer {
    /// Sends a signal to the program, by the number that it has on this machine. It overtakes input that waits for the
    /// program. One that has ended has nothing to do any more.
    ///
    /// # Errors
    /// [`Error::InvalidSignal`]; the shim does not answer.
    pub fn signal(&self, number: i32) -> Result<()> {
        match &self.0 {
            Kind::Shim { runtime, id, .. } => match runtime.kill(id, &number.to_string()) {
                Err(Error::NotRunning(_) | Error::NoSuchContainer(_)) => Ok(()),
                other => other,
            },
            Kind::Exec { program, .. } => {
                if !(1..=64).contains(&number) {
                    return Err(Error::InvalidSignal(number.to_string()));
                }
                process::signal(*program, number).map_err(Error::system("kill"))
            }
        }
    }

    /// The exit code of a program whose session ended without a word of its end. Blocks, up to a minute, while the
    /// container is healed.
    ///
    /// # Errors
    /// [`Error::HungUp`]: it runs on, this client was too slow; [`Error::ExecLost`].
    pub fn after_hang_up(&self) -> Result<i32> {
        match &self.0 {
            Kind::Shim { runtime, id, shim } => runtime.after_hang_up(id, *shim),
            Kind::Exec { id, .. } => Err(Error::ExecLost(id.clone())),
        }
    }
}
