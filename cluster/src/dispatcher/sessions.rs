//! Which nodes are in session with this leader, and until when each is believed to be alive.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::model::{Cluster, HEARTBEAT_DEFAULT, Node, NodeId, NodeState};
use crate::store::{ProposeError, Store, update};
use crate::surroundings::Surroundings;

/// So many missed periods make a node DOWN.
const MISSED: u32 = 3;
/// So many after a change of the leader.
const MISSED_BY_NEW_LEADER: u32 = 6;
/// Registrations of one node within [`RATE_WINDOW`].
const RATE: usize = 3;
const RATE_WINDOW: Duration = Duration::from_secs(8);

/// A node's session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// Names it in the node's calls.
    pub id: String,
    /// Ends its streams.
    pub ended: CancellationToken,
}

impl Session {
    /// In which its streams are fed: their requests have long been answered.
    pub(super) fn span(&self, node: &NodeId) -> tracing::Span {
        tracing::info_span!("session", node.id = %node, session.id = self.id)
    }
}

#[derive(Debug, Default)]
struct Entry {
    session: Option<Session>,
    expires: Option<Instant>,
    registrations: VecDeque<Instant>,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    surroundings: Surroundings,
    nodes: Mutex<BTreeMap<NodeId, Entry>>,
}

fn invalid() -> Status {
    Status::failed_precondition("invalid session: register again")
}

/// The time between a cluster's heartbeats.
pub(super) fn period(store: &dyn Store) -> Duration {
    store.view().cluster().map_or(HEARTBEAT_DEFAULT, |cluster| Cluster::heartbeat(cluster))
}

impl Sessions {
    /// None yet.
    pub(super) fn new(surroundings: Surroundings) -> Self {
        Self { surroundings, nodes: Mutex::default() }
    }

    fn now(&self) -> Instant {
        self.surroundings.clock.instant()
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<NodeId, Entry>) -> T) -> T {
        work(&mut self.nodes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new session for the node; an older one of it ends.
    ///
    /// # Errors
    /// If the node registers too often.
    pub(super) fn register(
        &self,
        node: &NodeId,
        stop: &CancellationToken,
        period: Duration,
    ) -> Result<Session, Status> {
        let now = self.now();
        self.with(|nodes| {
            let entry = nodes.entry(node.clone()).or_default();
            while entry.registrations.front().is_some_and(|at| now.duration_since(*at) > RATE_WINDOW) {
                entry.registrations.pop_front();
            }
            if entry.registrations.len() >= RATE {
                return Err(Status::resource_exhausted("too many registrations: wait a few seconds"));
            }
            entry.registrations.push_back(now);
            if let Some(old) = entry.session.take() {
                old.ended.cancel();
            }
            let session = Session { id: self.surroundings.chance.id(), ended: stop.child_token() };
            entry.session = Some(session.clone());
            entry.expires = Some(now + period * MISSED);
            Ok(session)
        })
    }

    /// The node's session, if `id` names it.
    ///
    /// # Errors
    /// If it does not: the node has to register again.
    pub(super) fn get(&self, node: &NodeId, id: &str) -> Result<Session, Status> {
        self.with(|nodes| nodes.get(node).and_then(|e| e.session.clone())).filter(|s| s.id == id).ok_or_else(invalid)
    }

    /// The node is alive.
    ///
    /// # Errors
    /// If the session is not the node's: it has to register again.
    pub(super) fn beat(&self, node: &NodeId, session: &str, period: Duration) -> Result<(), Status> {
        self.with(|nodes| match nodes.get_mut(node) {
            Some(entry) if entry.session.as_ref().is_some_and(|s| s.id == session) => {
                entry.expires = Some(self.now() + period * MISSED);
                Ok(())
            }
            _ => Err(invalid()),
        })
    }

    /// Gives nodes that are not yet in session with a new leader time to come.
    pub(super) fn expect<'a>(&self, ids: impl Iterator<Item = &'a NodeId>, period: Duration) {
        let expires = Some(self.now() + period * MISSED_BY_NEW_LEADER);
        self.with(|nodes| {
            for id in ids {
                let entry = nodes.entry(id.clone()).or_default();
                if entry.session.is_none() {
                    entry.expires = expires;
                }
            }
        });
    }

    /// Gives every node in session its time anew.
    pub(super) fn extend(&self, period: Duration) {
        let expires = self.now() + period * MISSED;
        self.with(|nodes| {
            for entry in nodes.values_mut().filter(|e| e.expires.is_some()) {
                entry.expires = entry.expires.max(Some(expires));
            }
        });
    }

    /// The nodes whose time is over, their sessions ended; and when the next one's is.
    pub(super) fn expire(&self) -> (Vec<NodeId>, Option<Instant>) {
        let now = self.now();
        self.with(|nodes| {
            let mut expired = Vec::new();
            for (id, entry) in nodes.iter_mut() {
                if entry.expires.is_some_and(|at| at <= now) {
                    entry.expires = None;
                    if let Some(session) = entry.session.take() {
                        session.ended.cancel();
                    }
                    expired.push(id.clone());
                }
            }
            (expired, nodes.values().filter_map(|e| e.expires).min())
        })
    }

    /// Forgets a node that was removed.
    pub(super) fn forget(&self, node: &NodeId) {
        self.with(|nodes| {
            if let Some(Entry { session: Some(session), .. }) = nodes.remove(node) {
                session.ended.cancel();
            }
        });
    }

    /// Whether the node is in session now.
    pub(super) fn is_present(&self, node: &NodeId) -> bool {
        self.with(|nodes| nodes.get(node).is_some_and(|e| e.session.is_some()))
    }
}

/// Changes a node until it is committed; false if there is no such node.
///
/// # Errors
/// If this manager cannot commit now.
pub(super) async fn change_node(
    store: &dyn Store,
    id: &NodeId,
    change: impl Fn(&mut Node),
) -> Result<bool, ProposeError> {
    loop {
        let Some(old) = store.view().nodes().get(id).cloned() else { return Ok(false) };
        let mut node = Node::clone(&old);
        change(&mut node);
        if node == *old {
            return Ok(true);
        }
        match store.propose(vec![update(node)]).await {
            Ok(_) => return Ok(true),
            Err(ProposeError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sets a node's state, with the time (nanoseconds since the epoch) if it is a new one.
pub(super) fn set_state(node: &mut Node, state: NodeState, message: &str, now_ns: i64) {
    if node.status.state != state {
        node.status.since_ns = now_ns;
    }
    node.status.state = state;
    message.clone_into(&mut node.status.message);
}
