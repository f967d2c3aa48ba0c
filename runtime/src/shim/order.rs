//! What a shim is told by its starter, and what it tells it.
//!
//! The starter sends one message, with the descriptors, and reads one line: the report.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::Place;
use crate::error::{DisplayChain, Error, Result};
use crate::kernel::descriptors;
use crate::records::roots::Roots;
use crate::streams::control::{Order, StartReport};

/// What a shim has been given.
pub(super) struct Given {
    pub(super) place: Place,
    /// To the starter.
    pub(super) starter: UnixStream,
    pub(super) order: Order,
    /// For whom the container is started.
    pub(super) first_client: Option<UnixStream>,
    /// The name server's sockets: UDP, TCP.
    pub(super) dns: Option<(OwnedFd, OwnedFd)>,
    /// The container's lock, until state.json says whose it is.
    pub(super) lock: Option<OwnedFd>,
}

/// Takes the order.
///
/// # Errors
/// The starter is gone, or has sent something else.
pub(super) fn receive(roots: Roots, id: String, starter: UnixStream) -> Result<Given> {
    let (text, fds) = descriptors::receive(&starter).map_err(Error::system("receive the order"))?;
    let order: Order =
        serde_json::from_slice(&text).map_err(|source| Error::Damaged { path: "order".into(), source })?;
    let mut fds = fds.into_iter();
    let lock = fds.next();
    let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let mounts = fds.next().ok_or_else(missing).map_err(Error::system("receive the order"))?;
    let first_client = if order.attach { fds.next().map(UnixStream::from) } else { None };
    let dns = if order.dns { fds.next().zip(fds.next()) } else { None };
    let paths = roots.container(&id);
    Ok(Given { place: Place { roots, paths, id, mounts }, starter, order, first_client, dns, lock })
}

/// Tells the starter how it went. It may have been killed: the container goes on.
pub(super) fn report(starter: &mut UnixStream, report: &StartReport) {
    let mut text = serde_json::to_vec(report).unwrap_or_default();
    text.push(b'\n');
    starter.write_all(&text).ok();
}

/// The report of a shim that got no further.
pub(super) fn failed(error: &Error) -> StartReport {
    StartReport::Failed { message: DisplayChain(error).to_string(), exit_code: error.exit_code() }
}
