//! An image as the rest of skep sees it.

use std::path::PathBuf;

use crate::config::{HistoryEntry, ImageConfig};
use crate::digest::{Digest, ImageId};
use crate::reference::Reference;

/// An image that is on disk, complete and unpacked.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its configuration.
    pub id: ImageId,
    /// Its names with tags, sorted.
    pub references: Vec<Reference>,
    /// Its names with digests, sorted: the digest is that of the manifest or index it was pulled by.
    pub repo_digests: Vec<Reference>,
    /// The digest of its manifest, if it came from a registry.
    pub manifest: Option<Digest>,
    /// Architecture it is made for, in Go's words.
    pub architecture: String,
    /// Operating system it is made for, in Go's words.
    pub os: String,
    /// Variant of the architecture.
    pub variant: Option<String>,
    /// When it was built.
    pub created: Option<jiff::Timestamp>,
    /// Who says to have built it.
    pub author: Option<String>,
    /// What a container from it runs by default.
    pub config: ImageConfig,
    /// How it was built.
    pub history: Vec<HistoryEntry>,
    /// The unpacked size of all its layers, in bytes.
    pub size: u64,
    /// Its layers, bottom first.
    pub layers: Vec<Layer>,
    pub(crate) links: PathBuf,
}

/// One layer of an image, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// The unpacked size of its files, in bytes.
    pub size: u64,
    /// The unpacked tree, with whiteouts as overlayfs has them.
    pub path: PathBuf,
    pub(crate) link: String,
}

impl Image {
    /// What to mount: a directory to change to, and the `lowerdir` entries relative to it, topmost first.
    ///
    /// The names are short because all options of mount(2) together must fit into one page. An image
    /// without layers gives none, and overlayfs needs one: use an empty directory then.
    #[must_use]
    pub fn overlay_lowers(&self) -> (PathBuf, Vec<String>) {
        let mut names: Vec<String> = Vec::with_capacity(self.layers.len());
        for layer in self.layers.iter().rev() {
            // overlayfs refuses a directory named twice; the upper of two equal layers hides the lower.
            if !names.contains(&layer.link) {
                names.push(layer.link.clone());
            }
        }
        (self.links.clone(), names)
    }
}

/// A container that uses an image, as [`crate::ImageStore::remove`] asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    /// The container's id.
    pub container: String,
    /// Whether it runs.
    pub running: bool,
}

/// One line of what `rmi` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name was removed.
    Untagged(String),
    /// An image or a layer was removed.
    Deleted(String),
}

impl std::fmt::Display for Removed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Removed::Untagged(name) => write!(formatter, "Untagged: {name}"),
            Removed::Deleted(id) => write!(formatter, "Deleted: {id}"),
        }
    }
}
