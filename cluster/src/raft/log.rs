//! The raft log and vote on disk: one file of sealed records, only ever appended to, rewritten when it is purged.
//!
//! What one call writes is one [`record`]: it counts wholly or not at all. A crash can only have torn the last record:
//! it is dropped. Damage before the last record was not done by a crash, and the file is refused.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::RangeBounds;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogId, LogState, RaftLogReader, StorageError, StorageIOError, Vote};

use super::files::{context, replace, sync_parent};
use super::record::{self, LogEntry, Record};
use super::{DiskKey, RaftError, RaftId, TypeConfig};

const HEADER: &[u8; 8] = b"SKEPLOG1";
/// Entries of so many bytes, before they are encoded, are one record when the log is rewritten.
const REWRITE_BYTES_MAX: usize = 16 << 20;
/// What one replication request carries at most, before it is encoded.
const READ_BYTES_MAX: usize = 2 << 20;

type Failure = StorageError<RaftId>;

/// The log. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Log {
    memory: Arc<RwLock<Memory>>,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Memory {
    vote: Option<Vote<RaftId>>,
    purged: Option<LogId<RaftId>>,
    entries: BTreeMap<u64, LogEntry>,
}

#[derive(Debug)]
struct Disk {
    path: PathBuf,
    key: Arc<DiskKey>,
    file: File,
    /// Length of the good part.
    length: u64,
    /// Number of the next record.
    number: u64,
}

impl Log {
    /// Opens or makes the log at `path`.
    ///
    /// # Errors
    /// If the file cannot be read or written, or is damaged where a crash cannot have done it.
    pub(super) fn open(path: &Path, key: Arc<DiskKey>) -> Result<Self, RaftError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(context("open", path))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(context("read", path))?;
        let mut memory = Memory::default();
        let (mut length, mut number) = (HEADER.len(), 0);
        if content.len() < HEADER.len() {
            file.set_len(0).map_err(context("truncate", path))?;
            file.rewind().map_err(context("seek in", path))?;
            file.write_all(HEADER).map_err(context("write", path))?;
            file.sync_all().map_err(context("sync", path))?;
            sync_parent(path)?;
        } else if !content.starts_with(HEADER) {
            return Err(RaftError::Corrupt { path: path.to_owned(), offset: 0 });
        } else {
            while length < content.len() {
                let Some((record, size)) = record::read(&content[length..], number, &key) else { break };
                memory.absorb(record);
                length += size;
                number += 1;
            }
            if length < content.len() {
                drop_torn_tail(path, &file, &content, length, number, &key)?;
            }
        }
        file.seek(SeekFrom::Start(length as u64)).map_err(context("seek in", path))?;
        let disk = Disk { path: path.to_owned(), key, file, length: length as u64, number };
        Ok(Self { memory: Arc::new(RwLock::new(memory)), disk: Arc::new(Mutex::new(disk)) })
    }

    /// Nothing was ever written: this member has not been part of a swarm yet.
    pub(super) fn is_pristine(&self) -> bool {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        memory.vote.is_none() && memory.purged.is_none() && memory.entries.is_empty()
    }

    /// Shows every entry in order.
    pub(super) fn replay(&self, see: impl FnMut(&LogEntry)) {
        self.memory.read().unwrap_or_else(PoisonError::into_inner).entries.values().for_each(see);
    }

    /// Writes the record, then shows it to readers. Blocking work happens outside of the async threads.
    async fn write(&self, record: Record) -> Result<(), std::io::Error> {
        let log = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let mut disk = log.disk.lock().unwrap_or_else(PoisonError::into_inner);
            disk.append(&record)?;
            let mut memory = log.memory.write().unwrap_or_else(PoisonError::into_inner);
            memory.absorb(record);
            Ok(())
        });
        work.await.map_err(std::io::Error::other)?
    }

    async fn rewrite(&self, upto: LogId<RaftId>) -> Result<(), std::io::Error> {
        let log = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let mut disk = log.disk.lock().unwrap_or_else(PoisonError::into_inner);
            let records = {
                let mut memory = log.memory.write().unwrap_or_else(PoisonError::into_inner);
                memory.absorb(Record::Purge(upto));
                memory.records(REWRITE_BYTES_MAX)
            };
            disk.rewrite(&records).map_err(std::io::Error::other)
        });
        work.await.map_err(std::io::Error::other)?
    }
}

impl Memory {
    fn absorb(&mut self, record: Record) {
        match record {
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Append(entries) => self.entries.extend(entries.into_iter().map(|e| (e.log_id.index, e))),
            Record::Truncate(from) => drop(self.entries.split_off(&from)),
            Record::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = Some(upto);
            }
        }
    }

    /// All that is known, in records whose entries have `limit` bytes together, or are a single one.
    fn records(&self, limit: usize) -> Vec<Record> {
        let purge = self.purged.map(Record::Purge);
        let vote = self.vote.map(Record::Vote);
        let mut parts: Vec<Vec<LogEntry>> = Vec::new();
        let mut filled = 0;
        for entry in self.entries.values() {
            let bytes = size(entry);
            match parts.last_mut() {
                Some(part) if filled + bytes <= limit => {
                    part.push(entry.clone());
                    filled += bytes;
                }
                _ => {
                    parts.push(vec![entry.clone()]);
                    filled = bytes;
                }
            }
        }
        purge.into_iter().chain(vote).chain(parts.into_iter().map(Record::Append)).collect()
    }
}

fn size(entry: &LogEntry) -> usize {
    match &entry.payload {
        openraft::EntryPayload::Normal(transaction) => transaction.0.len(),
        _ => 0,
    }
}

impl Disk {
    fn append(&mut self, record: &Record) -> Result<(), std::io::Error> {
        let bytes = record::encode(record, self.number, &self.key)?;
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Whatever reached the disk is not acknowledged: it must not be in the way of the next record.
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.number += 1;
        Ok(())
    }

    fn rewrite(&mut self, records: &[Record]) -> Result<(), RaftError> {
        let mut content = HEADER.to_vec();
        for (number, record) in records.iter().enumerate() {
            content.extend(record::encode(record, number as u64, &self.key).map_err(context("encode", &self.path))?);
        }
        replace(&self.path, &content)?;
        let mut file =
            OpenOptions::new().read(true).write(true).open(&self.path).map_err(context("open", &self.path))?;
        file.seek(SeekFrom::End(0)).map_err(context("seek in", &self.path))?;
        self.file = file;
        self.length = content.len() as u64;
        self.number = records.len() as u64;
        Ok(())
    }
}

fn drop_torn_tail(
    path: &Path,
    file: &File,
    content: &[u8],
    good: usize,
    number: u64,
    key: &DiskKey,
) -> Result<(), RaftError> {
    let tail = &content[good..];
    if !record::is_torn(tail, number, key) {
        return Err(RaftError::Corrupt { path: path.to_owned(), offset: good as u64 });
    }
    tracing::warn!(path = %path.display(), bytes = tail.len(), "dropped an unfinished record at the end of the raft log");
    file.set_len(good as u64).map_err(context("truncate", path))?;
    file.sync_all().map_err(context("sync", path))
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, Failure> {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        Ok(memory.entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, Failure> {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let mut chosen = Vec::new();
        for (_, entry) in memory.entries.range(start..end) {
            bytes += size(entry);
            if !chosen.is_empty() && bytes > READ_BYTES_MAX {
                break;
            }
            chosen.push(entry.clone());
        }
        Ok(chosen)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, Failure> {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        let last = memory.entries.values().next_back().map(|entry| entry.log_id);
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: last.or(memory.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<RaftId>) -> Result<(), Failure> {
        self.write(Record::Vote(*vote)).await.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<RaftId>>, Failure> {
        Ok(self.memory.read().unwrap_or_else(PoisonError::into_inner).vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), Failure>
    where
        I: IntoIterator<Item = LogEntry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        match self.write(Record::Append(entries)).await {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                let failure = StorageIOError::write_logs(AnyError::new(&error)).into();
                callback.log_io_completed(Err(error));
                Err(failure)
            }
        }
    }

    async fn truncate(&mut self, log_id: LogId<RaftId>) -> Result<(), Failure> {
        let record = Record::Truncate(log_id.index);
        self.write(record).await.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)).into())
    }

    async fn purge(&mut self, log_id: LogId<RaftId>) -> Result<(), Failure> {
        self.rewrite(log_id).await.map_err(|error| StorageIOError::write_logs(AnyError::new(&error)).into())
    }
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, Entry, EntryPayload};

    use super::*;
    use crate::raft::record::FRAME;
    use crate::raft::types::Transaction;

    fn entry(index: u64) -> LogEntry {
        let payload = EntryPayload::Normal(Transaction(format!("transaction {index}").into_bytes().into()));
        Entry { log_id: LogId::new(CommittedLeaderId::new(1, 7), index), payload }
    }

    fn key() -> Arc<DiskKey> {
        Arc::new(DiskKey::new(&[3; 32]).unwrap())
    }

    fn open(path: &Path) -> Result<Log, RaftError> {
        Log::open(path, key())
    }

    fn indexes(log: &Log) -> Vec<u64> {
        log.memory.read().unwrap().entries.keys().copied().collect()
    }

    /// Records of one entry each, and where the last one begins.
    async fn written(path: &Path, count: u64) -> usize {
        let log = open(path).unwrap();
        let mut begin = 0;
        for index in 0..count {
            begin = std::fs::metadata(path).unwrap().len();
            log.write(Record::Append(vec![entry(index)])).await.unwrap();
        }
        usize::try_from(begin).unwrap()
    }

    #[tokio::test]
    async fn a_torn_last_record_is_dropped_wherever_it_was_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let begin = written(&path, 4).await;
        let whole = std::fs::read(&path).unwrap();
        for length in begin..whole.len() {
            for zeros in [0, 1, 4096] {
                let mut torn = whole[..length].to_vec();
                torn.resize(length + zeros, 0);
                std::fs::write(&path, &torn).unwrap();
                assert_eq!(indexes(&open(&path).unwrap()), [0, 1, 2], "cut at {length}, {zeros} zeros");
                assert_eq!(std::fs::metadata(&path).unwrap().len(), begin as u64);
            }
        }
        open(&path).unwrap().write(Record::Append(vec![entry(3)])).await.unwrap();
        assert_eq!(indexes(&open(&path).unwrap()), [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn damage_before_the_last_record_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let begin = written(&path, 3).await;
        let whole = std::fs::read(&path).unwrap();
        for byte in 0..begin {
            let mut damaged = whole.clone();
            damaged[byte] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            let error = open(&path).unwrap_err();
            assert!(matches!(error, RaftError::Corrupt { .. }), "byte {byte}: {error}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged, "a refused file is not touched");
        }
        std::fs::write(&path, &whole).unwrap();
        let other = Arc::new(DiskKey::new(&[4; 32]).unwrap());
        assert!(matches!(Log::open(&path, other), Err(RaftError::Corrupt { .. })));
    }

    #[tokio::test]
    async fn a_hole_that_swallows_many_records_is_not_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        written(&path, 20).await;
        let mut damaged = std::fs::read(&path).unwrap();
        let middle = damaged.len() / 2;
        damaged[middle - 512..middle + 512].fill(0);
        std::fs::write(&path, &damaged).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, RaftError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("restore it from a backup"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "a refused file is not touched");
    }

    /// Damage that a crash cannot have done, wherever it lies: a whole record or the beginning of one follows it.
    #[tokio::test]
    async fn a_damaged_record_before_a_torn_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let begin = written(&path, 4).await;
        let whole = std::fs::read(&path).unwrap();
        let mut damaged = whole[..begin + FRAME + 20].to_vec();
        damaged[begin - 5] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert!(matches!(open(&path), Err(RaftError::Corrupt { .. })));
        // A whole record between two that are damaged: only its seal tells that it is one.
        let mut damaged = whole;
        let last = damaged.len();
        damaged[HEADER.len()..HEADER.len() + 30].fill(0);
        damaged[begin..begin + 30].fill(0xff);
        std::fs::write(&path, &damaged[..last]).unwrap();
        assert!(matches!(open(&path), Err(RaftError::Corrupt { .. })));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
        #[test]
        fn no_hole_is_taken_for_the_end_unless_it_reaches_the_last_record(
            from in 0.0..1.0f64, bytes in 1..6000usize, fill in proptest::prelude::any::<u8>(),
        ) {
            static WRITTEN: std::sync::OnceLock<(Vec<u8>, usize)> = std::sync::OnceLock::new();
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            let (whole, last) = WRITTEN.get_or_init(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let last = runtime.block_on(written(&path, 20));
                (std::fs::read(&path).unwrap(), last)
            });
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let from = (from * whole.len() as f64) as usize;
            let mut damaged = whole.clone();
            let upto = (from + bytes).min(whole.len());
            damaged[from..upto].fill(fill);
            std::fs::write(&path, &damaged).unwrap();
            match open(&path) {
                Ok(log) if damaged == *whole => proptest::prop_assert_eq!(indexes(&log).len(), 20),
                Ok(log) => {
                    proptest::prop_assert!(upto > *last, "records behind {}..{} were dropped", from, upto);
                    let kept = indexes(&log);
                    proptest::prop_assert_eq!(kept.clone(), (0..kept.len() as u64).collect::<Vec<_>>());
                }
                Err(error) => {
                    proptest::prop_assert!(matches!(error, RaftError::Corrupt { .. }), "{}", error);
                    proptest::prop_assert!(damaged != *whole);
                }
            }
        }
    }

    #[tokio::test]
    async fn truncation_purge_and_vote_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = open(&path).unwrap();
        assert!(log.is_pristine());
        let vote = Vote::new(3, 7);
        log.write(Record::Append((0..10).map(entry).collect())).await.unwrap();
        log.write(Record::Vote(vote)).await.unwrap();
        log.write(Record::Truncate(8)).await.unwrap();
        log.rewrite(entry(4).log_id).await.unwrap();
        log.write(Record::Append(vec![entry(8)])).await.unwrap();
        let mut again = open(&path).unwrap();
        assert_eq!(indexes(&again), [5, 6, 7, 8]);
        assert_eq!(again.read_vote().await.unwrap(), Some(vote));
        let state = again.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(entry(4).log_id));
        assert!(!again.is_pristine());
        let content = std::fs::read(&path).unwrap();
        assert!(!content.windows(11).any(|window| window == b"transaction"));
    }

    #[tokio::test]
    async fn a_rewritten_log_has_records_that_can_be_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        written(&path, 7).await;
        let log = open(&path).unwrap();
        let entries = |limit| {
            let records = log.memory.read().unwrap().records(limit);
            let of = |record: &Record| match record {
                Record::Append(entries) => entries.len(),
                _ => 0,
            };
            records.iter().map(of).collect::<Vec<_>>()
        };
        let one = "transaction 0".len();
        assert_eq!(entries(REWRITE_BYTES_MAX), [7]);
        assert_eq!(entries(one * 3), [3, 3, 1]);
        assert_eq!(entries(one - 1), [1; 7]);
        let records = log.memory.read().unwrap().records(one * 3);
        log.disk.lock().unwrap().rewrite(&records).unwrap();
        assert_eq!(indexes(&open(&path).unwrap()), [0, 1, 2, 3, 4, 5, 6]);
    }
}
