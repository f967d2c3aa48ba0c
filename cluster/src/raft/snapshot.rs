//! The newest snapshot on disk: one sealed file, replaced as a whole.

use super::files::{context, replace};
use super::{DiskKey, Node, RaftError, RaftId, TypeConfig};
use openraft::{Snapshot, SnapshotMeta};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const CONTEXT: &[u8] = b"snapshot 1";

/// A snapshot's description with the encoded `StoreSnapshot`.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Up to which entry it reaches, and the membership then.
    pub meta: SnapshotMeta<RaftId, Node>,
    /// The objects.
    pub data: Arc<Vec<u8>>,
}

impl Stored {
    /// In the form in which openraft sends it.
    pub fn to_openraft(&self) -> Snapshot<TypeConfig> {
        Snapshot { meta: self.meta.clone(), snapshot: Box::new(Cursor::new(self.data.as_ref().clone())) }
    }
}

/// The file and what is in it.
#[derive(Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    key: Arc<DiskKey>,
    current: Mutex<Option<Stored>>,
}

impl SnapshotFile {
    /// Reads the snapshot at `path`, if there is one.
    pub fn open(path: &Path, key: Arc<DiskKey>) -> Result<Self, RaftError> {
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
    pub fn current(&self) -> Option<Stored> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it, unless a newer one is there already. Blocking.
    pub fn save(&self, stored: Stored) -> Result<(), std::io::Error> {
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
        replace(&self.path, &sealed).map_err(std::io::Error::other)?;
        *current = Some(stored);
        Ok(())
    }
}

fn decode(plain: &[u8]) -> Option<Stored> {
    let (length, rest) = plain.split_at_checked(4)?;
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (meta, data) = rest.split_at_checked(length)?;
    Some(Stored { meta: serde_json::from_slice(meta).ok()?, data: Arc::new(data.to_vec()) })
}
