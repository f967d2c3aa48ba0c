//! Pulling: from a reference to an image that is complete, verified and unpacked.
//!
//! ```text
//! reference ─► manifest or index ─► the platform's manifest ─► configuration ─► layers, in parallel ─► index.json
//!                                                                                fetch ─► hash ─► unpack, at once
//! ```
//!
//! Invariants:
//! - The image appears in the store last, so that no half image is ever visible.
//! - What is verified and on disk is not fetched again, also after `kill -9`.
//! - Two pulls of one layer, in whatever processes, fetch it once: the second waits, and takes over if
//!   the first is given up.

mod error;
mod layer;
mod options;
mod progress;

pub use error::PullError;
pub use options::PullOptions;
pub use progress::{LayerEvent, NoProgress, Progress};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Semaphore;

use crate::config::{CONFIG_BYTES_MAX, ConfigDocument};
use crate::digest::{Digest, ImageId};
use crate::manifest::{Descriptor, ImageManifest, MANIFEST_BYTES_MAX, Manifest};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{Repository, Target};
use crate::store::{Holds, ImageRecord, ImageStore, StoreError, Work};
use layer::LayerTask;

/// How often an index may lead to an index.
const INDEX_DEPTH_MAX: usize = 3;

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub id: ImageId,
    /// The digest of the manifest or index that the reference stands for.
    pub digest: Digest,
    /// Whether the image was here already, under this name.
    pub up_to_date: bool,
}

/// What a reference stands for at its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// The platforms it can run on; empty if it does not say.
    pub platforms: Vec<Platform>,
}

/// Everything of an image but its layers.
struct Outline {
    /// The manifest or index that was asked for, down to the image's manifest, with their bytes.
    manifests: Vec<(Digest, Vec<u8>)>,
    image: ImageManifest,
    config: Vec<u8>,
    document: ConfigDocument,
}

/// Pulls an image into the store.
///
/// Dropping the future stops the pull; what it left is removed by itself or by the next pull.
///
/// # Errors
/// See [`PullError`]; its text names what went wrong and the remedy.
pub async fn pull(
    store: &ImageStore,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, PullError> {
    let repository = options.repository(reference)?;
    let work = {
        let store = store.clone();
        blocking(move || store.sweep_dead_work().and_then(|()| store.start_work())).await?
    };
    let work = Arc::new(work);
    let outline = outline(store, &repository, reference, options).await?;
    repository.take_notes().iter().for_each(|note| progress.message(note));
    let digest = outline.manifests.first().map_or(outline.image.config.digest, |(digest, _)| *digest);
    let id = ImageId(outline.image.config.digest);
    let (held, record) = (outline.holds(), outline.record());
    {
        let (store, work) = (store.clone(), Arc::clone(&work));
        blocking(move || store.hold(&work, &held)).await?;
    }
    let names = names(reference, digest);
    let was_complete = is_complete(store, &names, &id, &outline)?;
    layers(store, &work, &repository, &outline, options, progress).await?;
    let (store, manifests, config) = (store.clone(), outline.manifests, outline.config);
    blocking(move || {
        for (digest, bytes) in &manifests {
            store.put_blob_if_missing(&work, digest, bytes, false)?;
        }
        // Without its configuration an image in the index could not be used.
        store.put_blob_if_missing(&work, &id.0, &config, true)?;
        if was_complete { Ok(()) } else { store.commit_image(&id, record, &names) }
    })
    .await?;
    Ok(Pulled { id, digest, up_to_date: was_complete })
}

/// Asks a registry what a reference stands for, without pulling it.
///
/// # Errors
/// As [`pull`].
pub async fn resolve_digest(reference: &Reference, options: &PullOptions) -> Result<Resolved, PullError> {
    let repository = options.repository(reference)?;
    let (digest, bytes) = repository.manifest(target(reference)).await.map_err(PullError::Registry)?;
    let platforms = match Manifest::parse(&digest, &bytes).map_err(PullError::Manifest)? {
        Manifest::Index(entries) => {
            let known = entries.into_iter().filter_map(|entry| entry.platform);
            known.filter(|platform| platform.os != "unknown" && !platform.os.is_empty()).collect()
        }
        Manifest::Image(image) => {
            let (_, document) = config(None, &repository, &image.config).await?;
            let stated = !document.os.is_empty() && !document.architecture.is_empty();
            let ConfigDocument { os, architecture, variant, .. } = document;
            if stated { vec![Platform { os, architecture, variant }] } else { Vec::new() }
        }
    };
    Ok(Resolved { digest, platforms })
}

fn target(reference: &Reference) -> Target<'_> {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Target::Digest(digest),
        (None, tag) => Target::Tag(tag.unwrap_or("latest")),
    }
}

/// The names that the image gets: the tag, unless the reference was pinned, and the digest.
fn names(reference: &Reference, digest: Digest) -> Vec<Reference> {
    let mut names = vec![reference.only_digest(digest)];
    if reference.digest().is_none() {
        names.push(reference.clone());
    }
    names
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, PullError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => std::panic::resume_unwind(error.try_into_panic().unwrap_or_else(|error| Box::new(error))),
    }
}

/// A small blob that is here; a damaged one counts as absent and is replaced by what is fetched.
fn local(store: &ImageStore, digest: &Digest, bytes_max: u64) -> Result<Option<Vec<u8>>, PullError> {
    match store.read_blob(digest, bytes_max) {
        Ok(bytes) => Ok(bytes),
        Err(error @ StoreError::DamagedBlob { .. }) => {
            tracing::warn!(%error, "fetching it again");
            store.discard_blob(digest)?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn manifest(
    store: &ImageStore,
    repository: &Repository,
    target: Target<'_>,
) -> Result<(Digest, Vec<u8>), PullError> {
    if let Target::Digest(digest) = target
        && let Some(bytes) = local(store, digest, MANIFEST_BYTES_MAX)?
    {
        return Ok((*digest, bytes));
    }
    repository.manifest(target).await.map_err(PullError::Registry)
}

async fn config(
    store: Option<&ImageStore>,
    repository: &Repository,
    blob: &Descriptor,
) -> Result<(Vec<u8>, ConfigDocument), PullError> {
    let here = match store {
        Some(store) => local(store, &blob.digest, CONFIG_BYTES_MAX)?,
        None => None,
    };
    let bytes = match here {
        Some(bytes) => bytes,
        None => {
            let fetched = repository.small_blob(blob, "configuration", CONFIG_BYTES_MAX).await;
            fetched.map_err(PullError::Registry)?
        }
    };
    let document = ConfigDocument::parse(&blob.digest, &bytes).map_err(PullError::Config)?;
    Ok((bytes, document))
}

/// Walks from the reference to the configuration.
async fn outline(
    store: &ImageStore,
    repository: &Repository,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Outline, PullError> {
    let mut next = None;
    // What was pulled before is asked for by HEAD: most of the time it has not changed.
    if reference.digest().is_none() && store.id_of(reference)?.is_some() {
        next = repository.head(target(reference)).await.map_err(PullError::Registry)?;
    }
    let mut manifests: Vec<(Digest, Vec<u8>)> = Vec::new();
    for _ in 0..INDEX_DEPTH_MAX {
        let wanted = next.as_ref().map_or_else(|| target(reference), Target::Digest);
        let (digest, bytes) = manifest(store, repository, wanted).await?;
        let parsed = Manifest::parse(&digest, &bytes).map_err(PullError::Manifest)?;
        manifests.push((digest, bytes));
        match parsed {
            Manifest::Index(entries) => next = Some(choose(reference, &entries, &options.platform)?),
            Manifest::Image(image) => {
                let (config, document) = config(Some(store), repository, &image.config).await?;
                let (layers, diff_ids) = (image.layers.len(), document.diff_ids.len());
                if layers != diff_ids {
                    return Err(PullError::LayerCount { reference: reference.familiar(), layers, diff_ids });
                }
                return Ok(Outline { manifests, image, config, document });
            }
        }
    }
    Err(PullError::NestedTooDeep { reference: reference.familiar() })
}

fn choose(reference: &Reference, entries: &[Descriptor], platform: &Platform) -> Result<Digest, PullError> {
    let chosen = platform.choose(entries.iter().map(|entry| entry.platform.as_ref()));
    if let Some(entry) = chosen.and_then(|position| entries.get(position)) {
        return Ok(entry.digest);
    }
    const SHOWN_MAX: usize = 12;
    let offered: BTreeSet<String> =
        entries.iter().filter_map(|entry| entry.platform.as_ref()).map(Platform::to_string).take(SHOWN_MAX).collect();
    let offered: Vec<String> = offered.into_iter().filter(|name| !name.starts_with("unknown")).collect();
    let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
    Err(PullError::NoPlatform { reference: reference.familiar(), platform: platform.to_string(), offered })
}

fn is_complete(store: &ImageStore, names: &[Reference], id: &ImageId, outline: &Outline) -> Result<bool, PullError> {
    for name in names {
        if store.id_of(name)? != Some(*id) {
            return Ok(false);
        }
    }
    for diff_id in &outline.document.diff_ids {
        if !store.has_layer(diff_id)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fetches and unpacks what is missing, several layers at once.
async fn layers(
    store: &ImageStore,
    work: &Arc<Work>,
    repository: &Repository,
    outline: &Outline,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    let slots = Semaphore::new(options.parallel_layers.max(1));
    let mut seen = BTreeSet::new();
    let mut tasks = FuturesUnordered::new();
    for (number, (blob, diff_id)) in outline.image.layers.iter().zip(&outline.document.diff_ids).enumerate() {
        if !seen.insert(*diff_id) {
            continue;
        }
        if store.has_layer(diff_id)? {
            progress.layer(&blob.digest, LayerEvent::AlreadyExists);
            continue;
        }
        progress.layer(&blob.digest, LayerEvent::Pulling);
        let (work, slots) = (Arc::clone(work), &slots);
        let task = LayerTask { store, work, repository, progress, blob, diff_id: *diff_id, number };
        tasks.push(task.run(slots));
    }
    while let Some(result) = tasks.next().await {
        if result.is_err() {
            drop(tasks);
            settle(work).await;
            return result;
        }
    }
    Ok(())
}

/// Waits for the threads of layers that were given up: each has the work directory until it ends, and
/// ends because its source did. A process that exits now would leave the directory to the next pull.
async fn settle(work: &Arc<Work>) {
    const POLL: Duration = Duration::from_millis(5);
    const POLLS_MAX: usize = 1000;
    for _ in 0..POLLS_MAX {
        if Arc::strong_count(work) == 1 {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

impl Outline {
    fn blobs(&self) -> BTreeSet<Digest> {
        let manifests = self.manifests.iter().map(|(digest, _)| *digest);
        let layers = self.image.layers.iter().map(|layer| layer.digest);
        manifests.chain(layers).chain([self.image.config.digest]).collect()
    }

    fn holds(&self) -> Holds {
        let images = [ImageId(self.image.config.digest)].into();
        Holds { images, blobs: self.blobs(), layers: self.document.diff_ids.iter().copied().collect() }
    }

    fn record(&self) -> ImageRecord {
        let manifest = self.manifests.last().map(|(digest, _)| *digest);
        ImageRecord { manifest, blobs: self.blobs(), layers: self.document.diff_ids.clone() }
    }
}
