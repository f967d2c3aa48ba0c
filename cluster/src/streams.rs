//! The tasks that feed answers which go on, kept until they end: none outlives the leadership in which it was started.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

/// So long a reader may take to hear why its stream ends; a slower one just loses it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Running tasks. They are told to end by whatever token they watch; [`Streams::stop`] waits for it.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<JoinSet<()>>);

impl Streams {
    /// Starts a task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(task);
    }

    /// Returns when all tasks have ended. Those that do not do so by themselves are aborted.
    pub(crate) async fn stop(&self) {
        let mut running = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
            running.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn nothing_runs_on_when_it_has_stopped() {
        let streams = Streams::default();
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
