//! Brings the node's data plane to the newest tables, one call of the executor at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::executor::{Configured, Executor, NodeNetwork};
use crate::model::NetworkId;
use crate::surroundings::Clock;

const SETTLE: Duration = Duration::from_millis(30);
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// The data plane is looked through so often though nothing changed: what somebody else broke is repaired.
const REPAIR: Duration = Duration::from_secs(30);

/// What the node's data plane is like now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// Ids of the networks that the node carries.
    pub networks: BTreeSet<NetworkId>,
    /// Those that it should carry and does not, and why.
    pub missing: BTreeMap<NetworkId, String>,
    /// Why nothing could be changed when that was tried last.
    pub trouble: Option<String>,
}

/// Applies what comes in `wanted` until `stop`, and tells in `carried` what has been applied.
pub(super) async fn run(
    executor: Arc<dyn Executor>,
    clock: Arc<dyn Clock>,
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
                Ok(Configured { missing, trouble }) => {
                    if let Some(error) = &trouble {
                        tracing::warn!(error, "not all of the node's networks could be configured");
                    }
                    let present = network.tables.networks.iter().filter(|n| !missing.contains_key(&n.id));
                    let networks = present.map(|n| n.id.clone()).collect();
                    let now = Carried { networks, missing, trouble: None };
                    carried.send_if_modified(|carried| std::mem::replace(carried, now.clone()) != now);
                    retry = if trouble.is_some() { (retry * 2).min(RETRY_MAX) } else { RETRY_MIN };
                    if trouble.is_some() { retry } else { REPAIR }
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
            () = clock.sleep(pause) => continue,
            changed = wanted.changed() => if changed.is_err() { return },
        }
        clock.sleep(SETTLE).await;
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::executor::{Controller, ExecutorError};
    use crate::model::{AssignedNetwork, NetworkTables, NodeDescription, Task, TaskId};
    use crate::surroundings::SystemClock;

    /// A machine on which the network `broken` cannot be made at the first attempt.
    #[derive(Default)]
    struct Machine {
        attempts: std::sync::Mutex<u32>,
    }

    #[async_trait]
    impl Executor for Machine {
        async fn describe(&self) -> Result<NodeDescription, ExecutorError> {
            Ok(NodeDescription::default())
        }

        async fn configure_network(&self, _network: &NodeNetwork) -> Result<Configured, ExecutorError> {
            let mut attempts = self.attempts.lock().unwrap();
            *attempts += 1;
            let reason = "File exists".to_owned();
            Ok(match *attempts {
                1 => Configured { missing: [("broken".into(), reason.clone())].into(), trouble: Some(reason) },
                _ => Configured::default(),
            })
        }

        fn controller(&self, _task: &Arc<Task>) -> Arc<dyn Controller> {
            unreachable!("networks have no tasks")
        }

        async fn present_tasks(&self) -> Result<Vec<TaskId>, ExecutorError> {
            Ok(Vec::new())
        }

        async fn leave(&self) -> Result<(), ExecutorError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_network_that_cannot_be_made_is_tried_again_and_the_others_are_carried() {
        let assigned = |id: &str| AssignedNetwork { id: id.into(), ..AssignedNetwork::default() };
        let networks = vec![assigned("broken"), assigned("healthy")];
        let tables = NetworkTables { networks, ..NetworkTables::default() };
        let wanted = NodeNetwork { tables, ..NodeNetwork::default() };
        let (_wanted, receiver) = watch::channel(Some(Arc::new(wanted)));
        let (sender, mut carried) = watch::channel(Carried::default());
        let stop = CancellationToken::new();
        let running =
            tokio::spawn(run(Arc::new(Machine::default()), Arc::new(SystemClock), receiver, sender, stop.clone()));
        carried.changed().await.unwrap();
        let first = carried.borrow_and_update().clone();
        assert_eq!(first.networks, ["healthy".into()].into());
        assert_eq!(first.missing["broken"], "File exists");
        assert_eq!(first.trouble, None);
        carried.changed().await.unwrap();
        let second = carried.borrow().clone();
        assert_eq!(second.networks.len(), 2);
        assert!(second.missing.is_empty());
        stop.cancel();
        running.await.unwrap();
    }
}
