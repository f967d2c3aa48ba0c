//! What blocks, out of the way of an async runtime that others wait for.

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::ErrorKind;
use crate::error::{Error, Result};

/// Runs something that blocks: on a thread of its own where other threads carry other tasks, and in place where the
/// caller has only this one, as a command has.
///
/// Not cancelled with the future: what has begun goes on to its end.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    E: Send + 'static,
    Error: From<E>,
{
    if Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread) {
        return match tokio::task::spawn_blocking(work).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(Error::new(ErrorKind::Internal, "the operation did not come to its end")),
        };
    }
    Ok(work()?)
}
