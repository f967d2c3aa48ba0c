//! The tasks that feed answers which go on, kept until they end: none outlives the leadership in which it was started.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::surroundings::Clock;

/// So long a reader may take to hear why its stream ends; a slower one just loses it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Running tasks. They are told to end by whatever token they watch; [`Streams::stop`] waits for it.
#[derive(Debug)]
pub(crate) struct Streams {
    running: Mutex<JoinSet<()>>,
    clock: Arc<dyn Clock>,
}

impl Streams {
    /// None yet.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { running: Mutex::default(), clock }
    }

    /// Starts a task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(task);
    }

    /// Returns when all tasks have ended. Those that do not do so by themselves are aborted.
    pub(crate) async fn stop(&self) {
        let mut running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async { while running.join_next().await.is_some() {} };
        if self.clock.limit(LAST_WORDS, ended).await.is_err() {
            running.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surroundings::SystemClock;

    #[tokio::test]
    async fn nothing_runs_on_when_it_has_stopped() {
        let streams = Streams::new(Arc::new(SystemClock));
        let alive = Arc::new(());
        for endless in [false, true] {
            let alive = alive.clone();
            streams.spawn(async move {
                if endless {
                    std::future::pending::<()>().await;
                }
                drop(alive);
            });
        }
        streams.stop().await;
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
