//! Replacing a file so that a crash leaves either the old or the new one.

use std::path::Path;

use skep_common::files::{self, Durability, FileError};

use super::RaftError;

impl From<FileError> for RaftError {
    fn from(FileError { action, path, source }: FileError) -> Self {
        Self::File { action, path, source }
    }
}

/// Attaches what was tried, and where, to an error of the system.
pub(super) fn context<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> RaftError + use<'a> {
    move |source| RaftError::File { action, path: path.to_owned(), source }
}

/// Replaces a file that only its owner may read; it is on the disk when this returns.
///
/// # Errors
/// If it cannot be made, written, synced or renamed. The old one is then still there.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), RaftError> {
    Ok(files::replace(path, content, 0o600, Durability::Durable)?)
}

/// Makes a creation in `path`'s directory durable.
///
/// # Errors
/// If the directory cannot be opened or synced.
pub(super) fn sync_parent(path: &Path) -> Result<(), RaftError> {
    path.parent().map_or(Ok(()), |parent| Ok(files::sync_directory(parent)?))
}
