//! How the update of a service stands.

use crate::api::{Service, UpdateConfig, UpdateState};

/// How long a new task is watched for failure, where the configuration says nothing.
pub const MONITOR_DEFAULT_NS: i64 = 5_000_000_000;

/// What the update of a service is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// Replacing tasks, forwards or back.
    Active {
        /// As configured for this direction.
        config: UpdateConfig,
        /// Back to the previous specification.
        rollback: bool,
    },
    /// Stopped after failures, until the user changes the service.
    Paused,
}

impl Phase {
    /// The configuration in force.
    pub fn config(&self) -> Option<&UpdateConfig> {
        match self {
            Self::Active { config, .. } => Some(config),
            _ => None,
        }
    }

    /// Whether tasks are being replaced.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Active { .. })
    }
}

impl Service {
    /// The phase of its update, as committed.
    pub fn phase(&self) -> Phase {
        let active = |rollback| {
            let one_by_one = || UpdateConfig { parallelism: 1, ..UpdateConfig::default() };
            Phase::Active { config: self.update_config(rollback).unwrap_or_else(one_by_one), rollback }
        };
        match self.update_state() {
            UpdateState::Updating => active(false),
            UpdateState::RollbackStarted => active(true),
            UpdateState::Paused | UpdateState::RollbackPaused => Phase::Paused,
            UpdateState::Unknown | UpdateState::Completed | UpdateState::RollbackCompleted => Phase::Idle,
        }
    }
}
