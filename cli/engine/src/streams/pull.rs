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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

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
