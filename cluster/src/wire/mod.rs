//! Between machines: TCP with TLS, both sides showing a certificate of the swarm's own CA, gRPC inside.
//!
//! **Every request has a [`Caller`] taken from its certificate and is authorised by one table (`access`) before
//! any service sees it.** Only the calls which a node makes to get its first certificate need none.

pub(crate) mod access;
mod address;
mod identity;
mod managers;
mod peers;
mod server;
mod tls;

pub(crate) use address::{join_host_port, parse as parse_address};
pub use identity::Caller;
pub(crate) use identity::{IdentityError, identity_of, unit_of};
pub(crate) use managers::Managers;
pub use peers::{Peers, channel_with};
pub(crate) use server::{Peer, serve};
pub(crate) use tls::bootstrap_client;
pub use tls::{Credentials, Tls, pinned_client};

use std::net::SocketAddr;

use skep_common::ErrorKind;

/// A failed call in one line: what the peer said, or why it could not be asked.
pub(crate) fn explain(status: &tonic::Status) -> String {
    let mut reason = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let cause = error.to_string();
        // Tonic's own layer says no more than that there was an error.
        if cause != "transport error" && !reason.contains(&cause) {
            reason = format!("{reason}: {cause}");
        }
        source = error.source();
    }
    reason
}

/// Why a connection could not be made or a certificate not be used.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Certificates and keys that do not make a TLS configuration.
    #[error("the node's certificate cannot be used; leave the swarm and join it again")]
    Credentials(#[source] rustls::Error),
    /// A PEM file that cannot be read.
    #[error("{what} is not valid PEM")]
    Pem {
        /// Which file.
        what: &'static str,
        /// What the parser says.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// A certificate whose subject is not a node of a swarm.
    #[error("the certificate does not name a node of a swarm")]
    Identity(#[from] IdentityError),
    /// No way to the peer.
    #[error("cannot connect to {addr}")]
    Connect {
        /// HOST:PORT.
        addr: String,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The peer did not answer in time.
    #[error("{addr} did not answer in time")]
    Timeout {
        /// HOST:PORT.
        addr: String,
    },
    /// A port that cannot be listened on.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not an IP:PORT, nor a name in the hosts file.
    #[error("{0:?} is not an address: give IP:PORT (names are looked up in /etc/hosts only)")]
    Address(String),
    /// No manager is known.
    #[error("no manager of the swarm is known")]
    NoManagers,
}

impl WireError {
    /// Of what kind it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Credentials(_) | Self::Pem { .. } | Self::Identity(_) => ErrorKind::Internal,
            Self::Listen { .. } | Self::Address(_) => ErrorKind::BadArgument,
            Self::Connect { .. } | Self::NoManagers => ErrorKind::Unavailable,
            Self::Timeout { .. } => ErrorKind::Timeout,
        }
    }
}
