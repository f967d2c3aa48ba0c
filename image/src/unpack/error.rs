//! What can be wrong with a layer's archive.

use std::io;

use skep_common::ErrorKind;
use thiserror::Error;

/// Why a layer could not be unpacked. The layer's digest is added by the pull.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// An entry would be written outside of the layer.
    #[error("entry {entry:?} escapes the image root: {reason}")]
    Escape {
        /// Its name in the archive.
        entry: String,
        /// How it would.
        reason: String,
    },
    /// An entry is of a kind or shape that is refused.
    #[error("entry {entry:?} is refused: {reason}")]
    Refused {
        /// Its name in the archive.
        entry: String,
        /// Why.
        reason: String,
    },
    /// The archive does not follow the format.
    #[error("the archive is malformed: {reason}")]
    Malformed {
        /// Where it departs from it.
        reason: String,
    },
    /// The archive is larger than any image needs.
    #[error("the archive exceeds a limit: {reason}")]
    Limit {
        /// Which limit.
        reason: String,
    },
    /// An entry could not be written.
    #[error("cannot {operation} entry {entry:?}")]
    Write {
        /// What was being done, as a verb.
        operation: &'static str,
        /// Its name in the archive.
        entry: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There is no room for it.
    #[error(
        "the disk is full ({available} bytes left in the image store) while unpacking entry {entry:?}: free some space and pull again"
    )]
    DiskFull {
        /// The entry being written.
        entry: String,
        /// Free space, in bytes.
        available: u64,
    },
    /// The compressed stream cannot be read.
    #[error("cannot decompress the layer")]
    Decompress(#[source] io::Error),
    /// The layer is compressed in a way that is not supported.
    #[error("the layer is compressed with {method}, which is not supported (gzip and zstd are)")]
    Compression {
        /// The method.
        method: &'static str,
    },
}

impl UnpackError {
    /// What kind of failure this is: whether the layer cannot be had from this archive, or only not on this machine.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            UnpackError::Escape { .. }
            | UnpackError::Refused { .. }
            | UnpackError::Malformed { .. }
            | UnpackError::Limit { .. }
            | UnpackError::Decompress(_) => ErrorKind::BadArgument,
            UnpackError::Compression { .. } => ErrorKind::NotSupported,
            // A name that no file can have comes from the archive, every other refusal from the machine.
            UnpackError::Write { source, .. } => match source.kind() {
                io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => ErrorKind::BadArgument,
                _ => ErrorKind::Internal,
            },
            UnpackError::DiskFull { .. } => ErrorKind::Internal,
        }
    }

    /// Whether trying again later, with nothing changed in the image, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, UnpackError::DiskFull { .. })
    }
}

/// An entry's name for a message: readable, and not longer than a line or two.
pub(super) fn display_name(name: &[u8]) -> String {
    const SHOWN_BYTES: usize = 200;
    let text = String::from_utf8_lossy(&name[..name.len().min(SHOWN_BYTES)]).into_owned();
    if name.len() > SHOWN_BYTES { text + "…" } else { text }
}
