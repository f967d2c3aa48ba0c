//! Scheduler.

use crate::brain::{Brain, Decision, IdSource};
use crate::store::View;

/// The scheduler.
#[derive(Debug, Clone, Copy)]
pub struct Scheduler;

impl Brain for Scheduler {
    fn name(&self) -> &'static str {
        "scheduler"
    }

    fn decide(&self, _view: &View, _now_ns: i64, _ids: IdSource<'_>) -> Decision {
        Decision::default()
    }
}
