//! The newest snapshot on disk: one sealed file, replaced as a whole. As many older ones as the swarm wants are kept
//! beside it under `snapshot-INDEX`, for people: nothing here reads them.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use openraft::{Snapshot, SnapshotMeta};

use super::files::{context, replace};
use super::{DiskKey, Node, RaftError, RaftId, TypeConfig};

const CONTEXT: &[u8] = b"snapshot 1";
/// How the names of older ones begin; the index has as many digits as it can have, so that they sort by age.
const OLDER: &str = "snapshot-";

/// A snapshot's description with the encoded `StoreSnapshot`.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// Up to which entry it reaches, and the membership then.
    pub meta: SnapshotMeta<RaftId, Node>,
    /// The objects.
    pub data: Arc<Vec<u8>>,
}

impl Stored {
    /// In the form in which openraft sends it.
    pub(super) fn to_openraft(&self) -> Snapshot<TypeConfig> {
        Snapshot { meta: self.meta.clone(), snapshot: Box::new(Cursor::new(self.data.as_ref().clone())) }
    }
}

/// The file and what is in it.
#[derive(Debug)]
pub(super) struct SnapshotFile {
    path: PathBuf,
    key: Arc<DiskKey>,
    current: Mutex<Option<Stored>>,
}

impl SnapshotFile {
    /// Reads the snapshot at `path`, if there is one.
    ///
    /// # Errors
    /// If it cannot be read, or not be opened with the key.
    pub(super) fn open(path: &Path, key: Arc<DiskKey>) -> Result<Self, RaftError> {
        let current = match std::fs::read(path) {
            Ok(sealed) => {
                let failure = || RaftError::Sealed { path: path.to_owned() };
                let plain = key.open(CONTEXT, &sealed).map_err(|_| failure())?;
                Some(decode(&plain).ok_or_else(failure)?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(context("read", path)(error)),
        };
        Ok(Self { path: path.to_owned(), key, current: Mutex::new(current) })
    }

    /// The newest one.
    pub(super) fn current(&self) -> Option<Stored> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it, unless a newer one is there already, and keeps so many older ones. Blocking.
    ///
    /// # Errors
    /// If it cannot be written. The older one is then still there.
    pub(super) fn save(&self, stored: Stored, older: u64) -> Result<(), std::io::Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|c| c.meta.last_log_id > stored.meta.last_log_id) {
            return Ok(());
        }
        let meta = serde_json::to_vec(&stored.meta)?;
        let length = u32::try_from(meta.len()).map_err(std::io::Error::other)?;
        let mut plain = length.to_le_bytes().to_vec();
        plain.extend(meta);
        plain.extend_from_slice(&stored.data);
        let sealed = self.key.seal(CONTEXT, plain).map_err(std::io::Error::other)?;
        if let Some(before) = current.as_ref().filter(|_| older > 0) {
            let index = before.meta.last_log_id.map_or(0, |id| id.index);
            // There already, if a crash came before the replacement.
            let _ = std::fs::hard_link(&self.path, self.path.with_file_name(format!("{OLDER}{index:020}")));
        }
        replace(&self.path, &sealed).map_err(std::io::Error::other)?;
        *current = Some(stored);
        if let Err(error) = self.prune(usize::try_from(older).unwrap_or(usize::MAX)) {
            tracing::warn!(error = crate::error::chain(&error), "old snapshots are not removed");
        }
        Ok(())
    }

    fn prune(&self, keep: usize) -> Result<(), std::io::Error> {
        let Some(directory) = self.path.parent() else { return Ok(()) };
        let names = std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name()));
        let mut older: Vec<_> = names.collect::<Result<_, _>>()?;
        older.retain(|name| name.to_str().is_some_and(|name| name.starts_with(OLDER)));
        older.sort();
        let excess = older.len().saturating_sub(keep);
        older.iter().take(excess).try_for_each(|name| std::fs::remove_file(directory.join(name)))
    }
}

fn decode(plain: &[u8]) -> Option<Stored> {
    let (length, rest) = plain.split_at_checked(4)?;
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (meta, data) = rest.split_at_checked(length)?;
    Some(Stored { meta: serde_json::from_slice(meta).ok()?, data: Arc::new(data.to_vec()) })
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, LogId, StoredMembership};

    use super::*;

    #[test]
    fn so_many_older_snapshots_are_kept_as_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snapshot");
        let key = Arc::new(DiskKey::new(&[5; 32]).unwrap());
        let file = SnapshotFile::open(&path, key.clone()).unwrap();
        let mut next = 0;
        let mut save = |older| {
            next += 1;
            let last_log_id = Some(LogId::new(CommittedLeaderId::new(1, 1), next));
            let meta = SnapshotMeta {
                last_log_id,
                last_membership: StoredMembership::default(),
                snapshot_id: next.to_string(),
            };
            file.save(Stored { meta, data: Arc::new(vec![1]) }, older).unwrap();
            let mut indexes = Vec::new();
            for entry in std::fs::read_dir(directory.path()).unwrap() {
                let path = entry.unwrap().path();
                let stored = SnapshotFile::open(&path, key.clone()).unwrap().current().unwrap();
                indexes.push(stored.meta.last_log_id.unwrap().index);
            }
            indexes.sort_unstable();
            indexes
        };
        assert_eq!(save(0), [1]);
        assert_eq!(save(0), [2]);
        assert_eq!(save(2), [2, 3]);
        assert_eq!(save(2), [2, 3, 4]);
        assert_eq!(save(2), [3, 4, 5]);
        assert_eq!(save(1), [5, 6]);
        assert_eq!(save(0), [7]);
    }
}
