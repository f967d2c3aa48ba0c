//! The images on this machine: blobs as they came, layers unpacked, and the names they go by.
//!
//! ```text
//! ROOT/images/
//!   lock                      flock: exclusive to change anything below, shared to read index.json
//!   index.json                images and names (see `index`), replaced as a whole
//!   blobs/sha256/HEX          manifests, configurations, compressed layers: verified, immutable
//!   layers/HEX/layer.json     one unpacked layer, by diff id: its size and its short name
//!   layers/HEX/diff/          its tree, with whiteouts as overlayfs has them: immutable
//!   l/SHORT -> ../layers/HEX/diff    so that a mount of 200 layers fits into one page of options
//!   locks/HEX                 flock: held while a layer is fetched and unpacked
//!   work/RANDOM/              unfinished files of one process and what it protects (see `work`)
//! ```
//!
//! Invariants:
//! - A blob or layer appears by rename, complete and verified; what has its final name is good.
//! - An image is in index.json only once everything of it is in place.
//! - Nothing is removed that index.json or a living process's work directory names.
//! - No lock is held for long: unpacking and deleting trees happen outside of the store's lock.
//!
//! A process killed at any point leaves at most a work directory, a link without its layer, or blobs and
//! layers without an image. The first is removed by the next pull, all of them by the next removal.

mod blobs;
mod error;
mod image;
mod index;
mod layers;
mod remove;
mod work;

pub use error::StoreError;
pub use image::{Image, ImageUser, Layer, Removed};
pub use work::Lease;

pub(crate) use error::IoContext;
pub(crate) use index::ImageRecord;
pub(crate) use layers::LayerRecord;
pub(crate) use work::{Holds, Work};

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use skep_common::files::{Durability, FileLock, replace};

use crate::config::{CONFIG_BYTES_MAX, ConfigDocument};
use crate::digest::{Digest, ImageId};
use crate::reference::Reference;
use index::{Found, INDEX_VERSION, Index};

/// The image store in one directory. Cheap to open and to clone; many processes may use it at once.
#[derive(Debug, Clone)]
pub struct ImageStore {
    root: PathBuf,
}

impl ImageStore {
    /// Opens the store in a directory, making it if it is not there.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(root: &Path) -> Result<ImageStore, StoreError> {
        for directory in ["blobs/sha256", "layers", "l", "locks", "work"] {
            let path = root.join(directory);
            if !path.is_dir() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).during("create directory", &path)?;
            }
        }
        // mount(2) is given names relative to a directory of this path, from any working directory.
        let root = std::path::absolute(root).during("find", root)?;
        Ok(ImageStore { root })
    }

    /// Finds an image by name, id, or the beginning of an id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::AmbiguousId`], or that the image is damaged.
    pub fn resolve(&self, name_or_id: &str) -> Result<Image, StoreError> {
        let _lock = self.lock_shared()?;
        self.resolve_locked(name_or_id)
    }

    /// Finds an image as [`ImageStore::resolve`] does, and keeps it from being removed while the lease lives.
    ///
    /// Hold the lease until the container made from the image is where `in_use` of
    /// [`ImageStore::remove`] finds it.
    ///
    /// # Errors
    /// As [`ImageStore::resolve`].
    pub fn resolve_pinned(&self, name_or_id: &str) -> Result<(Image, Lease), StoreError> {
        let _lock = self.lock_shared()?;
        let image = self.resolve_locked(name_or_id)?;
        let holds = Holds { images: [image.id].into(), ..Holds::default() };
        let work = Work::create(&self.work_directory(), &holds)?;
        Ok((image, Lease { _work: work }))
    }

    /// An image by its full id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or that the image is damaged.
    pub fn image(&self, id: &ImageId) -> Result<Image, StoreError> {
        let _lock = self.lock_shared()?;
        self.load(&self.read_index()?, id)
    }

    /// All images, the newest first. Damaged ones are left out, with a warning in the log.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        let _lock = self.lock_shared()?;
        let index = self.read_index()?;
        let mut images = Vec::with_capacity(index.images.len());
        for id in index.images.keys() {
            match self.load(&index, id) {
                Ok(image) => images.push(image),
                Err(error) => tracing::warn!(image.id = %id, %error, "image left out of the list"),
            }
        }
        images.sort_by(|a, b| b.created.cmp(&a.created).then(a.id.cmp(&b.id)));
        Ok(images)
    }

    /// Gives an image one more name, taking the name from whichever image had it.
    ///
    /// # Errors
    /// If there is no such image, or the new name has a digest.
    pub fn tag(&self, name_or_id: &str, new: &Reference) -> Result<(), StoreError> {
        let _lock = self.lock_exclusive()?;
        let mut index = self.read_index()?;
        let id = self.find(&index, name_or_id)?.0;
        index.references.insert(new.without_digest(), id);
        self.write_index(&index)
    }

    fn resolve_locked(&self, name_or_id: &str) -> Result<Image, StoreError> {
        let index = self.read_index()?;
        let (id, _) = self.find(&index, name_or_id)?;
        self.load(&index, &id)
    }

    fn find(&self, index: &Index, name_or_id: &str) -> Result<(ImageId, Option<Reference>), StoreError> {
        match index.find(name_or_id) {
            Found::ById(id) => Ok((id, None)),
            Found::ByReference(id, reference) => Ok((id, Some(reference))),
            Found::Ambiguous(count) => Err(StoreError::AmbiguousId { prefix: name_or_id.into(), count }),
            Found::Nothing => match name_or_id.parse::<Reference>() {
                Ok(reference) => Err(StoreError::NotFound { name: reference.familiar() }),
                Err(_) if name_or_id.starts_with("sha256:") || Digest::from_hex(name_or_id).is_some() => {
                    Err(StoreError::NotFound { name: name_or_id.into() })
                }
                Err(error) => Err(StoreError::InvalidName(error)),
            },
        }
    }

    fn load(&self, index: &Index, id: &ImageId) -> Result<Image, StoreError> {
        let record = index.images.get(id).ok_or_else(|| StoreError::NotFound { name: id.to_string() })?;
        let bytes = self
            .read_blob(&id.0, CONFIG_BYTES_MAX)?
            .ok_or_else(|| StoreError::Damaged { id: *id, reason: "its configuration is missing".into() })?;
        let document = ConfigDocument::parse(&id.0, &bytes).map_err(|source| StoreError::Config { id: *id, source })?;
        let mut layers = Vec::with_capacity(document.diff_ids.len());
        for diff_id in &document.diff_ids {
            let layer = self.layer(diff_id)?;
            let reason = || format!("layer {diff_id} is missing");
            layers.push(layer.ok_or_else(|| StoreError::Damaged { id: *id, reason: reason() })?);
        }
        let (references, repo_digests) = index.names(id).into_iter().partition(|name| name.digest().is_none());
        Ok(Image {
            id: *id,
            references,
            repo_digests,
            manifest: record.manifest,
            architecture: document.architecture,
            os: document.os,
            variant: document.variant,
            created: document.created,
            author: document.author,
            config: document.config,
            history: document.history,
            size: layers.iter().map(|layer| layer.size).sum(),
            layers,
            links: self.links_directory(),
        })
    }

    /// Enters an image whose blobs and layers are all in place, under the given names.
    pub(crate) fn commit_image(
        &self,
        id: &ImageId,
        record: ImageRecord,
        names: &[Reference],
    ) -> Result<(), StoreError> {
        // The index names nothing that a power cut could still take away.
        let root = fs::File::open(&self.root).during("open", &self.root)?;
        rustix::fs::syncfs(&root).map_err(std::io::Error::from).during("sync", &self.root)?;
        let _lock = self.lock_exclusive()?;
        let mut index = self.read_index()?;
        let entry = index.images.entry(*id).or_default();
        // The same image may have come in several manifests: all of them stay.
        entry.blobs.extend(record.blobs);
        entry.layers = record.layers;
        entry.manifest = record.manifest.or(entry.manifest);
        for name in names {
            index.references.insert(name.clone(), *id);
        }
        self.write_index(&index)
    }

    /// The id under a name, without loading the image.
    pub(crate) fn id_of(&self, reference: &Reference) -> Result<Option<ImageId>, StoreError> {
        let _lock = self.lock_shared()?;
        Ok(self.read_index()?.find_reference(reference).map(|(_, id)| id))
    }

    /// Makes a work directory that protects nothing yet.
    pub(crate) fn start_work(&self) -> Result<Work, StoreError> {
        let _lock = self.lock_shared()?;
        Work::create(&self.work_directory(), &Holds::default())
    }

    /// Replaces what a work directory protects. What was there before the call and is named is safe after it.
    pub(crate) fn hold(&self, work: &Work, holds: &Holds) -> Result<(), StoreError> {
        let _lock = self.lock_shared()?;
        work.hold(holds)
    }

    fn read_index(&self) -> Result<Index, StoreError> {
        let path = self.index_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Index::default()),
            Err(error) => return Err(error).during("read", &path),
        };
        #[derive(serde::Deserialize)]
        struct Versioned {
            version: u32,
        }
        let malformed = |source| StoreError::MalformedIndex { path: path.clone(), source };
        let Versioned { version } = serde_json::from_slice(&bytes).map_err(malformed)?;
        if version > INDEX_VERSION {
            return Err(StoreError::NewerFormat { path, version });
        }
        serde_json::from_slice(&bytes).map_err(malformed)
    }

    fn write_index(&self, index: &Index) -> Result<(), StoreError> {
        let path = self.index_path();
        let json = serde_json::to_vec_pretty(index).map_err(io::Error::from).during("write", &path)?;
        Ok(replace(&path, &json, 0o600, Durability::Whole)?)
    }

    fn lock_exclusive(&self) -> Result<FileLock, StoreError> {
        Ok(FileLock::exclusive(&self.root.join("lock"))?)
    }

    fn lock_shared(&self) -> Result<FileLock, StoreError> {
        Ok(FileLock::shared(&self.root.join("lock"))?)
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    fn work_directory(&self) -> PathBuf {
        self.root.join("work")
    }

    fn links_directory(&self) -> PathBuf {
        self.root.join("l")
    }

    fn layers_directory(&self) -> PathBuf {
        self.root.join("layers")
    }

    fn locks_directory(&self) -> PathBuf {
        self.root.join("locks")
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
