//! Files that survive a kill at any instruction: locked with flock(2), replaced by rename(2).
//!
//! Every command of a daemonless program is a concurrent writer, so all state goes through here. Invariants: a file is
//! replaced, never edited; a temporary file has one fixed name beside its target, so that what a kill leaves is
//! overwritten by the next writer; modes are what the caller says, whatever the umask is.

mod json;
mod lock;
mod replace;
mod size;
mod tree;

use std::io;
use std::path::{Path, PathBuf};

pub use json::{load, load_all, store};
pub use lock::FileLock;
pub use replace::{Durability, replace, sync_directory};
pub use size::{DirectorySize, directory_size};
pub use tree::{make_directory, make_directory_for_all, remove_file, remove_replaced, remove_tree};

/// A refused operation on a file or directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}", path = path.display())]
pub struct FileError {
    /// What was tried, as in "cannot … PATH".
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// The refusal.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Attaches what was tried, and on what, to an error of the system.
    pub fn context(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self { action, path, source }
    }

    /// Whether it failed because something on the path does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Why a file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It does not hold what it should.
    #[error("damaged file {path}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it is damaged.
        #[source]
        source: serde_json::Error,
    },
}

/// The directory a file is in; the working directory for a bare name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
