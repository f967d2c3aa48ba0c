//! One running raft member: starts openraft over the files, proposes, reads, and tells who leads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use openraft::error::{CheckIsLeaderError, ClientWriteError, RaftError as CoreError};
use openraft::{Config, Raft, RaftMetrics, ServerState, SnapshotPolicy};
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::files::{context, replace};
use super::log::Log;
use super::machine::Machine;
use super::network::{Heard, Network};
use super::snapshot::SnapshotFile;
use super::types::{Node, RaftId, Transaction, TypeConfig};
use super::{DiskKey, RaftError, RaftService};
use crate::api::{StoreAction, StoreTransaction};
use crate::store::{ProposeError, Store, View};
use crate::surroundings::{Clock, Elapsed, Surroundings};
use crate::timing::Timing;
use crate::wire::Peers;

/// Entries that are kept behind a snapshot for followers who are a little late.
const ENTRIES_KEPT: u64 = 500;
/// A part of a snapshot, before it is encoded.
const SNAPSHOT_PART_BYTES: u64 = 1 << 20;
/// The largest transaction; the callers split theirs well below it.
const TRANSACTION_BYTES_MAX: usize = 8 << 20;

/// What a member needs to run.
#[derive(Debug, Clone)]
pub(crate) struct RaftSettings {
    /// `ROOT/swarm/raft`; made if it is not there.
    pub dir: PathBuf,
    /// Key of the files in it.
    pub key: Arc<DiskKey>,
    /// This node.
    pub node_id: String,
    /// HOST:PORT at which the other managers reach it.
    pub addr: String,
    /// Connections to them.
    pub peers: Arc<Peers>,
    /// Time limits.
    pub timing: Timing,
    /// Time and chance.
    pub surroundings: Surroundings,
    /// Entries between two snapshots, until the swarm's own setting is known.
    pub snapshot_interval: u64,
}

/// A manager in the raft membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its number.
    pub raft_id: RaftId,
    /// Node id.
    pub node_id: String,
    /// HOST:PORT.
    pub addr: String,
    /// It votes (it has caught up).
    pub voter: bool,
}

/// Who leads, as this member knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Leadership {
    /// This member leads, and a majority has answered it lately.
    pub leading: bool,
    /// The raft term.
    pub term: u64,
    /// The leader; `None` during elections and without a quorum.
    pub leader: Option<Member>,
    /// openraft has stopped: a disk that cannot be written, most likely.
    pub failed: Option<String>,
}

/// A running member.
pub(crate) struct RaftNode {
    pub(super) raft: Raft<TypeConfig>,
    pub(super) id: RaftId,
    pub(super) settings: RaftSettings,
    pub(super) changing: tokio::sync::Mutex<()>,
    pub(super) handing_over: AtomicBool,
    pristine: bool,
    heard: Heard,
    views: watch::Receiver<Arc<View>>,
    leadership: watch::Receiver<Leadership>,
    helpers: [JoinHandle<()>; 2],
}

impl std::fmt::Debug for RaftNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftNode").field("id", &self.id).finish_non_exhaustive()
    }
}

impl RaftNode {
    /// Reads the files and starts taking part. A new member's log is empty: it has to be initialised or to join.
    ///
    /// # Errors
    /// If the files cannot be used or are damaged, or openraft does not start.
    pub(crate) async fn start(settings: RaftSettings) -> Result<Arc<Self>, RaftError> {
        let dir = settings.dir.clone();
        std::fs::create_dir_all(&dir).map_err(context("create", &dir))?;
        let id = member_id(&dir.join("id"), &settings.surroundings)?;
        let log = Log::open(&dir.join("log"), settings.key.clone())?;
        let pristine = log.is_pristine();
        let path = dir.join("snapshot");
        let machine = Machine::new(SnapshotFile::open(&path, settings.key.clone())?, &path)?;
        let views = machine.watch();
        let clock = settings.surroundings.clock.clone();
        let heard = Heard::new(clock.clone());
        let network = Network::new(settings.peers.clone(), heard.clone());
        let config = Arc::new(config(&settings)?);
        let raft = Raft::new(id, config, network, log, machine).await.map_err(|e| RaftError::Core(e.to_string()))?;
        let (sender, leadership) = watch::channel(Leadership::default());
        #[expect(clippy::disallowed_methods, reason = "kept among the helpers, which a shutdown aborts")]
        let observer = tokio::spawn(observe(raft.metrics(), sender, settings.timing, clock));
        #[expect(clippy::disallowed_methods, reason = "kept among the helpers, which a shutdown aborts")]
        let snapshots = tokio::spawn(take_snapshots(raft.clone(), views.clone(), settings.snapshot_interval));
        Ok(Arc::new(Self {
            raft,
            id,
            settings,
            changing: tokio::sync::Mutex::default(),
            handing_over: AtomicBool::new(false),
            pristine,
            heard,
            views,
            leadership,
            helpers: [observer, snapshots],
        }))
    }

    /// Its number.
    pub(crate) fn id(&self) -> RaftId {
        self.id
    }

    /// Whether the log was empty at the start: it was never part of a swarm, or has lost its disk.
    pub(crate) fn is_pristine(&self) -> bool {
        self.pristine
    }

    /// Makes a swarm of this member alone. Does nothing if it is part of one.
    ///
    /// # Errors
    /// If openraft has stopped.
    pub(crate) async fn initialize(&self) -> Result<(), RaftError> {
        let node = Node { node_id: self.settings.node_id.clone(), addr: self.settings.addr.clone() };
        match self.raft.initialize(BTreeMap::from([(self.id, node)])).await {
            Ok(()) | Err(CoreError::APIError(openraft::error::InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(RaftError::Core(error.to_string())),
        }
    }

    /// The service that takes the other members' messages.
    pub(crate) fn service(&self) -> RaftService {
        RaftService::new(self.raft.clone(), self.id)
    }

    /// Who leads, now and at every change.
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// The members, by number.
    pub(crate) fn members(&self) -> Vec<Member> {
        members(&self.raft.metrics().borrow())
    }

    /// Whether this leader has lately heard of a member. Itself always.
    pub(crate) fn is_reachable(&self, member: RaftId) -> bool {
        member == self.id || self.heard.within(member, self.settings.timing.quorum_lost())
    }

    /// Returns when [`Store::view`] shows everything that was committed before the call, and this member still leads.
    ///
    /// # Errors
    /// If another member leads, or no majority answers.
    pub(crate) async fn read_barrier(&self) -> Result<(), ProposeError> {
        match self.limit(self.settings.timing.proposal(), self.raft.ensure_linearizable()).await {
            Err(_) => Err(ProposeError::NoQuorum),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(CoreError::APIError(CheckIsLeaderError::ForwardToLeader(forward)))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_node.map(|node| node.addr) })
            }
            Ok(Err(CoreError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) => Err(ProposeError::NoQuorum),
            Ok(Err(CoreError::Fatal(error))) => Err(ProposeError::Stopped(error.to_string())),
        }
    }

    /// What `work` gives within `limit`.
    pub(super) async fn limit<W: Future>(&self, limit: Duration, work: W) -> Result<W::Output, Elapsed> {
        self.settings.surroundings.clock.limit(limit, work).await
    }

    /// Stops taking part. The files stay.
    pub(crate) async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "raft did not stop cleanly");
        }
        self.helpers.iter().for_each(JoinHandle::abort);
    }
}

#[async_trait]
impl Store for RaftNode {
    fn view(&self) -> Arc<View> {
        self.views.borrow().clone()
    }

    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    async fn propose(&self, actions: Vec<StoreAction>) -> Result<u64, ProposeError> {
        if self.handing_over.load(Ordering::Relaxed) {
            return Err(ProposeError::NoQuorum);
        }
        let transaction =
            StoreTransaction { actions, time_ns: self.settings.surroundings.clock.now_ns() }.encode_to_vec();
        if transaction.len() > TRANSACTION_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: transaction.len() });
        }
        let write = self.raft.client_write(Transaction(transaction.into()));
        match self.limit(self.settings.timing.proposal(), write).await {
            Err(_) => Err(ProposeError::NoQuorum),
            Ok(Ok(written)) => match written.data.refused {
                Some(refused) => Err(refused.into()),
                None => Ok(written.log_id.index),
            },
            Ok(Err(CoreError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_node.map(|node| node.addr) })
            }
            Ok(Err(error)) => Err(ProposeError::Stopped(error.to_string())),
        }
    }
}

fn config(settings: &RaftSettings) -> Result<Config, RaftError> {
    let (election_timeout_min, election_timeout_max) = settings.timing.election_ms();
    let limit = settings.timing.request().as_millis();
    let config = Config {
        cluster_name: "skep".into(),
        heartbeat_interval: settings.timing.heartbeat_ms(),
        election_timeout_min,
        election_timeout_max,
        install_snapshot_timeout: u64::try_from(limit).unwrap_or(u64::MAX),
        snapshot_policy: SnapshotPolicy::Never,
        replication_lag_threshold: settings.snapshot_interval.saturating_add(ENTRIES_KEPT),
        snapshot_max_chunk_size: SNAPSHOT_PART_BYTES,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT.min(settings.snapshot_interval / 2),
        ..Config::default()
    };
    config.validate().map_err(|error| RaftError::Core(error.to_string()))
}

fn member_id(path: &Path, surroundings: &Surroundings) -> Result<RaftId, RaftError> {
    match std::fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| RaftError::Corrupt { path: path.to_owned(), offset: 0 }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = surroundings.chance.number().max(1);
            replace(path, id.to_string().as_bytes())?;
            Ok(id)
        }
        Err(error) => Err(context("read", path)(error)),
    }
}

fn members(metrics: &RaftMetrics<RaftId, Node>) -> Vec<Member> {
    let membership = metrics.membership_config.membership();
    let voters: Vec<RaftId> = membership.voter_ids().collect();
    membership
        .nodes()
        .map(|(id, node)| Member {
            raft_id: *id,
            node_id: node.node_id.clone(),
            addr: node.addr.clone(),
            voter: voters.contains(id),
        })
        .collect()
}

/// Keeps [`Leadership`] up to date: openraft itself never lets go of the leadership when it is cut off.
async fn observe(
    mut metrics: watch::Receiver<RaftMetrics<RaftId, Node>>,
    sender: watch::Sender<Leadership>,
    timing: Timing,
    clock: Arc<dyn Clock>,
) {
    let mut leader_since = None;
    loop {
        let next = leadership(&metrics.borrow_and_update(), &mut leader_since, timing, clock.instant());
        sender.send_if_modified(|current| {
            let changed = *current != next;
            *current = next;
            changed
        });
        // Cancel safe: both arms only wait.
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            () = clock.sleep(timing.scale(500)) => {}
        }
    }
}

/// Has a snapshot written whenever so many entries as the swarm has set were applied since the last: openraft's
/// own policy is fixed at the start.
async fn take_snapshots(raft: Raft<TypeConfig>, views: watch::Receiver<Arc<View>>, unset: u64) {
    let mut metrics = raft.metrics();
    while metrics.changed().await.is_ok() {
        let due = {
            let now = metrics.borrow_and_update();
            let index = |id: Option<openraft::LogId<RaftId>>| id.map_or(0, |id| id.index);
            index(now.last_applied).saturating_sub(index(now.snapshot)) >= snapshot_interval(&views.borrow(), unset)
        };
        if due && let Err(error) = raft.trigger().snapshot().await {
            tracing::warn!(%error, "no snapshot could be asked for");
        }
    }
}

fn snapshot_interval(view: &View, unset: u64) -> u64 {
    let set = view.cluster().map_or(0, |cluster| cluster.spec.snapshot_interval);
    if set == 0 { unset } else { set }
}

fn leadership(
    metrics: &RaftMetrics<RaftId, Node>,
    leader_since: &mut Option<Instant>,
    timing: Timing,
    now: Instant,
) -> Leadership {
    let leads = metrics.state == ServerState::Leader && metrics.running_state.is_ok();
    let since = if leads { *leader_since.get_or_insert(now) } else { now };
    if !leads {
        *leader_since = None;
    }
    let alone = metrics.membership_config.membership().voter_ids().count() == 1;
    let lost = u64::try_from(timing.quorum_lost().as_millis()).unwrap_or(u64::MAX);
    let answered = match metrics.millis_since_quorum_ack {
        Some(ms) => ms < lost,
        None => now.saturating_duration_since(since) < timing.quorum_lost(),
    };
    let leading = leads && (alone || answered);
    let leader = metrics.current_leader.filter(|id| *id != metrics.id || leading);
    Leadership {
        leading,
        term: metrics.current_term,
        leader: leader.and_then(|id| members(metrics).into_iter().find(|member| member.raft_id == id)),
        failed: metrics.running_state.as_ref().err().map(ToString::to_string),
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
