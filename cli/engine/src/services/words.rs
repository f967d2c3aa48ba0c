//! Docker's words for what the swarm knows as numbers, there and back. Used by the JSON and by the command line's tables.

use skep_cluster::api::{
    EndpointMode, MountType, NodeAvailability, NodeRole, NodeState, PortProtocol, PublishMode, Reachability,
    RestartCondition, TaskState, UpdateFailureAction, UpdateOrder, UpdateState,
};

/// A value with a word.
pub(crate) trait Word: Sized + Copy + 'static {
    /// Every value with its word.
    const ALL: &'static [(Self, &'static str)];

    /// Its word; empty where docker writes none.
    fn word(self) -> &'static str;

    /// The value of a word.
    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, other)| *other == word).map(|(value, _)| *value)
    }
}

macro_rules! words {
    ($($kind:ident { $($value:ident => $word:literal,)+ })+) => {$(
        impl Word for $kind {
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$value, $word)),+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }
    )+};
}

words! {
    TaskState {
        New => "new",
        Pending => "pending",
        Assigned => "assigned",
        Accepted => "accepted",
        Preparing => "preparing",
        Ready => "ready",
        Starting => "starting",
        Running => "running",
        Complete => "complete",
        Shutdown => "shutdown",
        Failed => "failed",
        Rejected => "rejected",
        Remove => "remove",
        Orphaned => "orphaned",
    }
    UpdateState {
        Unknown => "",
        Updating => "updating",
        Paused => "paused",
        Completed => "completed",
        RollbackStarted => "rollback_started",
        RollbackPaused => "rollback_paused",
        RollbackCompleted => "rollback_completed",
    }
    UpdateFailureAction {
        Pause => "pause",
        Continue => "continue",
        Rollback => "rollback",
    }
    UpdateOrder {
        StopFirst => "stop-first",
        StartFirst => "start-first",
    }
    RestartCondition {
        Any => "any",
        OnFailure => "on-failure",
        None => "none",
    }
    EndpointMode {
        Vip => "vip",
        Dnsrr => "dnsrr",
    }
    PortProtocol {
        Tcp => "tcp",
        Udp => "udp",
        Sctp => "sctp",
    }
    PublishMode {
        Ingress => "ingress",
        Host => "host",
    }
    MountType {
        Bind => "bind",
        Volume => "volume",
        Tmpfs => "tmpfs",
    }
    NodeRole {
        Manager => "manager",
        Worker => "worker",
    }
    NodeAvailability {
        Active => "active",
        Pause => "pause",
        Drain => "drain",
    }
    NodeState {
        Unknown => "unknown",
        Down => "down",
        Ready => "ready",
        Disconnected => "disconnected",
    }
    Reachability {
        Unknown => "unknown",
        Unreachable => "unreachable",
        Reachable => "reachable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_leads_back() {
        for (state, word) in TaskState::ALL {
            assert_eq!(TaskState::of_word(word), Some(*state));
            assert_eq!(state.word(), *word);
        }
        assert_eq!(PublishMode::of_word("nowhere"), None);
    }
}
