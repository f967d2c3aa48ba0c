//! Everyone who speaks to a shim, and the control socket at which they arrive.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};

use super::client::Client;
use crate::error::{Error, Result};
use crate::files;
use crate::records::roots::ContainerPaths;
use crate::streams::control::{Ended, Request, kind};
use crate::streams::logs::LogStream;

/// How long a client may take to read the last output before the shim goes without it.
const FAREWELL: Duration = Duration::from_secs(10);

/// The clients of one shim. A client's index is its own until [`Clients::drop_gone`].
pub(super) struct Clients {
    listener: UnixListener,
    list: Vec<Client>,
}

impl Clients {
    /// Opens the control socket. Its path may be longer than a socket's address can be: bound by way
    /// of the directory's descriptor.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn listen(paths: &ContainerPaths) -> Result<Self> {
        let socket = paths.socket();
        files::remove_file(&socket)?;
        let directory = File::open(&paths.run).map_err(Error::file("open", &paths.run))?;
        let short = format!("/proc/self/fd/{}/shim.sock", directory.as_raw_fd());
        let old = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(short);
        umask(old);
        let listener = listener.map_err(Error::file("listen on", &socket))?;
        listener.set_nonblocking(true).map_err(Error::file("listen on", &socket))?;
        Ok(Self { listener, list: Vec::new() })
    }

    /// The socket at which clients arrive.
    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Lets in the client for whom the container is started.
    pub(super) fn admit_first(&mut self, stream: UnixStream) -> Option<usize> {
        self.list.push(Client::new(stream, true).ok()?);
        Some(self.list.len() - 1)
    }

    /// Lets in whoever has arrived.
    pub(super) fn admit(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.list.extend(Client::new(stream, false)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Client> {
        self.list.iter()
    }

    pub(super) fn indices(&self) -> std::ops::Range<usize> {
        0..self.list.len()
    }

    /// The client with this index.
    pub(super) fn at(&mut self, index: usize) -> &mut Client {
        &mut self.list[index]
    }

    /// Whether the container has to wait for one of them.
    pub(super) fn hold_up(&self) -> bool {
        self.list.iter().any(Client::is_slow)
    }

    /// Forgets those that are gone.
    pub(super) fn drop_gone(&mut self) {
        self.list.retain(|client| !client.is_gone());
    }

    /// Sends output to those that are attached to this stream.
    pub(super) fn output(&mut self, stream: LogStream, bytes: &[u8]) {
        for client in &mut self.list {
            let frame = match (&client.request, stream) {
                (Some(Request::Attach { stdout: true, .. }), LogStream::Stdout) => kind::STDOUT,
                (Some(Request::Attach { stderr: true, .. }), LogStream::Stderr) => kind::STDERR,
                _ => continue,
            };
            client.send(frame, bytes);
        }
    }

    /// One life is over, and another will come: tells those who do not wait for that one.
    pub(super) fn life_over(&mut self, exit_code: i32) {
        let payload = serde_json::to_vec(&Ended { exit_code }).unwrap_or_default();
        for client in &mut self.list {
            if matches!(client.request, Some(Request::Wait { next: true } | Request::Attach { .. })) {
                client.finish(kind::ENDED, &payload);
            }
        }
    }

    /// Waits, for a while, until everyone has read what was sent.
    pub(super) fn flush(&mut self) {
        let deadline = Instant::now() + FAREWELL;
        while self.list.iter().any(|client| !client.is_gone()) && Instant::now() < deadline {
            let mut fds: Vec<PollFd<'_>> = self
                .list
                .iter()
                .filter(|client| !client.is_gone())
                .map(|client| PollFd::new(client.as_fd(), PollFlags::POLLOUT))
                .collect();
            poll(&mut fds, PollTimeout::from(100_u16)).ok();
            self.list.iter_mut().for_each(Client::flush);
        }
    }
}
