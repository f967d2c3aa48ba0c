//! State files: where they are, and which of them survive a reboot.
//!
//! ```text
//! ROOT/networks/<id>.json        definitions of bridge networks; survive a reboot
//! ROOT/networks/.lock
//! RUN_ROOT/net/sandboxes/<id>.json   what each container asked for and got
//! RUN_ROOT/net/node.json         the node intent applied last
//! RUN_ROOT/net/.lock             held over every change of sandboxes, node and kernel
//! RUN_ROOT/netns/<name>          bind-mounted network namespaces
//! RUN_ROOT/dns/<network>.json    DNS records, read by the shims
//! ```
//!
//! Invariants: a file is replaced by rename, never edited; it is written before the kernel is
//! changed, so that after a kill at any instruction the next command finds what to repair.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use skep_common::files::{self, Durability, FileError};

use crate::error::Result;
use crate::ids::{NetworkId, SandboxId};

/// The two roots below which everything of this crate is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetPaths {
    /// Survives a reboot (default /var/lib/skep).
    pub root: PathBuf,
    /// Lost at a reboot (default /run/skep).
    pub run_root: PathBuf,
}

impl NetPaths {
    /// Both roots.
    pub fn new(root: impl Into<PathBuf>, run_root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), run_root: run_root.into() }
    }

    /// The directory of network definitions.
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// The directory of namespace files.
    pub fn namespaces(&self) -> PathBuf {
        self.run_root.join("netns")
    }

    /// The file of the namespace called `name`.
    pub fn namespace(&self, name: &str) -> PathBuf {
        self.namespaces().join(name)
    }

    /// The DNS record file of a network, see [`crate::dns::records`].
    pub fn dns_records(&self, network: &NetworkId) -> PathBuf {
        self.run_root.join("dns").join(format!("{network}.json"))
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.run_root.join("net/sandboxes")
    }

    pub(crate) fn sandbox(&self, id: &SandboxId) -> PathBuf {
        self.sandboxes().join(format!("{id}.json"))
    }

    pub(crate) fn node(&self) -> PathBuf {
        self.run_root.join("net/node.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.run_root.join("net/.lock")
    }
}
/// Replaces `path` by `value` as JSON; a power cut leaves the old or the new one.
pub(crate) fn store<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, Durability::Durable)
}

/// The same for a file below the run root, which says nothing any more after a reboot.
pub(crate) fn store_volatile<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, Durability::Volatile)
}

fn replace<T: Serialize>(path: &Path, value: &T, durability: Durability) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(FileError::context("create directory", parent))?;
    }
    Ok(files::store(path, value, durability)?)
}

/// Names of what is in a directory, in order. No directory: nothing.
pub(crate) fn names_in(directory: &Path) -> Result<Vec<String>> {
    let failed = || FileError::context("read", directory);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed()(source).into()),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed())?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}
