//! Carries operations out, in order, against a kernel behind a trait.
//!
//! Used by `net`. On the way up the first failure ends it, so that nothing is built on what is not
//! there; what consists of parts goes on with the other parts. On the way down every operation is tried, so that as
//! little as possible is left.

use std::collections::BTreeMap;

use crate::diff::Op;
use crate::error::{Error, Result};

/// What operations are carried out on: Linux, or a model of it in tests.
pub(crate) trait Kernel {
    /// Carries out one operation. Removing what is not there succeeds.
    fn execute(&mut self, op: &Op) -> Result<()>;
}

/// Carries out all operations, or those before the first that fails.
pub(crate) fn up(kernel: &mut dyn Kernel, ops: &[Op]) -> Result<()> {
    for op in ops {
        tracing::debug!(?op, "apply");
        kernel.execute(op)?;
    }
    Ok(())
}

/// Carries out all operations but those of a part behind one of its own that failed. Returns the failed parts.
pub(crate) fn up_in_parts<P: Ord>(
    kernel: &mut dyn Kernel,
    ops: &[Op],
    part_of: impl Fn(&Op) -> P,
) -> BTreeMap<P, Error> {
    let mut failures = BTreeMap::new();
    for op in ops {
        let part = part_of(op);
        if failures.contains_key(&part) {
            continue;
        }
        tracing::debug!(?op, "apply");
        if let Err(failure) = kernel.execute(op) {
            failures.insert(part, failure);
        }
    }
    failures
}

/// Carries out all operations, whatever fails.
pub(crate) fn down(kernel: &mut dyn Kernel, ops: &[Op]) -> Result<()> {
    let mut failures = Vec::new();
    for op in ops {
        tracing::debug!(?op, "apply");
        if let Err(failure) = kernel.execute(op) {
            tracing::debug!(?op, %failure, "going on");
            failures.push(failure);
        }
    }
    let count = failures.len();
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(Error::Teardown { count, first: Box::new(first) }),
    }
}
