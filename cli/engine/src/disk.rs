//! How much room files take.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Bytes of a block as stat(2) counts them.
const BLOCK_BYTES: u64 = 512;

/// Bytes that the files below a directory take; what goes away meanwhile does not count.
pub fn usage_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let mut total = 0;
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        total += if metadata.is_dir() { usage_bytes(&entry.path()) } else { metadata.blocks() * BLOCK_BYTES };
    }
    total
}
