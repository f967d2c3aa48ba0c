//! The swarm's own certificate authority: root, node certificates, join tokens, issuing and renewing.

mod issue;
mod renew;
mod request;
mod server;
mod token;

pub use issue::{RootKey, new_root, sign_node};
pub(crate) use renew::{check_current, renewal_due, trouble, validity};
pub use request::NodeKey;
pub(crate) use request::{Application, Issued, fetch_root, request_certificate};
pub(crate) use server::{CaService, issue_own, new_authority, new_node, refuse_until};
pub(crate) use token::{JoinToken, digest_of, new_secret};

use std::time::Duration;

use skep_common::ErrorKind;

/// How long a node's certificate is valid unless the swarm says otherwise.
pub const NODE_VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);
/// The shortest validity that the swarm may ask for.
pub(crate) const NODE_VALIDITY_MIN: Duration = Duration::from_secs(3600);

/// Why a certificate could not be made, read or obtained.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Making a key, a request or a certificate failed.
    #[error("cannot make {what}")]
    Make {
        /// Which.
        what: &'static str,
        /// What the library says.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate that cannot be read.
    #[error("{what} is not a valid certificate")]
    Malformed {
        /// Which.
        what: &'static str,
    },
    /// A token that is not one, or one that the swarm does not know.
    #[error("invalid join token")]
    Token,
    /// The manager's root certificate is not the one in the token.
    #[error("remote CA does not match fingerprint. Expected: {expected}")]
    Fingerprint {
        /// The digest in the token.
        expected: String,
    },
    /// A new certificate that is not valid now.
    #[error(
        "the manager's certificate for this node is valid from {from} until {until}, but it is {now} here: \
         set the clocks of both machines right"
    )]
    Clock {
        /// Begin of its validity.
        from: String,
        /// End of its validity.
        until: String,
        /// The time here.
        now: String,
    },
    /// The manager refused.
    #[error(transparent)]
    Refused(crate::error::Error),
    /// No manager could be reached.
    #[error("cannot reach the manager at {addr}: {reason}")]
    Unreachable {
        /// HOST:PORT.
        addr: String,
        /// What was tried and how it failed.
        reason: String,
    },
    /// The connection could not be set up.
    #[error(transparent)]
    Wire(#[from] crate::wire::WireError),
}

impl CaError {
    /// Of what kind it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Make { .. } | Self::Malformed { .. } => ErrorKind::Internal,
            Self::Token | Self::Fingerprint { .. } => ErrorKind::BadArgument,
            Self::Refused(error) => error.kind(),
            Self::Clock { .. } => ErrorKind::Conflict,
            Self::Unreachable { .. } => ErrorKind::Unavailable,
            Self::Wire(error) => error.kind(),
        }
    }
}
