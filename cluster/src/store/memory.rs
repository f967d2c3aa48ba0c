//! A store without raft, for tests of the brains: one process, nothing on disk, always the leader.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{ProposeError, Store, View};
use crate::api::{StoreAction, StoreTransaction};
use crate::surroundings::{Clock, SystemClock};

/// Commits at once what fits, exactly as the replicated state machine would.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    views: watch::Sender<Arc<View>>,
    clock: Arc<dyn Clock>,
}

impl MemoryStore {
    /// An empty store at version 0.
    pub(crate) fn new() -> Self {
        Self::with_view(View::default())
    }

    /// A store which begins with `view`.
    pub(crate) fn with_view(view: View) -> Self {
        Self { views: watch::Sender::new(Arc::new(view)), clock: Arc::new(SystemClock) }
    }

    /// The same, with the times of this clock.
    pub(crate) fn timed_by(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Commits at a time given by the test (nanoseconds since the epoch).
    ///
    /// # Errors
    /// If the actions do not fit on the state.
    pub(crate) fn commit(&self, actions: Vec<StoreAction>, time_ns: i64) -> Result<u64, ProposeError> {
        let mut outcome = Ok(0);
        self.views.send_if_modified(|current| {
            let mut next = View::clone(current);
            let version = next.version() + 1;
            match next.apply(&StoreTransaction { actions, time_ns }, version) {
                Ok(()) => {
                    *current = Arc::new(next);
                    outcome = Ok(version);
                    true
                }
                Err(error) => {
                    outcome = Err(error.into());
                    false
                }
            }
        });
        outcome
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn view(&self) -> Arc<View> {
        self.views.borrow().clone()
    }

    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }

    async fn propose(&self, actions: Vec<StoreAction>) -> Result<u64, ProposeError> {
        self.commit(actions, self.clock.now_ns())
    }
}
