//! One layer: fetched, hashed and unpacked in one pass.
//!
//! ```text
//! network ─(tokio)─► channel ─► [write blob, hash, decompress, diff id] ─► pieces ─► [write files]
//! ```
//!
//! The archive is unpacked before its digest is known, into a directory that no one sees; only if both
//! the blob's digest and the diff id are right does it get its name.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use skep_common::files::FileLock;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::error::PullError;
use super::progress::{LayerEvent, Progress};
use crate::digest::{Digest, Hasher};
use crate::manifest::Descriptor;
use crate::registry::{BlobEvent, RegistryError, Repository};
use crate::store::{ImageStore, IoContext, LayerRecord, StoreError, Work};
use crate::unpack::{Decoded, PieceReader, UnpackError, decode, pieces, unpack};

/// How many pieces of the network's size wait for the disk.
const PIECES_MAX: usize = 16;
const LOCK_POLL: Duration = Duration::from_millis(50);
const PROGRESS_PERIOD: Duration = Duration::from_millis(100);

/// A layer to get.
pub(super) struct LayerTask<'a> {
    pub(super) store: &'a ImageStore,
    pub(super) work: Arc<Work>,
    pub(super) repository: &'a Repository,
    pub(super) progress: &'a dyn Progress,
    pub(super) blob: &'a Descriptor,
    pub(super) diff_id: Digest,
    /// Its position in the image, to name its files by: two layers may be one blob.
    pub(super) number: usize,
}

impl LayerTask<'_> {
    pub(super) async fn run(self, slots: &Semaphore) -> Result<(), PullError> {
        // The lock before the slot: who waits for another process's lock holds no slot, and who holds a
        // slot waits for no lock, so that two pulls never wait for each other in a circle.
        let Some(lock) = self.lock().await? else {
            self.tell(LayerEvent::AlreadyExists);
            return Ok(());
        };
        let _slot = match slots.try_acquire() {
            Ok(slot) => slot,
            Err(_) => {
                self.tell(LayerEvent::Waiting);
                let closed = |_| PullError::Interrupted { digest: self.blob.digest };
                slots.acquire().await.map_err(closed)?
            }
        };
        if self.store.has_blob(&self.blob.digest, self.blob.size) {
            if self.unpack_from_disk().await? {
                self.tell(LayerEvent::PullComplete);
                return Ok(());
            }
            tracing::warn!(blob = %self.blob.digest, "blob is damaged, fetching it again");
            self.store.discard_blob(&self.blob.digest)?;
        }
        self.fetch_and_unpack().await?;
        drop(lock);
        self.tell(LayerEvent::PullComplete);
        Ok(())
    }

    fn tell(&self, event: LayerEvent) {
        self.progress.layer(&self.blob.digest, event);
    }

    /// Waits for the layer's lock; `None` if someone else has completed the layer.
    async fn lock(&self) -> Result<Option<FileLock>, PullError> {
        let mut told = false;
        loop {
            let lock = self.store.try_lock_layer(&self.diff_id)?;
            if self.store.has_layer(&self.diff_id)? {
                return Ok(None);
            }
            if lock.is_some() {
                return Ok(lock);
            }
            if !std::mem::replace(&mut told, true) {
                self.tell(LayerEvent::Waiting);
            }
            sleep(LOCK_POLL).await;
        }
    }

    /// Unpacks a blob that is here; false if it is not what its name says.
    async fn unpack_from_disk(&self) -> Result<bool, PullError> {
        let Some(file) = self.store.open_blob(&self.blob.digest)? else { return Ok(false) };
        let consumed = Arc::new(AtomicU64::new(0));
        let source = Source::Disk(file);
        match self.unpack(source, Arc::clone(&consumed), std::future::ready(Ok(String::new()))).await {
            Ok(_) => Ok(true),
            Err(PullError::Registry(RegistryError::WrongDigest { .. } | RegistryError::WrongSize { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn fetch_and_unpack(&self) -> Result<(), PullError> {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let path = self.work.path().join(format!("blob-{}", self.number));
        let file = File::create(&path).during("create", &path)?;
        let total = self.blob.size;
        self.tell(LayerEvent::Downloading { current: 0, total });
        let download = async {
            let shown = |event| match event {
                BlobEvent::Received(current) => self.tell(LayerEvent::Downloading { current, total }),
                BlobEvent::Retrying(wait) => self.tell(LayerEvent::Retrying { seconds: wait.as_secs() }),
            };
            let host = self.repository.stream_blob(self.blob, sender, shown).await.map_err(PullError::Registry)?;
            self.tell(LayerEvent::Verifying);
            self.tell(LayerEvent::DownloadComplete);
            Ok(host)
        };
        self.unpack(Source::Network { receiver, file, path }, Arc::default(), download).await
    }

    /// Feeds the threads from `download` until both are done, and gives the results their final names.
    async fn unpack(
        &self,
        source: Source,
        consumed: Arc<AtomicU64>,
        download: impl Future<Output = Result<String, PullError>>,
    ) -> Result<(), PullError> {
        let mut incoming = Incoming::new(source, Arc::clone(&consumed));
        let staged = self.work.path().join(format!("layer-{}", self.number));
        let (blob, diff_id, store) = (self.blob.clone(), self.diff_id, self.store.clone());
        // The thread keeps the work directory alive: dropping the future must not remove it underneath.
        let work = Arc::clone(&self.work);
        let threads = tokio::task::spawn_blocking(move || {
            let result = write_layer(&mut incoming, &blob, &diff_id, &staged, &store);
            drop(work);
            result
        });
        let total = self.blob.size;
        let watch = async {
            tokio::pin!(threads);
            let mut ticks = interval(PROGRESS_PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut shown = 0;
            loop {
                // Both arms are cancel-safe: a join handle and a ticker.
                tokio::select! {
                    result = &mut threads => return result,
                    _ = ticks.tick() => {
                        let current = consumed.load(Ordering::Relaxed);
                        if current != std::mem::replace(&mut shown, current) {
                            self.tell(LayerEvent::Extracting { current, total });
                        }
                    }
                }
            }
        };
        let (downloaded, written) = futures::future::join(download, watch).await;
        let host = downloaded?;
        let written = written.map_err(|_| PullError::Interrupted { digest: self.blob.digest })?;
        written.map_err(|error| name_host(error, host))
    }
}

/// The threads do not know who sent what they refuse.
fn name_host(error: PullError, sender: String) -> PullError {
    match error {
        PullError::Registry(RegistryError::WrongDigest { what, expected, actual, .. }) => {
            PullError::Registry(RegistryError::WrongDigest { host: sender, what, expected, actual })
        }
        other => other,
    }
}

/// Where the compressed bytes come from.
enum Source {
    Disk(File),
    Network { receiver: mpsc::Receiver<Bytes>, file: File, path: PathBuf },
}

/// The compressed stream: hashed, and kept if it comes from the network.
struct Incoming {
    source: Source,
    piece: Bytes,
    hasher: Hasher,
    received: u64,
    consumed: Arc<AtomicU64>,
    failure: Option<io::Error>,
}

impl Incoming {
    fn new(source: Source, consumed: Arc<AtomicU64>) -> Incoming {
        Incoming { source, piece: Bytes::new(), hasher: Hasher::new(), received: 0, consumed, failure: None }
    }

    fn read_piece(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.source {
            Source::Disk(file) => file.read(buffer)?,
            Source::Network { receiver, file, .. } => {
                if self.piece.is_empty() {
                    self.piece = receiver.blocking_recv().unwrap_or_default();
                    file.write_all(&self.piece)?;
                }
                let count = buffer.len().min(self.piece.len());
                buffer[..count].copy_from_slice(&self.piece.split_to(count));
                count
            }
        };
        self.hasher.update(&buffer[..count]);
        self.received += count as u64;
        self.consumed.store(self.received, Ordering::Relaxed);
        Ok(count)
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.read_piece(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let copy = io::Error::new(error.kind(), error.to_string());
                self.failure = Some(error);
                Err(copy)
            }
            result => result,
        }
    }
}

/// The whole way from compressed bytes to an installed layer. Of several things that went wrong the one
/// that explains the others is returned: disk, then digest, then compression, then archive.
fn write_layer(
    incoming: &mut Incoming,
    blob: &Descriptor,
    diff_id: &Digest,
    staged: &std::path::Path,
    store: &ImageStore,
) -> Result<(), PullError> {
    let root = staged.join("diff");
    // A damaged blob on disk may have left its half.
    if staged.exists() {
        fs::remove_dir_all(staged).during("remove", staged)?;
    }
    fs::create_dir_all(&root).during("create directory", &root)?;
    let (decoded, unpacked) = std::thread::scope(|scope| {
        let (sender, reader) = pieces();
        let root = &root;
        let unpacking = scope.spawn(move || unpack_pieces(reader, root));
        let decoded = decode(&mut *incoming, &sender);
        drop(sender);
        (decoded, unpacking.join())
    });
    // What follows the compressed data belongs to the digest all the same.
    let drained = io::copy(incoming, &mut io::sink());
    if let Some(source) = incoming.failure.take() {
        let path = store_path(incoming, staged);
        return Err(PullError::Store(StoreError::Io { operation: "write", path, source }));
    }
    drained.during("read", staged)?;
    let actual = incoming.hasher.clone().finish();
    if actual != blob.digest {
        let (host, what) = (String::new(), "layer");
        return Err(PullError::Registry(RegistryError::WrongDigest { host, what, expected: blob.digest, actual }));
    }
    let layer = |source| PullError::Layer { digest: blob.digest, source };
    let decoded = decoded.map_err(layer)?;
    let unpacked = unpacked.map_err(|_| PullError::Interrupted { digest: blob.digest })?;
    let size = unpacked.map_err(layer)?;
    match decoded {
        Decoded::Complete(actual) if actual == *diff_id => {}
        Decoded::Complete(actual) => {
            return Err(PullError::WrongDiffId { digest: blob.digest, expected: *diff_id, actual });
        }
        Decoded::Abandoned => return Err(PullError::Interrupted { digest: blob.digest }),
    }
    if let Source::Network { path, .. } = &incoming.source {
        store.adopt_blob(&blob.digest, path, false)?;
    }
    let record = LayerRecord {
        version: 1,
        diff_id: *diff_id,
        size,
        blob: blob.digest,
        link: String::new(),
        boot: String::new(),
    };
    store.install_layer(staged, record)?;
    Ok(())
}

fn unpack_pieces(reader: PieceReader, root: &std::path::Path) -> Result<u64, UnpackError> {
    unpack(reader, root)
}

fn store_path(incoming: &Incoming, staged: &std::path::Path) -> PathBuf {
    match &incoming.source {
        Source::Network { path, .. } => path.clone(),
        Source::Disk(_) => staged.into(),
    }
}
