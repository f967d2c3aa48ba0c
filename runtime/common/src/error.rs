//! What kinds of failure there are, whoever failed: what a caller may branch on, and what crosses the wire.

use std::fmt;

/// The kind of a failure. Callers branch on it, never on the words of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The object named does not exist.
    NotFound,
    /// What was asked for clashes with what is there: a name that is taken, a state that does not allow it.
    Conflict,
    /// The object was changed since it was read: read it again, then try again.
    OutOfSequence,
    /// Others use the object.
    InUse,
    /// The request says something that cannot be.
    BadArgument,
    /// Only a manager answers this, and this node is none.
    NotAManager,
    /// This node is in no swarm.
    NotInSwarm,
    /// The managers cannot agree: too few are reachable, or none leads now.
    NoQuorum,
    /// The caller has not said who it is, or is not believed.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// skep cannot do this.
    NotSupported,
    /// It did not end in time.
    Timeout,
    /// Somebody who has to help is not there now: a registry, an agent, a shim.
    Unavailable,
    /// Everything else: the machine's or skep's own fault.
    Internal,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::NotFound,
        Self::Conflict,
        Self::OutOfSequence,
        Self::InUse,
        Self::BadArgument,
        Self::NotAManager,
        Self::NotInSwarm,
        Self::NoQuorum,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotSupported,
        Self::Timeout,
        Self::Unavailable,
        Self::Internal,
    ];

    /// Its name on the wire. Never changed: nodes of different releases talk to each other.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::OutOfSequence => "out-of-sequence",
            Self::InUse => "in-use",
            Self::BadArgument => "bad-argument",
            Self::NotAManager => "not-a-manager",
            Self::NotInSwarm => "not-in-swarm",
            Self::NoQuorum => "no-quorum",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotSupported => "not-supported",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The kind with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The status with which an HTTP API answers, as docker's does.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Conflict | Self::InUse => 409,
            Self::BadArgument => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotSupported => 501,
            Self::NotAManager | Self::NotInSwarm | Self::NoQuorum | Self::Unavailable => 503,
            Self::OutOfSequence | Self::Timeout | Self::Internal => 500,
        }
    }

    /// Whether the same request may succeed later, with nothing changed in it.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::NoQuorum | Self::Timeout | Self::Unavailable)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(ErrorKind::from_name("new-in-a-later-release"), None);
    }
}
