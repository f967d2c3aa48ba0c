//! What can go wrong between here and a registry, in docker's words where it has some.

use std::error::Error as StdError;
use std::io;

use skep_common::ErrorKind;
use thiserror::Error;

use crate::digest::Digest;

/// What a timeout waited for, if there was no connection yet.
pub(super) const CONNECTING: &str = "connecting";

/// A failed request to a registry.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// Nothing listens there.
    #[error("cannot reach registry {host}: connection refused (is it running?)")]
    Refused {
        /// Name and port.
        host: String,
    },
    /// It could not be connected to.
    #[error("cannot reach registry {host}: {reason}")]
    Unreachable {
        /// Name and port.
        host: String,
        /// Why, down to the system call.
        reason: String,
    },
    /// Its certificate is not trusted.
    #[error(
        "cannot trust registry {host}: {reason}: put its CA into /etc/containers/certs.d/{host}/ca.crt, \
         or mark it insecure in registries.conf"
    )]
    Certificate {
        /// Name and port.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It does not speak TLS.
    #[error("registry {host} does not speak https: mark it insecure in registries.conf to use plain http")]
    NotTls {
        /// Name and port.
        host: String,
    },
    /// It did not answer in time.
    #[error("registry {host} did not answer: {waiting} took longer than {seconds} s")]
    Timeout {
        /// Name and port.
        host: String,
        /// What was waited for.
        waiting: &'static str,
        /// How long, in seconds.
        seconds: f64,
    },
    /// The connection broke.
    #[error("the connection to registry {host} broke: {reason}")]
    Broken {
        /// Name and port.
        host: String,
        /// Why.
        reason: String,
    },
    /// It answered with an error that has no variant of its own.
    #[error("registry {host} answered {status}{detail} to {request}")]
    Status {
        /// Name and port.
        host: String,
        /// What was asked.
        request: String,
        /// The HTTP status.
        status: u16,
        /// What it said, with a leading separator.
        detail: String,
    },
    /// It asks to come back later, and that is too late.
    #[error(
        "registry {host} refuses more requests for now (toomanyrequests{detail}): try again in {seconds} s, or log in"
    )]
    TooManyRequests {
        /// Name and port.
        host: String,
        /// What it said, with a leading separator.
        detail: String,
        /// When to come back, in seconds.
        seconds: u64,
    },
    /// The repository has no such tag or digest.
    #[error("manifest for {reference} not found: {detail}")]
    ManifestUnknown {
        /// As the user wrote it.
        reference: String,
        /// What the registry said.
        detail: String,
    },
    /// There is no such repository.
    #[error("repository {name} not found: {detail}")]
    NameUnknown {
        /// As the user wrote it.
        name: String,
        /// What the registry said.
        detail: String,
    },
    /// The repository may not be read.
    #[error("pull access denied for {name}, repository does not exist or may require 'skep login': {detail}")]
    Denied {
        /// As the user wrote it.
        name: String,
        /// What the registry said.
        detail: String,
    },
    /// User and password are wrong.
    #[error("{host}: unauthorized: {detail}")]
    Unauthorized {
        /// Name and port.
        host: String,
        /// What the registry said.
        detail: String,
    },
    /// It sends clients somewhere they must not go.
    #[error("registry {host} redirects to {location}, which is refused: {reason}")]
    Redirect {
        /// Name and port.
        host: String,
        /// Where to.
        location: String,
        /// Why not.
        reason: &'static str,
    },
    /// It wants to be logged in to in a way that is not supported or not safe.
    #[error("cannot log in to registry {host}: {reason}")]
    Challenge {
        /// Name and port.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// It sent more than such a document may have.
    #[error("registry {host} sent a {what} of more than {bytes_max} bytes, which is refused")]
    TooLarge {
        /// Name and port.
        host: String,
        /// What kind of document.
        what: &'static str,
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// It sent other content than was asked for.
    #[error("registry {host} sent a wrong {what}: expected digest {expected}, received {actual}")]
    WrongDigest {
        /// Name and port.
        host: String,
        /// What kind of document.
        what: &'static str,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// It sent less or more than the manifest says.
    #[error("registry {host} sent blob {digest} with a wrong size: expected {expected} bytes, received {received}")]
    WrongSize {
        /// Name and port.
        host: String,
        /// The blob.
        digest: Digest,
        /// Its size in the manifest, in bytes.
        expected: u64,
        /// What came or was announced, in bytes.
        received: u64,
    },
    /// It ended a blob too early, again and again.
    #[error("registry {host} sent blob {digest} truncated: expected {expected} bytes, received {received}")]
    Truncated {
        /// Name and port.
        host: String,
        /// The blob.
        digest: Digest,
        /// Its size in the manifest, in bytes.
        expected: u64,
        /// What came, in bytes.
        received: u64,
    },
    /// The HTTP client could not be made.
    #[error("cannot prepare the connection to registry {host}: {reason}")]
    Client {
        /// Name and port.
        host: String,
        /// Why.
        reason: String,
    },
}

impl RegistryError {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            RegistryError::Refused { .. }
            | RegistryError::Unreachable { .. }
            | RegistryError::Broken { .. }
            | RegistryError::TooManyRequests { .. }
            | RegistryError::Truncated { .. } => ErrorKind::Unavailable,
            RegistryError::Timeout { .. } => ErrorKind::Timeout,
            RegistryError::ManifestUnknown { .. } | RegistryError::NameUnknown { .. } => ErrorKind::NotFound,
            // As docker's engine: whether it is missing or private, the registry does not say.
            RegistryError::Denied { .. } => ErrorKind::NotFound,
            RegistryError::Unauthorized { .. } => ErrorKind::Unauthenticated,
            RegistryError::Redirect { .. } => ErrorKind::Forbidden,
            RegistryError::Challenge { .. } => ErrorKind::NotSupported,
            RegistryError::Status { .. } if self.is_retryable() => ErrorKind::Unavailable,
            RegistryError::Certificate { .. }
            | RegistryError::NotTls { .. }
            | RegistryError::Status { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::WrongDigest { .. }
            | RegistryError::WrongSize { .. }
            | RegistryError::Client { .. } => ErrorKind::Internal,
        }
    }

    /// Whether trying again later, with nothing changed, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            RegistryError::Refused { .. }
            | RegistryError::Unreachable { .. }
            | RegistryError::Timeout { .. }
            | RegistryError::Broken { .. }
            | RegistryError::TooManyRequests { .. }
            | RegistryError::Truncated { .. } => true,
            RegistryError::Status { status, .. } => *status >= 500 || matches!(*status, 408 | 429),
            _ => false,
        }
    }

    /// Whether the registry answered, and answering by another scheme would not differ.
    pub(super) fn is_answer(&self) -> bool {
        !matches!(
            self,
            RegistryError::Refused { .. }
                | RegistryError::Unreachable { .. }
                | RegistryError::Certificate { .. }
                | RegistryError::NotTls { .. }
                | RegistryError::Broken { .. }
                | RegistryError::Timeout { waiting: CONNECTING, .. }
                // What web servers say to plain http on their TLS port.
                | RegistryError::Status { status: 400, .. }
        )
    }

    /// How much a reader learns from it, to choose among the errors of several endpoints.
    pub(super) fn weight(&self) -> u8 {
        match self {
            RegistryError::Refused { .. } | RegistryError::Unreachable { .. } | RegistryError::NotTls { .. } => 0,
            RegistryError::Timeout { .. } | RegistryError::Broken { .. } => 1,
            _ => 2,
        }
    }

    /// From an error of the HTTP client.
    pub(super) fn from_client(host: &str, error: &reqwest::Error) -> RegistryError {
        let host = host.to_owned();
        let mut reason = String::new();
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(current) = cause {
            if let Some(io) = current.downcast_ref::<io::Error>()
                && io.kind() == io::ErrorKind::ConnectionRefused
            {
                return RegistryError::Refused { host };
            }
            if let Some(tls) = find_tls(current) {
                return RegistryError::from_tls(host, tls);
            }
            reason = current.to_string();
            cause = current.source();
        }
        if error.is_connect() {
            RegistryError::Unreachable { host, reason }
        } else {
            RegistryError::Broken { host, reason }
        }
    }

    fn from_tls(host: String, error: &rustls::Error) -> RegistryError {
        match error {
            rustls::Error::InvalidMessage(_) => RegistryError::NotTls { host },
            other => RegistryError::Certificate { host, reason: other.to_string() },
        }
    }
}

/// The TLS library's error in one that carries it: errors inside of I/O errors are not among their sources.
fn find_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut current = error;
    loop {
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        current = current.downcast_ref::<io::Error>()?.get_ref()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_by_the_kind() {
        let host = || "registry".to_owned();
        let status = |status| RegistryError::Status { host: host(), request: host(), status, detail: String::new() };
        for (error, kind) in [
            (RegistryError::Refused { host: host() }, ErrorKind::Unavailable),
            (RegistryError::Timeout { host: host(), waiting: CONNECTING, seconds: 1.0 }, ErrorKind::Timeout),
            (RegistryError::NameUnknown { name: host(), detail: host() }, ErrorKind::NotFound),
            (RegistryError::Unauthorized { host: host(), detail: host() }, ErrorKind::Unauthenticated),
            (status(503), ErrorKind::Unavailable),
            (status(418), ErrorKind::Internal),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.is_retryable(), kind.is_retryable(), "{error}");
        }
    }
}
