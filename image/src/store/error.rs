//! What can go wrong in the image store.

use std::io;
use std::path::{Path, PathBuf};

use skep_common::ErrorKind;
use skep_common::files::FileError;
use thiserror::Error;

use crate::config::ConfigError;
use crate::digest::{Digest, ImageId};
use crate::reference::ReferenceError;

/// A failed operation on the image store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A system call failed.
    #[error("cannot {operation} {path}{}", hint(source))]
    Io {
        /// What was being done, as a verb.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The list of images cannot be understood.
    #[error("the list of images {path} is malformed: move it away and pull the images again")]
    MalformedIndex {
        /// The file.
        path: PathBuf,
        /// Where it departs from the format.
        #[source]
        source: serde_json::Error,
    },
    /// The list of images was written by a later release.
    #[error("the list of images {path} has format version {version}, which this skep does not know: use a newer one")]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// No image has that name or id.
    #[error("No such image: {name}")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// Several images have ids that begin so.
    #[error("image id {prefix} is ambiguous: {count} images have ids beginning so, give more digits")]
    AmbiguousId {
        /// What was asked for.
        prefix: String,
        /// How many match.
        count: usize,
    },
    /// What was given is no image name.
    #[error("cannot read the image name")]
    InvalidName(#[source] ReferenceError),
    /// A file of an image is missing or altered.
    #[error("image {id} is damaged: {reason}: pull it again")]
    Damaged {
        /// The image.
        id: ImageId,
        /// What is missing or altered.
        reason: String,
    },
    /// The configuration of an image cannot be understood.
    #[error("image {id} has an unusable configuration")]
    Config {
        /// The image.
        id: ImageId,
        /// What is wrong with it.
        #[source]
        source: ConfigError,
    },
    /// A blob's content is not what its name says.
    #[error("blob {expected} is damaged on disk: its digest is {actual}")]
    DamagedBlob {
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        actual: Digest,
    },
    /// The last name of an image that a container uses.
    #[error(
        "conflict: unable to remove repository reference {reference:?} (must force) - \
         container {container} is using its referenced image {image}"
    )]
    ReferenceInUse {
        /// The name.
        reference: String,
        /// The container, 12 digits.
        container: String,
        /// The image, 12 digits.
        image: String,
    },
    /// A running container uses the image.
    #[error(
        "conflict: unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    UsedByRunning {
        /// The image, 12 digits.
        image: String,
        /// The container, 12 digits.
        container: String,
    },
    /// A stopped container uses the image.
    #[error(
        "conflict: unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    UsedByStopped {
        /// The image, 12 digits.
        image: String,
        /// The container, 12 digits.
        container: String,
    },
    /// The image has names in several repositories, and was given by id.
    #[error("conflict: unable to delete {image} (must be forced) - image is referenced in multiple repositories")]
    ManyReferences {
        /// The image, 12 digits.
        image: String,
    },
    /// A command that is starting a container holds the image.
    #[error("conflict: unable to delete {image} (cannot be forced) - another command is using the image right now")]
    Pinned {
        /// The image, 12 digits.
        image: String,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => " (are you root?)",
        _ if is_full(source) => " (the disk is full: free some space)",
        io::ErrorKind::ReadOnlyFilesystem => " (the file system is mounted read-only)",
        _ => "",
    }
}

fn is_full(source: &io::Error) -> bool {
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl StoreError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            StoreError::NotFound { .. } => ErrorKind::NotFound,
            StoreError::AmbiguousId { .. } => ErrorKind::BadArgument,
            StoreError::InvalidName(source) => source.kind(),
            StoreError::ReferenceInUse { .. }
            | StoreError::UsedByRunning { .. }
            | StoreError::UsedByStopped { .. }
            | StoreError::ManyReferences { .. }
            | StoreError::Pinned { .. } => ErrorKind::Conflict,
            StoreError::Io { .. }
            | StoreError::MalformedIndex { .. }
            | StoreError::NewerFormat { .. }
            | StoreError::Damaged { .. }
            | StoreError::Config { .. }
            | StoreError::DamagedBlob { .. } => ErrorKind::Internal,
        }
    }

    /// Whether trying again later, with nothing changed, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            StoreError::Pinned { .. } => true,
            // Somebody may make room.
            StoreError::Io { source, .. } => is_full(source),
            _ => false,
        }
    }

    /// Whether it only says that there is no such image.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, StoreError::NotFound { .. })
    }
}

impl From<FileError> for StoreError {
    fn from(FileError { action, path, source }: FileError) -> StoreError {
        StoreError::Io { operation: action, path, source }
    }
}

/// Names the operation and the path of a failed system call.
pub(crate) trait IoContext<T> {
    fn during(self, operation: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn during(self, operation: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { operation, path: path.into(), source: source.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_may_be_made_and_a_forbidden_file_stays_forbidden() {
        let failed = |kind: io::ErrorKind| StoreError::Io { operation: "write", path: "x".into(), source: kind.into() };
        for (kind, retryable) in [
            (io::ErrorKind::StorageFull, true),
            (io::ErrorKind::QuotaExceeded, true),
            (io::ErrorKind::PermissionDenied, false),
        ] {
            assert_eq!(failed(kind).is_retryable(), retryable, "{kind}");
            assert_eq!(failed(kind).kind(), ErrorKind::Internal, "it is not the image's fault: {kind}");
        }
    }
}
