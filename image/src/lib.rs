//! Images of skep: references, registries, the content store, and layers ready for overlayfs.
//!
//! ```text
//! reference  what the user typed, normalised          registries, auth   where to ask, and as whom
//!     │                                                   │
//!     └────────────► pull ◄───────────────────────────────┘
//!                     │   registry   bounded, verified, retried HTTP
//!                     │   manifest, platform, config   what an image consists of
//!                     ▼   unpack     archive → directory, never outside of it
//!                   store            blobs, layers, names; shared by many processes
//! ```
//!
//! This crate knows nothing of containers, networks or clusters, prints nothing and starts no program.
//! Everything from a registry is hostile until verified: sizes, digests, names inside archives.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests are programs"))]

mod auth;
mod config;
mod digest;
mod environment;
mod manifest;
mod platform;
mod pull;
mod reference;
mod registries;
mod registry;
mod store;
mod unpack;

pub use auth::{AuthError, CredentialFiles, LoginOptions, LoginOutcome, LogoutOutcome, login, logout};
pub use config::{HistoryEntry, ImageConfig};
pub use digest::{Digest, ImageId};
pub use environment::Environment;
pub use manifest::ManifestError;
pub use platform::Platform;
pub use pull::{LayerEvent, NoProgress, Progress, PullError, PullOptions, Pulled, Resolved, pull, resolve_digest};
pub use reference::{Reference, ReferenceError};
pub use registries::{Registries, RegistriesError};
pub use registry::{Credentials, RegistryError, RegistrySettings, Timeouts, install_crypto_provider};
pub use store::{Image, ImageStore, ImageUser, Layer, Lease, Removed, StoreError};
pub use unpack::UnpackError;
