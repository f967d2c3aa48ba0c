//! The images of tasks: one look-up at a registry for all tasks that want the same image at the same time, and one
//! that failed is remembered for a while, so that many tasks do not wait for a registry that is away one by one.
//!
//! Used by the controllers. What is pinned to a digest and here is never looked up; what else is here is looked up for
//! a newer one, and used as it is when the registry does not answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skep_cluster::executor::ExecutorError;
use skep_common::ErrorKind;
use skep_image::{Credentials, ImageStore, NoProgress, PullError, PullOptions, Reference};
use tokio::time::Instant;

use super::blocking;
use crate::error::chain_of;

/// How to pull, read anew for each pull: what an administrator wrote into `registries.conf` counts from then on.
pub type Registries = Box<dyn Fn() -> Result<PullOptions, PullError> + Send + Sync>;

/// How long the failure of a look-up answers for the registry: longer than the tasks of one service need to come, and
/// short enough that a registry which is there again is soon asked.
const FAILURE_REMEMBERED: Duration = Duration::from_secs(10);

/// What a look-up is of: an image, asked for as somebody.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    image: String,
    registry_auth: String,
}

/// Look-ups of one image; locked while one is under way.
type LookUps = Arc<tokio::sync::Mutex<Option<LookUp>>>;

/// The last look-up of an image.
struct LookUp {
    ended: Instant,
    outcome: Result<(), Refusal>,
}

/// Why the image was not pulled.
#[derive(Debug, Clone)]
struct Refusal {
    reason: String,
    retryable: bool,
}

impl Refusal {
    fn of(error: &PullError) -> Self {
        // What fails on this machine may work on another: the task is given back, so that the scheduler can move it.
        let elsewhere = error.kind() == ErrorKind::Internal;
        Self { reason: chain_of(error), retryable: error.is_retryable() && !elsewhere }
    }

    fn for_good(error: &(dyn std::error::Error + 'static)) -> Self {
        Self { reason: chain_of(error), retryable: false }
    }
}

impl From<Refusal> for ExecutorError {
    fn from(refusal: Refusal) -> Self {
        match refusal.retryable {
            true => Self::Temporary(refusal.reason),
            false => Self::Fatal(refusal.reason),
        }
    }
}

/// The images of this machine, as tasks ask for them.
pub(super) struct Pulls {
    images: ImageStore,
    registries: Registries,
    look_ups: Mutex<HashMap<Key, LookUps>>,
}

impl Pulls {
    /// Into this store, from registries asked so.
    pub(super) fn new(images: ImageStore, registries: Registries) -> Self {
        Self { images, registries, look_ups: Mutex::default() }
    }

    /// Has an image here; `registry_auth` is the `X-Registry-Auth` header that came with the task, or empty.
    ///
    /// # Errors
    /// The image is neither here nor delivered: `Temporary` where asking again later may help.
    pub(super) async fn have(&self, image: &str, registry_auth: &str) -> Result<(), ExecutorError> {
        let reference: Reference = image.parse().map_err(|error| ExecutorError::Fatal(chain_of(&error)))?;
        if reference.digest().is_some() && self.is_here(image).await? {
            return Ok(());
        }
        let asked = Instant::now();
        let look_ups = self.look_ups_of(image, registry_auth);
        let mut last = look_ups.lock().await;
        let outcome = match last.as_ref().and_then(|last| last.answer_for(asked)) {
            Some(outcome) => outcome,
            None => {
                let outcome = self.pull(&reference, registry_auth).await;
                *last = Some(LookUp { ended: Instant::now(), outcome: outcome.clone() });
                outcome
            }
        };
        drop(last);
        match outcome {
            Ok(()) => Ok(()),
            Err(refusal) if self.is_here(image).await? => {
                tracing::warn!(image, error = refusal.reason, "not pulled: using the image that is here");
                Ok(())
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn is_here(&self, image: &str) -> Result<bool, ExecutorError> {
        let (images, image) = (self.images.clone(), image.to_owned());
        blocking(move || Ok(images.resolve(&image).is_ok())).await
    }

    fn look_ups_of(&self, image: &str, registry_auth: &str) -> LookUps {
        let mut look_ups = self.look_ups.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody waits for and that say nothing any more.
        look_ups.retain(|_, known| {
            Arc::strong_count(known) > 1
                || known.try_lock().map_or(true, |last| last.as_ref().is_some_and(LookUp::is_remembered))
        });
        let key = Key { image: image.to_owned(), registry_auth: registry_auth.to_owned() };
        Arc::clone(look_ups.entry(key).or_default())
    }

    async fn pull(&self, reference: &Reference, registry_auth: &str) -> Result<(), Refusal> {
        let mut options = (self.registries)().map_err(|error| Refusal::of(&error))?;
        if !registry_auth.is_empty() {
            let credentials = Credentials::from_registry_auth_header(registry_auth);
            options.credentials = credentials.map_err(|error| Refusal::for_good(&error))?;
        }
        let pulled = skep_image::pull(&self.images, reference, &options, &NoProgress).await;
        pulled.map(|_| ()).map_err(|error| Refusal::of(&error))
    }
}

impl LookUp {
    /// What it answers to who asked then: success only to those who came before it ended, because the tag may have
    /// been moved since; failure as long as it is remembered.
    fn answer_for(&self, asked: Instant) -> Option<Result<(), Refusal>> {
        (asked <= self.ended || self.is_remembered()).then(|| self.outcome.clone())
    }

    fn is_remembered(&self) -> bool {
        self.outcome.is_err() && self.ended.elapsed() < FAILURE_REMEMBERED
    }
}

#[cfg(test)]
mod tests {
    use skep_image::{Digest, ManifestError, UnpackError};

    use super::*;

    #[test]
    fn a_bad_image_and_a_full_disk_are_given_up_and_a_silent_registry_is_not() {
        let digest = Digest::of(b"");
        let full = UnpackError::DiskFull { entry: "file".into(), available: 0 };
        let malformed = UnpackError::Malformed { reason: "it ends early".into() };
        let layer = |source| PullError::Layer { digest, source };
        for (error, temporary) in [
            (PullError::Manifest(ManifestError::Schema1 { digest }), false),
            (layer(malformed), false),
            (layer(full), false),
            (PullError::Interrupted { digest }, true),
        ] {
            assert_eq!(ExecutorError::from(Refusal::of(&error)).is_retryable(), temporary, "{error:?}");
        }
    }
}
