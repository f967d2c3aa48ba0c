//! File locks and atomic replacement: what makes concurrent commands and `kill -9` harmless.
//!
//! Locks are flock(2): the kernel drops them when their holder dies. A file is replaced by writing a
//! temporary beside it, syncing that and renaming it; both names belong to whoever holds the lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::error::{IoContext, StoreError};

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

fn open(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .during("open lock file", path)
}

impl FileLock {
    /// Waits until no one else holds the lock.
    pub(crate) fn exclusive(path: &Path) -> Result<FileLock, StoreError> {
        let file = open(path)?;
        file.lock().during("lock", path)?;
        Ok(FileLock { _file: file })
    }

    /// Waits until no one holds the lock exclusively.
    pub(crate) fn shared(path: &Path) -> Result<FileLock, StoreError> {
        let file = open(path)?;
        file.lock_shared().during("lock", path)?;
        Ok(FileLock { _file: file })
    }

    /// Takes the lock if it is free. The file may be unlinked by [`FileLock::try_existing`]'s caller at
    /// any time, so a lock on a file that has lost its name is given up and taken anew.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<FileLock>, StoreError> {
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(source)) => return Err(source).during("lock", path),
            }
            let held = file.metadata().during("inspect", path)?;
            match fs::metadata(path) {
                Ok(named) if named.ino() == held.ino() && named.dev() == held.dev() => {
                    return Ok(Some(FileLock { _file: file }));
                }
                _ => continue,
            }
        }
    }

    /// Takes the lock of a file that exists; `None` if it is held, or gone.
    pub(crate) fn try_existing(path: &Path) -> Option<FileLock> {
        let file = File::open(path).ok()?;
        file.try_lock().ok()?;
        Some(FileLock { _file: file })
    }
}

/// Replaces a file's content, all or nothing. The caller holds the lock that guards the file.
///
/// If `durable`, a power cut leaves the old content or the new one, whole. Which of them is not waited for.
pub(crate) fn replace(path: &Path, content: &[u8], durable: bool) -> Result<(), StoreError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)
        .during("create", temporary)?;
    file.write_all(content).during("write", temporary)?;
    if durable {
        file.sync_all().during("sync", temporary)?;
    }
    fs::rename(temporary, path).during("replace", path)
}
