//! A refusal or a failure as it crosses the wire: of what kind it is, and the words for whoever reads them.
//!
//! A kind travels beside gRPC's code, in the metadata [`KIND_METADATA`], because the codes are too few: a manager that
//! has no quorum and an agent that is stopping are both `UNAVAILABLE`. A node of another release may send no kind, or one
//! that is not known here: then the code tells. **Nobody branches on the words.**

use skep_common::ErrorKind;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Name of the metadata entry that carries [`ErrorKind::name`].
pub(crate) const KIND_METADATA: &str = "skep-error-kind";

/// Why a call was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of this kind, with the words that a user is shown.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Of what kind it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The words of whoever refused, which are a user's words already.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the same request may succeed later, with nothing changed in it.
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    pub(crate) fn in_use(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InUse, message)
    }

    pub(crate) fn bad_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadArgument, message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, message)
    }

    pub(crate) fn not_supported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotSupported, message)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        status(code_of(error.kind), error.kind, error.message)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let kind = kind_of(&status);
        // Made on this side of a connection that broke: tonic's words would mean nothing to a user.
        let broken = matches!(status.code(), Code::Unknown | Code::Cancelled) && is_local(&status);
        let message = match broken {
            true => "the agent stopped while it was asked; see its log and try again".to_owned(),
            false => status.message().to_owned(),
        };
        Self { kind, message }
    }
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

/// A status with another code than the kind's own.
pub(crate) fn status(code: Code, kind: ErrorKind, message: impl Into<String>) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(KIND_METADATA, MetadataValue::from_static(kind.name()));
    Status::with_metadata(code, message, metadata)
}

/// The kind that a status carries, or the one that its code suggests.
pub(crate) fn kind_of(status: &Status) -> ErrorKind {
    let named = status.metadata().get(KIND_METADATA).and_then(|value| value.to_str().ok());
    named.and_then(ErrorKind::from_name).unwrap_or_else(|| match status.code() {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists | Code::FailedPrecondition => ErrorKind::Conflict,
        Code::Aborted => ErrorKind::OutOfSequence,
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::BadArgument,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::Unimplemented => ErrorKind::NotSupported,
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::Unavailable | Code::ResourceExhausted => ErrorKind::Unavailable,
        Code::Unknown | Code::Cancelled if is_local(status) => ErrorKind::Unavailable,
        Code::Ok | Code::Unknown | Code::Cancelled | Code::Internal | Code::DataLoss => ErrorKind::Internal,
    })
}

/// Whether the status was made on this side: the connection failed, nobody has answered.
fn is_local(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// The code with which a kind is sent.
fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::AlreadyExists,
        ErrorKind::OutOfSequence => Code::Aborted,
        ErrorKind::InUse | ErrorKind::NotAManager | ErrorKind::NotInSwarm => Code::FailedPrecondition,
        ErrorKind::BadArgument => Code::InvalidArgument,
        ErrorKind::NoQuorum | ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::NotSupported => Code::Unimplemented,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it is when the answer has been read from the wire.
    fn received(status: Status) -> Error {
        let response: tonic::codegen::http::Response<tonic::body::Body> = status.into_http();
        Status::from_header_map(response.headers()).unwrap().into()
    }

    #[test]
    fn every_kind_survives_the_wire_with_its_words() {
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, "words: \"quoted\", und ä");
            assert_eq!(received(error.clone().into()), error);
        }
    }

    #[test]
    fn without_a_known_kind_the_code_tells() {
        for (code, kind) in [
            (Code::NotFound, ErrorKind::NotFound),
            (Code::FailedPrecondition, ErrorKind::Conflict),
            (Code::Unavailable, ErrorKind::Unavailable),
            (Code::Unknown, ErrorKind::Internal),
        ] {
            assert_eq!(received(Status::new(code, "x")).kind(), kind);
            let mut newer = Status::new(code, "x");
            newer.metadata_mut().insert(KIND_METADATA, MetadataValue::from_static("of-a-later-release"));
            assert_eq!(received(newer).kind(), kind);
        }
    }

    #[test]
    fn a_broken_connection_is_said_in_the_users_words() {
        let error = Error::from(Status::from_error(Box::new(std::io::Error::other("h2 protocol error"))));
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().starts_with("the agent stopped"), "{error}");
        assert_eq!(Error::from(Status::unknown("said by the agent")).message(), "said by the agent");
    }
}
