//! What a container uses, as a stream of samples.

use std::time::Duration;

use futures::{Stream, stream};
use skep_runtime::{Runtime, StatsSample};
use tokio::time::{MissedTickBehavior, interval};

use crate::blocking::aside;
use crate::error::Result;

/// One sample now, and one after every `period`; an error, and nothing after it, once the container is removed.
pub fn stats(runtime: Runtime, id: String, period: Duration) -> impl Stream<Item = Result<StatsSample>> + Send + use<> {
    let mut ticks = interval(period);
    // A sample that was late moves the others: two at once would tell nothing.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::try_unfold((ticks, runtime, id), async |(mut ticks, runtime, id)| {
        ticks.tick().await;
        let sample = {
            let (runtime, id) = (runtime.clone(), id.clone());
            aside(move || Ok(runtime.stats(&id)?)).await?
        };
        Ok(Some((sample, (ticks, runtime, id))))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;

    use futures::StreamExt;

    use super::*;
    use crate::ErrorKind;
    use crate::streams::fixture::Container;

    #[tokio::test]
    async fn samples_go_on_until_the_container_is_removed() {
        let container = Container::running();
        container.end(0);
        let mut samples = pin!(stats(container.runtime.clone(), container.id.clone(), Duration::from_millis(1)));
        for _ in 0..3 {
            let sample = samples.next().await.unwrap().unwrap();
            assert_eq!((sample.id.as_str(), sample.cgroup), (container.id.as_str(), None));
        }
        container.remove();
        assert_eq!(samples.next().await.unwrap().unwrap_err().kind(), ErrorKind::NotFound);
        assert!(samples.next().await.is_none());
    }
}
