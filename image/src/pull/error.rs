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
            PullError::NoPlatform { .. } => ErrorKind::NotFound,
            // What the registry sent is no image that can be used here.
            PullError::Manifest(_)
            | PullError::Config(_)
            | PullError::NestedTooDeep { .. }
            | PullError::LayerCount { .. }
            | PullError::WrongDiffId { .. }
            | PullError::Layer { .. } => ErrorKind::Internal,
            PullError::Interrupted { .. } => ErrorKind::Unavailable,
        }
    }

    /// Whether trying again later, with nothing changed, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            PullError::Registry(error) => error.is_retryable(),
            PullError::Store(error) => error.is_retryable(),
            PullError::Interrupted { .. } => true,
            _ => false,
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
