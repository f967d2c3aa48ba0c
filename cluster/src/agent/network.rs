//! Brings the node's data plane to the newest tables, one call of the executor at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::executor::{Executor, NodeNetwork};

const SETTLE: Duration = Duration::from_millis(30);
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// The data plane is looked through so often though nothing changed: what somebody else broke is repaired.
const REPAIR: Duration = Duration::from_secs(30);

/// What the node's data plane is like now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Ids of the networks that the node carries.
    pub networks: BTreeSet<String>,
    /// Why it does not carry all that it should.
    pub trouble: Option<String>,
}

/// Applies what comes in `wanted` until `stop`, and tells in `carried` what has been applied.
pub async fn run(
    executor: Arc<dyn Executor>,
    mut wanted: watch::Receiver<Option<Arc<NodeNetwork>>>,
    carried: watch::Sender<Carried>,
    stop: CancellationToken,
) {
    let mut retry = RETRY_MIN;
    loop {
        let network = wanted.borrow_and_update().clone();
        let pause = match network {
            None => Duration::MAX,
            // A half-made change is not interrupted, or the kernel and the plan would differ until the next one.
            Some(network) => match executor.configure_network(&network).await {
                Ok(()) => {
                    retry = RETRY_MIN;
                    let networks = network.networks.iter().map(|n| n.id.clone()).collect();
                    carried.send_replace(Carried { networks, trouble: None });
                    REPAIR
                }
                Err(error) => {
                    tracing::warn!(%error, "the node's networks could not be configured");
                    let trouble = Some(error.to_string());
                    carried.send_if_modified(|carried| {
                        let news = carried.trouble != trouble;
                        carried.trouble = trouble;
                        news
                    });
                    retry = (retry * 2).min(RETRY_MAX);
                    retry
                }
            },
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => continue,
            changed = wanted.changed() => if changed.is_err() { return },
        }
        sleep(SETTLE).await;
    }
}
