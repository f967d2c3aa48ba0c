//! Orchestrator.

mod reaper;

pub use reaper::Reaper;

use crate::brain::{Brain, Decision, IdSource};
use crate::store::View;

/// The orchestrator.
#[derive(Debug, Clone, Copy)]
pub struct Orchestrator;

impl Brain for Orchestrator {
    fn name(&self) -> &'static str {
        "orchestrator"
    }

    fn decide(&self, _view: &View, _now_ns: i64, _ids: IdSource<'_>) -> Decision {
        Decision::default()
    }
}
