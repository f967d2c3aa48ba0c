//! Starts every brain when this manager wins the leadership, and stops them when it loses it. Nothing else.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::allocator::Allocator;
use crate::brain::{Pace, run_brain};
use crate::orchestrator::{Orchestrator, Reaper};
use crate::scheduler::Scheduler;
use crate::store::Store;
use crate::surroundings::Surroundings;

/// Runs the brains until `cancel`; returns when all of them have stopped.
pub(crate) async fn run_leader(store: Arc<dyn Store>, surroundings: Surroundings, cancel: CancellationToken) {
    let pace = Pace::default();
    tokio::join!(
        run_brain(Orchestrator, store.clone(), surroundings.clone(), pace, cancel.clone()),
        run_brain(Allocator, store.clone(), surroundings.clone(), pace, cancel.clone()),
        run_brain(Scheduler, store.clone(), surroundings.clone(), pace, cancel.clone()),
        run_brain(Reaper, store.clone(), surroundings.clone(), pace, cancel.clone()),
    );
}
