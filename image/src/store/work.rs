//! What a running command protects from collection, and where it keeps unfinished files.
//!
//! A work directory belongs to the process that holds the lock on its `lock` file. While that lives,
//! nothing named in its `holds.json` is removed; once it is dead, anyone removes the directory.
//! It is made under the store's lock, so a collection sees it either not at all or already locked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skep_common::files::{Durability, FileLock, store};

use super::error::{IoContext, StoreError};
use crate::digest::{Digest, ImageId};

const LOCK: &str = "lock";
const HOLDS: &str = "holds.json";

/// What must not be collected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Holds {
    pub(crate) images: BTreeSet<ImageId>,
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) layers: BTreeSet<Digest>,
}

/// A directory of this process; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Work {
    path: PathBuf,
    _lock: FileLock,
}

impl Work {
    /// Makes a work directory under `parent`. The caller holds the store's lock, shared or exclusive.
    pub(crate) fn create(parent: &Path, holds: &Holds) -> Result<Work, StoreError> {
        let path = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(12)
            .tempdir_in(parent)
            .during("create a directory in", parent)?
            .keep();
        let lock_path = path.join(LOCK);
        let lock = FileLock::exclusive(&lock_path)?;
        let work = Work { path, _lock: lock };
        work.hold(holds)?;
        Ok(work)
    }

    /// Replaces what is protected. The caller holds the store's lock.
    pub(crate) fn hold(&self, holds: &Holds) -> Result<(), StoreError> {
        let path = self.path.join(HOLDS);
        Ok(store(&path, holds, Durability::Volatile)?)
    }

    /// The directory, for unfinished files.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "left for the next command to remove");
        }
    }
}

/// Keeps an image and its layers on disk until dropped, also when another command removes the image.
#[derive(Debug)]
pub struct Lease {
    pub(crate) _work: Work,
}

/// Everything that living processes protect, and the directories that dead ones left.
pub(crate) fn survey(parent: &Path) -> Result<(Holds, Vec<PathBuf>), StoreError> {
    let (mut held, mut dead) = (Holds::default(), Vec::new());
    for entry in fs::read_dir(parent).during("list", parent)? {
        let path = entry.during("list", parent)?.path();
        let lock_path = path.join(LOCK);
        if !lock_path.exists() || matches!(FileLock::attempt_existing(&lock_path), Ok(Some(_))) {
            dead.push(path);
            continue;
        }
        let Ok(json) = fs::read(path.join(HOLDS)) else { continue };
        let Ok(holds) = serde_json::from_slice::<Holds>(&json) else { continue };
        held.images.extend(holds.images);
        held.blobs.extend(holds.blobs);
        held.layers.extend(holds.layers);
    }
    Ok((held, dead))
}

/// Removes a directory and everything in it; it is no error if someone else was faster.
pub(crate) fn remove_tree(path: &Path) -> Result<(), StoreError> {
    Ok(skep_common::files::remove_tree(path)?)
}
