//! Where the node keeps what, and the lock that makes it the only one.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use skep_common::files::{self, Durability, FileLock};

use super::NodeError;

/// `RUN_ROOT/swarm/control.sock`: where the agent listens.
pub fn socket_path(run_root: &Path) -> PathBuf {
    run_root.join("swarm/control.sock")
}

/// Whether the node under `root` is in a swarm, so that its agent should run.
pub fn is_joined(root: &Path) -> bool {
    root.join("swarm/state.json").exists()
}

/// The paths of a node.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    run_root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path, run_root: &Path) -> Self {
        Self { root: root.to_owned(), run_root: run_root.to_owned() }
    }

    /// The node's state, once it is in a swarm.
    pub(super) fn swarm(&self) -> PathBuf {
        self.root.join("swarm")
    }

    /// The state while it is being made.
    pub(super) fn preparing(&self) -> PathBuf {
        self.root.join("swarm.new")
    }

    pub(super) fn socket(&self) -> PathBuf {
        socket_path(&self.run_root)
    }

    pub(super) fn is_joined(&self) -> bool {
        is_joined(&self.root)
    }

    /// Held until the returned lock is dropped.
    ///
    /// # Errors
    /// If another agent has it, or the file cannot be locked.
    pub(super) fn lock(&self) -> Result<FileLock, NodeError> {
        make_dir(&self.root)?;
        make_dir(&self.run_root.join("swarm"))?;
        let path = self.root.join("swarm.lock");
        let pid_path = self.run_root.join("swarm/agent.pid");
        let Some(lock) = FileLock::attempt(&path)? else {
            let pid = std::fs::read_to_string(&pid_path).ok().and_then(|text| text.trim().parse().ok());
            return Err(NodeError::Running { root: self.root.clone(), pid });
        };
        write_private(&pid_path, std::process::id().to_string().as_bytes())?;
        Ok(lock)
    }

    /// Clears what an interrupted init, join or leave left.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub(super) fn recover(&self) -> Result<(), NodeError> {
        remove_dir(&self.preparing())?;
        remove_dir(&self.leaving())?;
        if !self.is_joined() {
            remove_dir(&self.swarm())?;
        }
        Ok(())
    }

    /// From here on the node is in the swarm.
    ///
    /// # Errors
    /// If the directory cannot be renamed or synced.
    pub(super) fn commit(&self) -> Result<(), NodeError> {
        let (from, to) = (self.preparing(), self.swarm());
        files::sync_directory(&from)?;
        std::fs::rename(&from, &to).map_err(context("make", &to))?;
        Ok(files::sync_directory(&self.root)?)
    }

    /// From here on it is not.
    ///
    /// # Errors
    /// If the directory cannot be renamed, synced or removed.
    pub(super) fn forget(&self) -> Result<(), NodeError> {
        let (from, to) = (self.swarm(), self.leaving());
        remove_dir(&to)?;
        match std::fs::rename(&from, &to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(context("remove", &from))?,
        }
        files::sync_directory(&self.root)?;
        remove_dir(&to)
    }

    fn leaving(&self) -> PathBuf {
        self.root.join("swarm.old")
    }
}

/// Attaches what was tried, and where, to an error of the system.
pub(super) fn context<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> NodeError + use<'a> {
    move |source| NodeError::File { action, path: path.to_owned(), source }
}

/// Makes a directory that only its owner may enter.
///
/// # Errors
/// If it cannot be made.
pub(super) fn make_dir(path: &Path) -> Result<(), NodeError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(context("create", path))
}

/// Replaces a file that only its owner may read, such that a crash leaves the old or the new one.
///
/// # Errors
/// If it cannot be written, synced or renamed. The old one is then still there.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), NodeError> {
    Ok(files::replace(path, content, 0o600, Durability::Durable)?)
}

/// Removes a directory with all in it; that it is not there is no error.
///
/// # Errors
/// If something in it cannot be removed.
pub(super) fn remove_dir(path: &Path) -> Result<(), NodeError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(context("remove", path)(error)),
        _ => Ok(()),
    }
}
