//! How the update of a service stands.

use skep_common::duration::SECOND_NS;

use super::{Service, UpdateFailureAction, UpdateOrder, UpdateState};

/// How long a new task is watched for failure, where the configuration says nothing.
pub const MONITOR_DEFAULT_NS: i64 = 5 * SECOND_NS;

/// How the tasks of a service are replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct UpdateConfig {
    /// So many at a time; 0: all at once.
    pub parallelism: u64,
    /// Nanoseconds between two.
    pub delay_ns: i64,
    /// What happens after a failure.
    pub failure_action: UpdateFailureAction,
    /// Nanoseconds for which a new task is watched; `None`: [`MONITOR_DEFAULT_NS`].
    pub monitor_ns: Option<i64>,
    /// Part of the tasks that may fail (0 to 1).
    pub max_failure_ratio: f32,
    /// Which comes first, the new task or the end of the old one.
    pub order: UpdateOrder,
}

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
    pub(crate) fn config(&self) -> Option<&UpdateConfig> {
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
            let config = if rollback { self.spec.rollback } else { self.spec.update };
            Phase::Active { config: config.unwrap_or_else(one_by_one), rollback }
        };
        match self.update_state() {
            UpdateState::Updating => active(false),
            UpdateState::RollbackStarted => active(true),
            UpdateState::Paused | UpdateState::RollbackPaused => Phase::Paused,
            UpdateState::Unknown | UpdateState::Completed | UpdateState::RollbackCompleted => Phase::Idle,
        }
    }
}
