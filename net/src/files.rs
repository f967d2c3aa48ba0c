//! State files: where they are, how they are replaced, how they are locked.
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

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::intent::{NetworkId, SandboxId};

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

/// An exclusive lock, given back when dropped (and by the kernel when the process dies).
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits for the lock on `path`, making the file if need be.
    pub(crate) fn acquire(path: &Path) -> Result<Self> {
        let attempt = || -> io::Result<File> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            file.lock()?;
            Ok(file)
        };
        attempt().map(|file| Self { _file: file }).map_err(|source| Error::Lock { path: path.to_owned(), source })
    }
}

/// Replaces `path` by `value` as JSON: temporary file, fsync, rename.
pub(crate) fn store<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, true)
}

/// The same for a file below the run root, which says nothing any more after a reboot: no fsync.
pub(crate) fn store_volatile<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, false)
}

/// The temporary file has a name of its own for every file, so that what a kill leaves is overwritten
/// or removed with it. Two writers never meet: each file is written under one lock.
fn replace<T: Serialize>(path: &Path, value: &T, durable: bool) -> Result<()> {
    let attempt = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut text = serde_json::to_vec(value).map_err(io::Error::other)?;
        text.push(b'\n');
        let temporary = temporary(path);
        let mut file = File::create(&temporary)?;
        file.write_all(&text)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)
    };
    attempt().map_err(|source| Error::WriteState { path: path.to_owned(), source })
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// Reads `path`; `None` when there is no such file.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::ReadState { path: path.to_owned(), source }),
    };
    match serde_json::from_slice(&text) {
        Ok(value) => Ok(Some(value)),
        Err(source) => Err(Error::ParseState { path: path.to_owned(), source }),
    }
}

/// Reads every `*.json` in a directory, in the order of their names. No directory: nothing.
pub(crate) fn load_all<T: DeserializeOwned>(directory: &Path) -> Result<Vec<T>> {
    let failed = |source| Error::ReadState { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut values = Vec::with_capacity(paths.len());
    for path in paths {
        values.extend(load(&path)?);
    }
    Ok(values)
}

/// Removes `path`; that it is gone already is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    for path in [&temporary(path), path] {
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::WriteState { path: path.to_owned(), source });
            }
            _ => {}
        }
    }
    Ok(())
}
