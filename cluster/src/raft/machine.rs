//! The replicated state machine: committed entries in, a new view out.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, Entry, EntryPayload, LogId, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError, StorageIOError,
    StoredMembership,
};
use prost::Message;
use tokio::sync::watch;

use super::snapshot::{SnapshotFile, Stored};
use super::{Node, Outcome, RaftError, RaftId, TypeConfig};
use crate::api::{StoreSnapshot, StoreTransaction};
use crate::store::{ApplyError, View};
use crate::surroundings::{Chance, SystemChance};

type Failure = StorageError<RaftId>;

/// Owner of the newest view.
#[derive(Debug)]
pub(super) struct Machine {
    views: watch::Sender<Arc<View>>,
    applied: Option<LogId<RaftId>>,
    membership: StoredMembership<RaftId, Node>,
    file: Arc<SnapshotFile>,
}

impl Machine {
    /// Begins with the snapshot in `file`; the log is applied again from there on.
    ///
    /// # Errors
    /// If the snapshot is not one.
    pub(super) fn new(file: SnapshotFile, path: &Path) -> Result<Self, RaftError> {
        let file = Arc::new(file);
        let mut machine = Self {
            views: watch::Sender::new(Arc::default()),
            applied: None,
            membership: StoredMembership::default(),
            file: file.clone(),
        };
        if let Some(stored) = file.current() {
            machine.restore(&stored.meta, &stored.data).map_err(|_| RaftError::Sealed { path: path.to_owned() })?;
        }
        Ok(machine)
    }

    /// Signals every new view.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }

    fn restore(&mut self, meta: &SnapshotMeta<RaftId, Node>, data: &[u8]) -> Result<(), prost::DecodeError> {
        let snapshot = StoreSnapshot::decode(data)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.views.send_replace(Arc::new(View::from_snapshot(snapshot)));
        Ok(())
    }
}

/// Applies one entry; what does not fit on the view changes nothing.
pub(super) fn apply_one(view: &mut View, entry: &Entry<TypeConfig>) -> Outcome {
    let version = entry.log_id.index;
    let EntryPayload::Normal(transaction) = &entry.payload else {
        view.advance(version);
        return Outcome::default();
    };
    let applied = match StoreTransaction::decode(transaction.0.as_ref()) {
        Ok(transaction) => view.apply(&transaction, version),
        Err(_) => Err(ApplyError::Unknown),
    };
    view.advance(version);
    Outcome { refused: applied.err() }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId<RaftId>>, StoredMembership<RaftId, Node>), Failure> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, Failure>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + Send,
        I::IntoIter: Send,
    {
        let mut view = View::clone(&self.views.borrow());
        let mut outcomes = Vec::new();
        for entry in entries {
            outcomes.push(apply_one(&mut view, &entry));
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
        }
        self.views.send_replace(Arc::new(view));
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            view: self.views.borrow().clone(),
            applied: self.applied,
            membership: self.membership.clone(),
            file: self.file.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, Failure> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<RaftId, Node>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), Failure> {
        let stored = Stored { meta: meta.clone(), data: Arc::new(snapshot.into_inner()) };
        let data = stored.data.clone();
        let older = older_snapshots(&self.views.borrow());
        save(self.file.clone(), stored, older).await?;
        self.restore(meta, &data)
            .map_err(|error| StorageIOError::read_snapshot(Some(meta.signature()), AnyError::new(&error)).into())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, Failure> {
        Ok(self.file.current().map(|stored| stored.to_openraft()))
    }
}

/// Writes a snapshot of the view at which it was made.
#[derive(Debug)]
pub(super) struct Builder {
    view: Arc<View>,
    applied: Option<LogId<RaftId>>,
    membership: StoredMembership<RaftId, Node>,
    file: Arc<SnapshotFile>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, Failure> {
        let at = self.applied.map_or_else(|| "0".to_owned(), |id| format!("{}-{}", id.leader_id.term, id.index));
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: format!("{at}-{}", SystemChance.id()),
        };
        let stored = Stored { meta, data: Arc::new(self.view.snapshot().encode_to_vec()) };
        save(self.file.clone(), stored.clone(), older_snapshots(&self.view)).await?;
        Ok(stored.to_openraft())
    }
}

/// As many as the swarm has set.
fn older_snapshots(view: &View) -> u64 {
    view.cluster().map_or(0, |cluster| cluster.spec.max_snapshots)
}

async fn save(file: Arc<SnapshotFile>, stored: Stored, older: u64) -> Result<(), Failure> {
    let signature = stored.meta.signature();
    let saved = tokio::task::spawn_blocking(move || file.save(stored, older)).await;
    let saved = saved.map_err(std::io::Error::other).flatten();
    saved.map_err(|error| StorageIOError::write_snapshot(Some(signature), AnyError::new(&error)).into())
}

#[cfg(test)]
mod tests {
    use openraft::testing::{StoreBuilder, Suite};

    use super::*;
    use crate::raft::DiskKey;
    use crate::raft::log::Log;

    struct OnDisk;

    impl StoreBuilder<TypeConfig, Log, Machine, tempfile::TempDir> for OnDisk {
        async fn build(&self) -> Result<(tempfile::TempDir, Log, Machine), Failure> {
            let directory = tempfile::tempdir().unwrap();
            let key = Arc::new(DiskKey::new(&DiskKey::generate()).unwrap());
            let log = Log::open(&directory.path().join("log"), key.clone()).unwrap();
            let path = directory.path().join("snapshot");
            let machine = Machine::new(SnapshotFile::open(&path, key).unwrap(), &path).unwrap();
            Ok((directory, log, machine))
        }
    }

    #[test]
    fn openrafts_own_suite_accepts_log_and_machine() {
        Suite::test_all(OnDisk).unwrap();
    }
}
