//! Reaper.

use crate::brain::{Brain, Decision, IdSource};
use crate::store::View;

/// The reaper.
#[derive(Debug, Clone, Copy)]
pub struct Reaper;

impl Brain for Reaper {
    fn name(&self) -> &'static str {
        "reaper"
    }

    fn decide(&self, _view: &View, _now_ns: i64, _ids: IdSource<'_>) -> Decision {
        Decision::default()
    }
}
