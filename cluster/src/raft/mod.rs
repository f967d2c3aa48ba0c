//! Consensus between managers: adapters which let openraft keep its log on disk, apply it to the store's view, and
//! talk to the other managers. The state machine is [`crate::store::View::apply`] and nothing else.
//!
//! On disk, in `ROOT/swarm/raft/`, sealed with a key that only this node has:
//! `log` (votes and entries, appended), `snapshot` (the whole state, replaced), `id` (this member's number).
//!
//! **A member's number is never used again**: who lost its disk joins under a new one.

mod files;
mod log;
mod machine;
mod membership;
mod network;
mod node;
mod record;
mod seal;
mod service;
mod snapshot;
mod types;

pub(crate) use membership::MembershipService;
pub(crate) use node::{Leadership, RaftNode, RaftSettings};
pub(crate) use seal::DiskKey;
pub(crate) use service::RaftService;
pub(crate) use types::{Node, Outcome, RaftId, TypeConfig};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::View;

/// What the files in `dir` tell of the swarm, committed or not. Only for a swarm whose majority is lost; no member may
/// be running on them.
///
/// # Errors
/// If the files cannot be read or are damaged.
pub(crate) fn last_known_view(dir: &Path, key: Arc<DiskKey>) -> Result<View, RaftError> {
    let path = dir.join("snapshot");
    let machine = machine::Machine::new(snapshot::SnapshotFile::open(&path, key.clone())?, &path)?;
    let mut view = View::clone(&machine.watch().borrow());
    log::Log::open(&dir.join("log"), key)?.replay(|entry| {
        if entry.log_id.index > view.version() {
            machine::apply_one(&mut view, entry);
        }
    });
    Ok(view)
}

/// Why the raft node could not be started or has failed.
#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The log has been damaged at a place where a crash cannot have done it.
    #[error(
        "{path} is damaged at byte {offset} and cannot be used: restore it from a backup, or remove this manager \
         from the swarm (node rm), delete the node's swarm directory and join it again"
    )]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// A file that the node's key does not open.
    #[error("{path} cannot be read with this node's key: the file is damaged or belongs to another node")]
    Sealed {
        /// Which file.
        path: PathBuf,
    },
    /// openraft refuses the settings or has failed.
    #[error("raft: {0}")]
    Core(String),
}
