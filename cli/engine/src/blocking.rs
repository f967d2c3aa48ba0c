//! What blocks, out of the way of an async runtime.

use crate::ErrorKind;
use crate::error::{Error, Result};

/// Does on another thread what blocks for a moment. What has begun goes on to its end, whoever is interested.
///
/// # Errors
/// Those of the work.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Error::new(ErrorKind::Internal, "the operation did not come to its end")),
    }
}
