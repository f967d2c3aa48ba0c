//! The leader's side of the workers: sessions, heartbeats, assignments down, task states up.
//!
//! One [`Dispatcher`] for each time that this manager leads; its streams end when it stops leading.
//! **A node gets and reports its own tasks only:** who calls is what the certificate says ([`Caller`]).

pub(crate) mod assignments;
mod sessions;
pub(crate) mod status;
pub(crate) mod tables;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skep_common::duration::nanoseconds;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use crate::api::{
    self, AssignmentsMessage, AssignmentsRequest, HeartbeatRequest, HeartbeatResponse, ManagerPeer, SessionMessage,
    SessionRequest, SignOffRequest, SignOffResponse, UpdateTaskStatusRequest, UpdateTaskStatusResponse,
};
use crate::model::{Assignment, AssignmentKey, Change, Node, NodeId, NodeState, TaskId, TaskStatus, is_data_path};
use crate::store::{Store, View};
use crate::streams::Streams;
use crate::surroundings::Surroundings;
use crate::wire::Caller;
use assignments::Sent;
use sessions::{Session, Sessions, change_node, period, set_state};
use status::Reports;
use tables::Tables;

/// Reports are collected this long before they are committed.
const COLLECT: Duration = Duration::from_millis(50);
/// Changes are collected this long before they are sent to a node.
const SETTLE: Duration = Duration::from_millis(50);
/// How often heartbeats are looked at, where nothing is due before.
const TURN: Duration = Duration::from_secs(1);
/// A loop that turns every second and was away so long has been stopped, or its machine has.
const STOPPED: Duration = Duration::from_secs(4);
/// Messages on their way to a node; a slower reader holds up only its own stream.
const STREAM_DEPTH: usize = 4;

/// The service; cheap to clone.
#[derive(Clone)]
pub(crate) struct Dispatcher {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    surroundings: Surroundings,
    stop: CancellationToken,
    sessions: Sessions,
    streams: Streams,
    reports: Reports,
    tables: Mutex<Arc<Tables>>,
}

impl Dispatcher {
    /// A dispatcher over `store`, for as long as this manager leads (until `stop`).
    pub(crate) fn new(store: Arc<dyn Store>, surroundings: Surroundings, stop: CancellationToken) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                stop,
                sessions: Sessions::new(surroundings.clone()),
                streams: Streams::new(surroundings.clock.clone()),
                surroundings,
                reports: Reports::default(),
                tables: Mutex::default(),
            }),
        }
    }

    /// Watches heartbeats and commits what the nodes report, until `stop`.
    pub(crate) async fn run(&self) {
        let shared = &self.shared;
        shared.meet_nodes().await;
        tokio::select! {
            () = shared.stop.cancelled() => {}
            () = shared.watch_heartbeats() => {}
            () = shared.commit_reports() => {}
        }
        shared.streams.stop().await;
    }
}

impl Shared {
    /// A new leader does not know who is alive: everybody who was has to show it.
    async fn meet_nodes(&self) {
        let view = self.store.view();
        let alive = |node: &&Arc<Node>| !node.is_down();
        let ids: Vec<&NodeId> = view.nodes().values().filter(alive).map(|node| &node.id).collect();
        self.sessions.expect(ids.iter().copied(), period(self.store.as_ref()));
        let now_ns = self.surroundings.clock.now_ns();
        for id in ids {
            let changed = change_node(self.store.as_ref(), id, |node| {
                if !self.sessions.is_present(id) && node.status.state == NodeState::Ready {
                    set_state(node, NodeState::Unknown, "the swarm has a new leader: waiting for the node", now_ns);
                }
            });
            if let Err(error) = changed.await {
                tracing::debug!(node.id = %id, error = crate::error::chain(&error), "node not marked as unknown");
            }
        }
    }

    async fn watch_heartbeats(&self) {
        let mut watch = self.store.watch();
        let clock = self.surroundings.clock.as_ref();
        let mut last = clock.instant();
        loop {
            if clock.instant().saturating_duration_since(last) > STOPPED {
                // This process stood still, not the nodes.
                self.sessions.extend(period(self.store.as_ref()));
            }
            last = clock.instant();
            let (expired, next) = self.sessions.expire();
            let now_ns = clock.now_ns();
            for id in expired {
                let changed = change_node(self.store.as_ref(), &id, |node| {
                    set_state(node, NodeState::Down, "heartbeat failure", now_ns);
                });
                match changed.await {
                    Ok(true) => tracing::info!(node.id = %id, "node is down"),
                    Ok(false) => self.sessions.forget(&id),
                    // No majority now; whoever leads next counts anew.
                    Err(error) => {
                        tracing::warn!(node.id = %id, error = crate::error::chain(&error), "node not marked as down");
                        self.sessions.expect(std::iter::once(&id), period(self.store.as_ref()));
                    }
                }
            }
            let left = next.map_or(TURN, |at| at.saturating_duration_since(clock.instant()).min(TURN));
            tokio::select! {
                () = clock.sleep(left) => {}
                changed = watch.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn commit_reports(&self) {
        loop {
            self.reports.arrived.notified().await;
            self.surroundings.clock.sleep(COLLECT).await;
            self.reports.flush(self.store.as_ref(), self.surroundings.clock.as_ref()).await;
        }
    }

    /// What of a node's reports is to be committed: a task that was removed meanwhile needs none.
    ///
    /// # Errors
    /// If one of the tasks is another node's.
    fn own_reports(
        &self,
        node: &NodeId,
        updates: impl Iterator<Item = (TaskId, Option<TaskStatus>)>,
    ) -> Result<Vec<(TaskId, TaskStatus)>, Status> {
        let view = self.store.view();
        let mut reports = Vec::new();
        for (id, status) in updates {
            let state = status.as_ref().map(|status| status.state);
            tracing::debug_span!("task", task.id = %id)
                .in_scope(|| tracing::debug!(node.id = %node, ?state, "its node reports"));
            match view.tasks().get(&id) {
                Some(task) if task.node_id != *node => {
                    return Err(Status::permission_denied(format!("task {id} is not assigned to node {node}")));
                }
                Some(_) => reports.extend(status.map(|status| (id, status))),
                None => {}
            }
        }
        Ok(reports)
    }

    /// The tables of the newest view, made once for all nodes.
    fn tables(&self, view: &View) -> Arc<Tables> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.version() != view.version() || view.version() == 0 {
            *tables = Arc::new(Tables::new(view));
        }
        tables.clone()
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Status::unauthenticated("a certificate of the swarm is needed"))
}

type MessageStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl api::dispatcher_server::Dispatcher for Dispatcher {
    type SessionStream = MessageStream<SessionMessage>;
    type AssignmentsStream = MessageStream<AssignmentsMessage>;

    async fn session(&self, request: Request<SessionRequest>) -> Result<Response<Self::SessionStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        if !request.data_path_addr.is_empty() && !is_data_path(&request.data_path_addr) {
            let addr = &request.data_path_addr;
            return Err(Status::invalid_argument(format!("data path address {addr:?} is not a node's IPv4 address")));
        }
        let store = self.shared.store.as_ref();
        if !store.view().nodes().contains_key(&caller.node_id) {
            return Err(Status::not_found(format!("node {} is not in the swarm: it was removed", caller.node_id)));
        }
        let session = self.shared.sessions.register(&caller.node_id, &self.shared.stop, period(store))?;
        let now_ns = self.shared.surroundings.clock.now_ns();
        let registered = change_node(store, &caller.node_id, |node| {
            set_state(node, NodeState::Ready, "", now_ns);
            if let Some(addr) = caller.addr {
                node.status.addr = addr.ip().to_string();
            }
            if request.description.is_some() {
                node.description.clone_from(&request.description);
            }
            if !request.data_path_addr.is_empty() {
                node.data_path_addr.clone_from(&request.data_path_addr);
            }
        });
        registered.await.map_err(|error| Status::unavailable(error.to_string()))?;
        tracing::info!(node.id = %caller.node_id, session.id, "node registered");
        let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
        let span = session.span(&caller.node_id);
        let sending = send_session(self.shared.clone(), caller.node_id, session, sender);
        self.shared.streams.spawn(sending.instrument(span));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        let caller = caller(&request)?;
        let period = period(self.shared.store.as_ref());
        self.shared.sessions.beat(&caller.node_id, &request.get_ref().session_id, period)?;
        let store = self.shared.store.as_ref();
        let now_ns = self.shared.surroundings.clock.now_ns();
        if store.view().nodes().get(&caller.node_id).is_some_and(|node| node.status.state != NodeState::Ready) {
            // A registration that found the node Ready wrote nothing, and so did not stop a new leader's doubt that
            // was on its way.
            let changed = change_node(store, &caller.node_id, |node| set_state(node, NodeState::Ready, "", now_ns));
            changed.await.map_err(|error| Status::unavailable(error.to_string()))?;
        }
        // Spread over time, or all nodes would call at once after a change of the leader.
        let next = period.mul_f64(self.shared.surroundings.chance.within(0.9..1.1));
        Ok(Response::new(HeartbeatResponse { period_ns: nanoseconds(next) }))
    }

    async fn assignments(
        &self,
        request: Request<AssignmentsRequest>,
    ) -> Result<Response<Self::AssignmentsStream>, Status> {
        let caller = caller(&request)?;
        let session = self.shared.sessions.get(&caller.node_id, &request.get_ref().session_id)?;
        let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
        let span = session.span(&caller.node_id);
        let sending = send_assignments(self.shared.clone(), caller.node_id, session, sender);
        self.shared.streams.spawn(sending.instrument(span));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn update_task_status(
        &self,
        request: Request<UpdateTaskStatusRequest>,
    ) -> Result<Response<UpdateTaskStatusResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        self.shared.sessions.get(&caller.node_id, &request.session_id)?;
        let updates = request.updates.into_iter().map(|update| {
            let status = update.status.map(TaskStatus::from);
            (TaskId::from(update.task_id), status)
        });
        let reports = self.shared.own_reports(&caller.node_id, updates)?;
        if !reports.is_empty() {
            let committed = self.shared.reports.add(reports);
            let not_leading = || Status::unavailable("this manager no longer leads");
            tokio::select! {
                () = self.shared.stop.cancelled() => return Err(not_leading()),
                outcome = committed => outcome.map_err(|_| not_leading())??,
            }
        }
        Ok(Response::new(UpdateTaskStatusResponse {}))
    }

    async fn sign_off(&self, request: Request<SignOffRequest>) -> Result<Response<SignOffResponse>, Status> {
        let caller = caller(&request)?;
        self.shared.sessions.forget(&caller.node_id);
        let now_ns = self.shared.surroundings.clock.now_ns();
        let changed = change_node(self.shared.store.as_ref(), &caller.node_id, |node| {
            set_state(node, NodeState::Down, "the node left the swarm", now_ns);
        });
        changed.await.map_err(|error| Status::unavailable(error.to_string()))?;
        tracing::info!(node.id = %caller.node_id, "node left");
        Ok(Response::new(SignOffResponse {}))
    }
}

fn session_message(view: &View, node_id: &NodeId, session: &Session) -> Option<SessionMessage> {
    let node = view.nodes().get(node_id)?;
    let managers = view.nodes().values().filter_map(|node| {
        let addr = node.manager_status.as_ref().map(|m| m.addr.clone()).filter(|addr| !addr.is_empty())?;
        Some(ManagerPeer { node_id: node.id.to_string(), addr })
    });
    let cluster = view.cluster();
    let mut node = api::Node::from(Node::clone(node));
    // What changes with every registration is no news to the node itself.
    node.meta = None;
    node.description = None;
    node.status = None;
    Some(SessionMessage {
        session_id: session.id.clone(),
        node: Some(node),
        managers: managers.collect(),
        root_ca_pem: cluster.and_then(|c| c.root_ca.as_ref()).map(|r| r.cert_pem.clone()).unwrap_or_default(),
        data_path_port: cluster.map_or(0, |c| c.data_path_port),
    })
}

/// Feeds a session stream: at once, and whenever something in the message changes.
async fn send_session(
    shared: Arc<Shared>,
    node_id: NodeId,
    session: Session,
    sender: mpsc::Sender<Result<SessionMessage, Status>>,
) {
    let mut watch = shared.store.watch();
    let mut last = None;
    loop {
        let view = watch.borrow_and_update().clone();
        let Some(message) = session_message(&view, &node_id, &session) else {
            shared.sessions.forget(&node_id);
            // The reader may be gone already.
            let _ = sender.send(Err(Status::not_found("the node was removed from the swarm"))).await;
            return;
        };
        if last.as_ref() != Some(&message) {
            if sender.send(Ok(message.clone())).await.is_err() {
                return;
            }
            last = Some(message);
        }
        if !next_view(&mut watch, &session, &sender).await {
            return;
        }
    }
}

/// Feeds an assignments stream: the complete set, then increments.
async fn send_assignments(
    shared: Arc<Shared>,
    node_id: NodeId,
    session: Session,
    sender: mpsc::Sender<Result<AssignmentsMessage, Status>>,
) {
    let mut watch = shared.store.watch();
    let mut sent = Sent::default();
    loop {
        let view = watch.borrow_and_update().clone();
        let wanted = tables::assignments(&view, &shared.tables(&view), &node_id);
        drop(view);
        if let Some(batch) = sent.advance(wanted) {
            for change in &batch.changes {
                let (task, remove) = match change {
                    Change::Put(Assignment::Task(task)) => (&task.id, false),
                    Change::Remove(AssignmentKey::Task(id)) => (id, true),
                    _ => continue,
                };
                tracing::debug_span!("task", task.id = %task).in_scope(|| tracing::debug!(remove, "sent to its node"));
            }
            if sender.send(Ok(batch.into())).await.is_err() {
                return;
            }
        }
        if !next_view(&mut watch, &session, &sender).await {
            return;
        }
        shared.surroundings.clock.sleep(SETTLE).await;
    }
}

/// Waits for a commit; false when the stream is over.
async fn next_view<T>(
    watch: &mut tokio::sync::watch::Receiver<Arc<View>>,
    session: &Session,
    sender: &mpsc::Sender<Result<T, Status>>,
) -> bool {
    tokio::select! {
        changed = watch.changed() => changed.is_ok(),
        () = sender.closed() => false,
        () = session.ended.cancelled() => {
            // A reader that is gone needs no reason.
            let _ = sender.try_send(Err(Status::aborted("the session has ended: register again")));
            false
        }
    }
}
