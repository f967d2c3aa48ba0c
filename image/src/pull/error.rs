//! Why an image could not be pulled.

use skep_common::ErrorKind;
use thiserror::Error;

use crate::auth::AuthError;
use crate::config::ConfigError;
use crate::digest::Digest;
use crate::manifest::ManifestError;
use crate::registries::RegistriesError;
use crate::registry::RegistryError;
use crate::store::StoreError;
use crate::unpack::UnpackError;

/// A failed pull. Nothing of the image is visible; layers that were complete are kept for the next attempt.
#[derive(Debug, Error)]
pub enum PullError {
    /// The configuration of registries cannot be used.
    #[error(transparent)]
    Registries(RegistriesError),
    /// The credentials cannot be read.
    #[error(transparent)]
    Credentials(AuthError),
    /// The registry did not deliver.
    #[error(transparent)]
    Registry(RegistryError),
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(ManifestError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(ConfigError),
    /// The image store cannot be read or written.
    #[error(transparent)]
    Store(StoreError),
    /// The image is not made for this platform.
    #[error("no matching manifest for {platform} in the manifest list entries of {reference} (it has {offered})")]
    NoPlatform {
        /// As the user wrote it.
        reference: String,
        /// What was looked for.
        platform: String,
        /// What there is.
        offered: String,
    },
    /// An index leads to an index, too often.
    #[error("{reference} is an index within an index within an index: more are not followed")]
    NestedTooDeep {
        /// As the user wrote it.
        reference: String,
    },
    /// Manifest and configuration contradict each other.
    #[error("the manifest of {reference} lists {layers} layers and its configuration {diff_ids}")]
    LayerCount {
        /// As the user wrote it.
        reference: String,
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the configuration.
        diff_ids: usize,
    },
    /// A layer's archive was refused or could not be written.
    #[error("layer {digest}")]
    Layer {
        /// The compressed blob.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: UnpackError,
    },
    /// A layer unpacks to something else than the configuration says.
    #[error("layer {digest} is not what the image's configuration says: expected diff id {expected}, got {actual}")]
    WrongDiffId {
        /// The compressed blob.
        digest: Digest,
        /// What the configuration says.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// A thread of the pull ended unexpectedly.
    #[error("unpacking layer {digest} was interrupted")]
    Interrupted {
        /// The compressed blob.
        digest: Digest,
    },
}

impl PullError {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            PullError::Registries(error) => error.kind(),
            PullError::Credentials(error) => error.kind(),
            PullError::Registry(error) => error.kind(),
            PullError::Store(error) => error.kind(),
            PullError::Manifest(error) => error.kind(),
            PullError::Config(error) => error.kind(),
            PullError::Layer { source, .. } => source.kind(),
            PullError::NoPlatform { .. } => ErrorKind::NotFound,
            PullError::NestedTooDeep { .. } => ErrorKind::NotSupported,
            // Whoever pushed the image has to push another.
            PullError::LayerCount { .. } | PullError::WrongDiffId { .. } => ErrorKind::BadArgument,
            PullError::Interrupted { .. } => ErrorKind::Unavailable,
        }
    }

    /// Whether trying again later, with nothing changed, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            PullError::Registry(error) => error.is_retryable(),
            PullError::Store(error) => error.is_retryable(),
            PullError::Layer { source, .. } => source.is_retryable(),
            PullError::Credentials(error) => error.is_retryable(),
            _ => self.kind().is_retryable(),
        }
    }

    /// Whether the registry says that there is no such image.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, PullError::Registry(RegistryError::ManifestUnknown { .. } | RegistryError::NameUnknown { .. }))
    }
}

impl From<StoreError> for PullError {
    fn from(error: StoreError) -> PullError {
        PullError::Store(error)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io;

    use super::*;

    fn layer(source: UnpackError) -> PullError {
        PullError::Layer { digest: Digest::of(b""), source }
    }

    fn unwritten(kind: io::ErrorKind) -> UnpackError {
        UnpackError::Write { operation: "create", entry: "x".into(), source: kind.into() }
    }

    #[test]
    fn an_image_that_cannot_be_used_is_told_from_a_machine_that_cannot_take_it() {
        let digest = Digest::of(b"");
        let malformed = || serde_json::from_str::<u8>("").unwrap_err();
        let text = String::new;
        for (error, kind) in [
            (PullError::Manifest(ManifestError::Malformed { digest, source: malformed() }), ErrorKind::BadArgument),
            (PullError::Manifest(ManifestError::Schema1 { digest }), ErrorKind::NotSupported),
            (PullError::Manifest(ManifestError::TooManyLayers { digest, count: 500 }), ErrorKind::NotSupported),
            (PullError::Config(ConfigError::Malformed { digest, source: malformed() }), ErrorKind::BadArgument),
            (PullError::Config(ConfigError::RootFileSystem { digest, kind: text() }), ErrorKind::NotSupported),
            (layer(UnpackError::Malformed { reason: text() }), ErrorKind::BadArgument),
            (layer(UnpackError::Escape { entry: text(), reason: text() }), ErrorKind::BadArgument),
            (layer(UnpackError::Compression { method: "xz" }), ErrorKind::NotSupported),
            (layer(unwritten(io::ErrorKind::InvalidFilename)), ErrorKind::BadArgument),
            (layer(unwritten(io::ErrorKind::PermissionDenied)), ErrorKind::Internal),
            (layer(UnpackError::DiskFull { entry: text(), available: 0 }), ErrorKind::Internal),
            (PullError::NestedTooDeep { reference: text() }, ErrorKind::NotSupported),
            (PullError::WrongDiffId { digest, expected: digest, actual: digest }, ErrorKind::BadArgument),
            (PullError::Interrupted { digest }, ErrorKind::Unavailable),
        ] {
            assert_eq!(error.kind(), kind, "{error:?}");
            let passes = matches!(
                error,
                PullError::Interrupted { .. } | PullError::Layer { source: UnpackError::DiskFull { .. }, .. }
            );
            assert_eq!(error.is_retryable(), passes, "{error:?}");
        }
    }

    #[test]
    fn words_that_are_none_are_the_writers_fault() {
        let reference = "UPPER".parse::<crate::Reference>().unwrap_err();
        let platform = "linux".parse::<crate::Platform>().unwrap_err();
        let digest = "sha1:00".parse::<Digest>().unwrap_err();
        assert_eq!([reference.kind(), platform.kind(), digest.kind()], [ErrorKind::BadArgument; 3]);
    }
}
