//! How long things may take, stretched as a whole for slow (emulated) machines.

use std::time::Duration;

/// All time limits of the wire and of raft, derived from one factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    factor: f64,
}

impl Timing {
    /// Limits multiplied by `factor`; what is not a positive number counts as 1.
    pub fn scaled(factor: f64) -> Self {
        Self { factor: if factor.is_finite() && factor > 0.0 { factor } else { 1.0 } }
    }

    /// Time between two heartbeats of the raft leader, milliseconds; also how long a follower has to answer one, which
    /// a busy machine needs more of than a network does.
    pub(crate) fn heartbeat_ms(self) -> u64 {
        self.scale_ms(800)
    }

    /// Shortest and longest election timeout, milliseconds. The lease of a silent leader (the longest) is waited for first,
    /// so that a leader is followed by another after 5 to 7 seconds.
    pub(crate) fn election_ms(self) -> (u64, u64) {
        (self.scale_ms(2000), self.scale_ms(3500))
    }

    /// A leader that no majority has answered for this long no longer acts as one.
    pub(crate) fn quorum_lost(self) -> Duration {
        self.scale(5000)
    }

    /// How long a write or a consistent read may wait for a majority.
    pub(crate) fn proposal(self) -> Duration {
        self.scale(5000)
    }

    /// How long a request waits for a leader to be elected.
    pub(crate) fn leader_wait(self) -> Duration {
        self.scale(10_000)
    }

    /// Limit of a TCP connect and of a TLS handshake.
    pub(crate) fn connect(self) -> Duration {
        self.scale(5000)
    }

    /// Limit of a small request between nodes.
    pub(crate) fn request(self) -> Duration {
        self.scale(10_000)
    }

    /// How long a connection without a certificate may last: enough to get one, a leader being elected meanwhile.
    pub(crate) fn anonymous(self) -> Duration {
        self.scale(60_000)
    }

    /// How long a new manager may take to catch up.
    pub(crate) fn catch_up(self) -> Duration {
        self.scale(60_000)
    }

    /// How long an agent without a swarm waits to be told to make or join one.
    pub(crate) fn idle(self) -> Duration {
        self.scale(15_000)
    }

    /// `ms` milliseconds, scaled.
    pub(crate) fn scale(self, ms: u64) -> Duration {
        Duration::from_millis(self.scale_ms(ms))
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn scale_ms(self, ms: u64) -> u64 {
        ((ms as f64 * self.factor) as u64).max(1)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self { factor: 1.0 }
    }
}
