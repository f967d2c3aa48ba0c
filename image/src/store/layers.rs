//! Unpacked layers: installing them, and finding them again.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{IoContext, StoreError};
use super::image::Layer;
use super::{FileLock, ImageStore, lock};
use crate::digest::Digest;

const RECORD: &str = "layer.json";
const LINK_DIGITS_MIN: usize = 12;

/// What is kept beside an unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) version: u32,
    pub(crate) diff_id: Digest,
    /// The unpacked size of its files, in bytes.
    pub(crate) size: u64,
    /// The compressed blob it was unpacked from.
    pub(crate) blob: Digest,
    /// Its short name in `l/`.
    #[serde(default)]
    pub(crate) link: String,
}

impl ImageStore {
    /// An installed layer; `None` if it is not there.
    pub(crate) fn layer(&self, diff_id: &Digest) -> Result<Option<Layer>, StoreError> {
        let directory = self.layers_directory().join(diff_id.hex());
        let path = directory.join(RECORD);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).during("read", &path),
        };
        let record: LayerRecord = serde_json::from_slice(&bytes).map_err(io::Error::from).during("read", &path)?;
        if record.diff_id != *diff_id {
            return Ok(None);
        }
        self.make_link(diff_id, &record.link)?;
        Ok(Some(Layer { diff_id: *diff_id, size: record.size, path: directory.join("diff"), link: record.link }))
    }

    /// Takes the right to fetch and unpack a layer, if no one has it.
    pub(crate) fn try_lock_layer(&self, diff_id: &Digest) -> Result<Option<FileLock>, StoreError> {
        FileLock::try_exclusive(&self.locks_directory().join(diff_id.hex()))
    }

    /// Gives an unpacked layer its final place. `staged` holds the finished `diff` directory; the caller
    /// holds the layer's lock.
    pub(crate) fn install_layer(&self, staged: &Path, mut record: LayerRecord) -> Result<(), StoreError> {
        let _lock = self.lock_exclusive()?;
        let target = self.layers_directory().join(record.diff_id.hex());
        record.link = self.choose_link(&record.diff_id)?;
        let path = staged.join(RECORD);
        let json = serde_json::to_vec(&record).map_err(io::Error::from).during("write", &path)?;
        lock::replace(&path, &json, false)?;
        if target.exists() {
            // Without its record: what a damaged disk left. It is in no mount, as it could not be loaded.
            super::work::remove_tree(&target)?;
        }
        fs::rename(staged, &target).during("create", &target)
    }

    /// Finds a short name that no other layer has, and makes its link.
    fn choose_link(&self, diff_id: &Digest) -> Result<String, StoreError> {
        let hex = diff_id.hex();
        for digits in LINK_DIGITS_MIN..=hex.len() {
            let name = &hex[..digits];
            let link = self.links_directory().join(name);
            match fs::read_link(&link) {
                Ok(target) if target == link_target(diff_id) => return Ok(name.into()),
                Ok(_) => continue,
                Err(_) => {
                    self.make_link(diff_id, name)?;
                    return Ok(name.into());
                }
            }
        }
        Ok(hex)
    }

    /// Makes the link of a layer if it is not there, as after a kill between two removals.
    fn make_link(&self, diff_id: &Digest, name: &str) -> Result<(), StoreError> {
        let link = self.links_directory().join(name);
        if fs::read_link(&link).is_ok_and(|target| target == link_target(diff_id)) {
            return Ok(());
        }
        match symlink(link_target(diff_id), &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).during("create link", &link),
            _ => Ok(()),
        }
    }
}

/// Where the short link of a layer points.
fn link_target(diff_id: &Digest) -> PathBuf {
    Path::new("../layers").join(diff_id.hex()).join("diff")
}

/// The layer that a link belongs to, from where it points.
pub(super) fn linked_layer(target: &Path) -> Option<Digest> {
    let hex = target.parent()?.file_name()?.to_str()?;
    Digest::from_hex(hex)
}
