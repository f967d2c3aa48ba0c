//! The common ground floor's files, failing with this crate's [`Error`].

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
pub(crate) use skep_common::files::FileLock;
use skep_common::files::{self as common, Durability, FileError, LoadError};

use crate::error::{Error, Result};

impl From<FileError> for Error {
    fn from(FileError { action, path, source }: FileError) -> Self {
        Self::File { action, path, source }
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::File(error) => error.into(),
            LoadError::Damaged { path, source } => Self::Damaged { path, source },
        }
    }
}

/// Makes a directory and its parents, readable by root only.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    Ok(common::make_directory(path)?)
}

/// Makes a directory and its parents as everyone expects them, whatever the user's umask is.
pub(crate) fn make_directory_for_all(path: &Path) -> Result<()> {
    Ok(common::make_directory_for_all(path)?)
}

/// Replaces `path` by `value` as JSON. A power cut does not undo it.
pub(crate) fn store<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    Ok(common::store(path, value, Durability::Durable)?)
}

/// As [`store`], but a power cut may bring the old content back, whole: for what the old content leads to as well.
pub(crate) fn store_soon<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    Ok(common::store(path, value, Durability::Whole)?)
}

/// As [`store`], but not safe from a power cut: for what a reboot makes worthless, and for what is written again soon.
pub(crate) fn store_for_now<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    Ok(common::store(path, value, Durability::Volatile)?)
}

/// Replaces `path` by `text`. A power cut does not undo it.
pub(crate) fn replace(path: &Path, text: &[u8], mode: u32) -> Result<()> {
    Ok(common::replace(path, text, mode, Durability::Durable)?)
}

/// As [`replace`], but not safe from a power cut.
pub(crate) fn replace_for_now(path: &Path, text: &[u8], mode: u32) -> Result<()> {
    Ok(common::replace(path, text, mode, Durability::Volatile)?)
}

/// Reads `path`; `None` when there is no such file.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    Ok(common::load(path)?)
}

/// Removes a directory tree; that it is gone already is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    Ok(common::remove_tree(path)?)
}

/// Removes a file that is replaced as a whole, and what a writer that was killed left beside it.
pub(crate) fn remove_replaced(path: &Path) -> Result<()> {
    Ok(common::remove_replaced(path)?)
}

/// Removes a file; that it is gone already is fine.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    Ok(common::remove_file(path)?)
}
