//! Replacing a file so that a crash leaves either the old or the new one.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::RaftError;

/// Attaches what was tried, and where, to an error of the system.
pub fn context<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> RaftError + use<'a> {
    move |source| RaftError::File { action, path: path.to_owned(), source }
}

/// Writes `content` beside `path`, syncs it, renames it over `path` and syncs the directory.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), RaftError> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(context("create", &temporary))?;
    file.write_all(content).map_err(context("write", &temporary))?;
    file.sync_all().map_err(context("sync", &temporary))?;
    std::fs::rename(&temporary, path).map_err(context("replace", path))?;
    sync_parent(path)
}

/// Makes a rename or a creation in `path`'s directory durable.
pub fn sync_parent(path: &Path) -> Result<(), RaftError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(context("sync", parent))
}
