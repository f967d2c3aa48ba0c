//! Allocator.

use crate::brain::{Brain, Decision, IdSource};
use crate::store::View;

/// The allocator.
#[derive(Debug, Clone, Copy)]
pub struct Allocator;

impl Brain for Allocator {
    fn name(&self) -> &'static str {
        "allocator"
    }

    fn decide(&self, _view: &View, _now_ns: i64, _ids: IdSource<'_>) -> Decision {
        Decision::default()
    }
}
