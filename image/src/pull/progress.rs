//! How a pull tells what it is doing. The command line draws it; libraries pass [`NoProgress`].

use crate::digest::Digest;

/// Receives what happens during a pull. Called from several threads, often: it must be quick.
pub trait Progress: Send + Sync {
    /// Something happened to a layer; layers are named by the digest of their compressed blob.
    fn layer(&self, digest: &Digest, event: LayerEvent);

    /// A line that is not about a layer, such as that a mirror could not be used.
    fn message(&self, _text: &str) {}
}

/// What happened to a layer. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerEvent {
    /// It is part of the image and not here yet.
    Pulling,
    /// It waits for others, of this pull or of another process.
    Waiting,
    /// It is being fetched.
    Downloading {
        /// How much is here.
        current: u64,
        /// How much there is.
        total: u64,
    },
    /// Fetching broke off and is tried again.
    Retrying {
        /// After so long.
        seconds: u64,
    },
    /// Its digest is being compared.
    Verifying,
    /// It was fetched.
    DownloadComplete,
    /// It is being unpacked.
    Extracting {
        /// How much of the compressed blob is unpacked.
        current: u64,
        /// How much there is.
        total: u64,
    },
    /// It is here, unpacked.
    PullComplete,
    /// It was here before.
    AlreadyExists,
}

/// Tells no one.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn layer(&self, _digest: &Digest, _event: LayerEvent) {}
}
