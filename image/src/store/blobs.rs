//! Blobs on disk. Those in memory here are small: manifests and configurations.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::ImageStore;
use super::error::{IoContext, StoreError};
use super::work::Work;
use crate::digest::Digest;

impl ImageStore {
    /// A blob's bytes, verified; `None` if it is not there.
    pub(crate) fn read_blob(&self, digest: &Digest, bytes_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blob_path(digest);
        let Some(file) = self.open_blob(digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes).during("read", &path)?;
        let actual = Digest::of(&bytes);
        if actual == *digest { Ok(Some(bytes)) } else { Err(StoreError::DamagedBlob { expected: *digest, actual }) }
    }

    /// A blob as it came, for serving or unpacking it; `None` if it is not there.
    ///
    /// # Errors
    /// If it is there and cannot be opened.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).during("open", &path),
        }
    }

    /// Whether a blob of this size is there. Which size is right, a manifest alone does not tell: one of
    /// another size stays until verified bytes take its name.
    pub(crate) fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob_path(digest)).is_ok_and(|metadata| metadata.len() == size)
    }

    /// Gives verified bytes their final name, unless they have it.
    pub(crate) fn put_blob_if_missing(
        &self,
        work: &Work,
        digest: &Digest,
        bytes: &[u8],
        durable: bool,
    ) -> Result<(), StoreError> {
        if self.has_blob(digest, bytes.len() as u64) {
            return Ok(());
        }
        let temporary = work.path().join(format!("small-{}", digest.hex()));
        fs::write(&temporary, bytes).during("write", &temporary)?;
        self.adopt_blob(digest, &temporary, durable)
    }

    /// Gives a file whose content was verified its final name. What is not made durable can be lost with
    /// the power; it is verified again whenever it is used, and fetched anew.
    pub(crate) fn adopt_blob(&self, digest: &Digest, file: &Path, durable: bool) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        if durable {
            File::open(file).and_then(|file| file.sync_all()).during("sync", file)?;
        }
        fs::rename(file, &path).during("create", &path)
    }

    /// Removes a blob that is not what its name says.
    pub(crate) fn discard_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).during("remove", &path),
            _ => Ok(()),
        }
    }
}
