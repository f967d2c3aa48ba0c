//! Unpacked layers: installing them, and finding them again.
//!
//! Nothing waits for a layer's files to reach the disk but the entry of an image that has the layer.
//! So one that no image has is believed only during the boot that unpacked it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skep_common::files::{Durability, FileLock, store};

use super::ImageStore;
use super::error::{IoContext, StoreError};
use super::image::Layer;
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
    /// The boot during which it was unpacked.
    #[serde(default)]
    pub(crate) boot: String,
}

impl ImageStore {
    /// An installed layer; `None` if it is not there.
    pub(crate) fn layer(&self, diff_id: &Digest) -> Result<Option<Layer>, StoreError> {
        let Some(record) = self.layer_record(diff_id)? else { return Ok(None) };
        self.make_link(diff_id, &record.link)?;
        let path = self.layers_directory().join(diff_id.hex()).join("diff");
        Ok(Some(Layer { diff_id: *diff_id, size: record.size, path, link: record.link }))
    }

    /// Whether a layer is there and whole: its files cannot have been lost with the power.
    pub(crate) fn has_layer(&self, diff_id: &Digest) -> Result<bool, StoreError> {
        let Some(record) = self.layer_record(diff_id)? else { return Ok(false) };
        if !record.boot.is_empty() && record.boot == boot_id() {
            return Ok(true);
        }
        let _lock = self.lock_shared()?;
        Ok(self.read_index()?.images.values().any(|image| image.layers.contains(diff_id)))
    }

    /// What is kept beside a layer; nothing readable counts as no layer.
    fn layer_record(&self, diff_id: &Digest) -> Result<Option<LayerRecord>, StoreError> {
        let path = self.layers_directory().join(diff_id.hex()).join(RECORD);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).during("read", &path),
        };
        match serde_json::from_slice::<LayerRecord>(&bytes) {
            Ok(record) => Ok(Some(record).filter(|record| record.diff_id == *diff_id)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "layer taken for absent");
                Ok(None)
            }
        }
    }

    /// Takes the right to fetch and unpack a layer, if no one has it.
    pub(crate) fn try_lock_layer(&self, diff_id: &Digest) -> Result<Option<FileLock>, StoreError> {
        Ok(FileLock::attempt(&self.locks_directory().join(diff_id.hex()))?)
    }

    /// Gives an unpacked layer its final place. `staged` holds the finished `diff` directory; the caller
    /// holds the layer's lock.
    pub(crate) fn install_layer(&self, staged: &Path, mut record: LayerRecord) -> Result<(), StoreError> {
        let _lock = self.lock_exclusive()?;
        let target = self.layers_directory().join(record.diff_id.hex());
        record.link = self.choose_link(&record.diff_id)?;
        record.boot = boot_id();
        let path = staged.join(RECORD);
        store(&path, &record, Durability::Volatile)?;
        if target.exists() {
            // What a power cut left, or a damaged disk. It is in no mount, as no image could be loaded with it.
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

/// Names this boot; empty where the kernel does not tell.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
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
