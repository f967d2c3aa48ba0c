//! From a layer's archive to a directory that overlayfs can use.
//!
//! ```text
//! compressed stream ─► [decompress: gzip, zstd, none; diff id] ─► [archive: entries] ─► [write, in tree]
//!                        a thread of its own                        another thread
//! ```
//!
//! Invariants:
//! - Nothing is written outside of the layer's root, whatever the archive says (see `tree`).
//! - Memory does not grow with the archive: buffers, names and counts are bounded.
//! - Whiteouts become what overlayfs understands: a character device 0:0, or the attribute
//!   `trusted.overlay.opaque`; attributes of that family in the archive are dropped.
//!
//! Called by the pull, into a directory that no one sees until it is complete.

mod archive;
mod decompress;
mod error;
mod tree;
mod write;

pub use error::UnpackError;

pub(crate) use decompress::{Decoded, PieceReader, decode, pieces};
pub(crate) use write::unpack;

#[cfg(test)]
mod tests;
