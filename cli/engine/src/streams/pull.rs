//! A pull as a stream of what happens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, stream};
use skep_image::{Digest, ImageStore, LayerEvent, Progress, PullError, PullOptions, Pulled, Reference};
use tokio::sync::Notify;

use crate::error::Result;

/// Events that wait for a slow reader, from which on those that only count bytes are left out: later ones say more.
const COUNTS_MAX: usize = 256;

/// What happens in a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent {
    /// To a layer, named by the digest of its compressed blob.
    Layer {
        /// Its name.
        digest: Digest,
        /// What.
        event: LayerEvent,
    },
    /// A line that is not about a layer.
    Message(String),
    /// The image is here; nothing comes after it.
    Done(Pulled),
}

/// Pulls an image while the stream is read; dropping it ends the pull.
pub fn pull(
    store: ImageStore,
    reference: Reference,
    options: PullOptions,
) -> impl Stream<Item = Result<PullEvent>> + Send + use<> {
    let queue = Arc::new(Queue::default());
    let pulling = {
        let queue = Arc::clone(&queue);
        async move { skep_image::pull(&store, &reference, &options, &*queue).await }.boxed()
    };
    let state = Pulling { queue, work: Some(pulling), done: None };
    stream::try_unfold(state, async |mut state| Ok(state.next().await?.map(|event| (event, state))))
}

struct Pulling {
    queue: Arc<Queue>,
    /// `None` once it has come to its end.
    work: Option<BoxFuture<'static, Result<Pulled, PullError>>>,
    done: Option<Pulled>,
}

impl Pulling {
    async fn next(&mut self) -> Result<Option<PullEvent>> {
        loop {
            if let Some(event) = self.queue.pop() {
                return Ok(Some(event));
            }
            let Some(work) = &mut self.work else { return Ok(self.done.take().map(PullEvent::Done)) };
            // Both go on where they were: the work is kept, and a notification that nobody waits for is, too.
            tokio::select! {
                () = self.queue.filled.notified() => {}
                pulled = work => {
                    self.work = None;
                    self.done = Some(pulled?);
                }
            }
        }
    }
}

#[derive(Default)]
struct Queue {
    events: Mutex<VecDeque<PullEvent>>,
    filled: Notify,
}

impl Queue {
    fn push(&self, event: PullEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = matches!(
            event,
            PullEvent::Layer { event: LayerEvent::Downloading { .. } | LayerEvent::Extracting { .. }, .. }
        );
        if counts && events.len() >= COUNTS_MAX {
            return;
        }
        events.push_back(event);
        self.filled.notify_one();
    }

    fn pop(&self) -> Option<PullEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Progress for Queue {
    fn layer(&self, digest: &Digest, event: LayerEvent) {
        self.push(PullEvent::Layer { digest: *digest, event });
    }

    fn message(&self, text: &str) {
        self.push(PullEvent::Message(text.to_owned()));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use futures::StreamExt;
    use skep_image::{RegistrySettings, Timeouts};
    use tempfile::TempDir;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A pull of an image that the registry at this address would have, asked for once only.
    fn pulled_from(directory: &TempDir, registry: &str) -> impl Stream<Item = Result<PullEvent>> + Send + use<> {
        let store = ImageStore::open(directory.path()).unwrap();
        let settings =
            RegistrySettings { timeouts: Timeouts { attempts: 1, ..Timeouts::default() }, ..Default::default() };
        let reference = format!("{registry}/app:1").parse().unwrap();
        pull(store, reference, PullOptions { settings, ..PullOptions::default() })
    }

    #[tokio::test]
    async fn a_pull_that_fails_says_so_last() {
        let directory = tempfile::tempdir().unwrap();
        // Nobody listens there any more.
        let registry = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let mut events = pin!(pulled_from(&directory, &registry));
        let failure = loop {
            match events.next().await.unwrap() {
                Ok(PullEvent::Done(done)) => panic!("{done:?}"),
                Ok(_) => {}
                Err(failure) => break failure,
            }
        };
        assert_eq!(failure.kind(), crate::ErrorKind::Unavailable);
        assert!(crate::error::chain_of(&failure).contains(&registry), "{failure}");
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn a_pull_that_is_left_lets_the_registry_go() {
        let directory = tempfile::tempdir().unwrap();
        let registry = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut events = Box::pin(pulled_from(&directory, &registry.local_addr().unwrap().to_string()));
        let asked = async {
            let (mut connection, _) = registry.accept().await.unwrap();
            assert_ne!(connection.read_u8().await.unwrap(), 0);
            connection
        };
        let mut connection = tokio::select! {
            connection = asked => connection,
            event = events.next() => panic!("{event:?}"),
        };
        drop(events);
        // The rest of the question, and the end: nobody waits for an answer.
        let mut question = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(20), connection.read_to_end(&mut question)).await;
        let end = end.expect("the connection is given up").map_err(|failure| failure.kind());
        assert!(matches!(end, Ok(_) | Err(std::io::ErrorKind::ConnectionReset)), "{end:?}");
    }

    #[test]
    fn only_counts_are_left_out_for_a_slow_reader() {
        let (queue, digest) = (Queue::default(), Digest::of(b"layer"));
        for current in 0..10_000 {
            queue.layer(&digest, LayerEvent::Downloading { current, total: 10_000 });
        }
        queue.layer(&digest, LayerEvent::PullComplete);
        let events: Vec<PullEvent> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(events.len(), COUNTS_MAX + 1);
        let last = PullEvent::Layer { digest, event: LayerEvent::PullComplete };
        assert_eq!(events.last(), Some(&last));
    }
}
