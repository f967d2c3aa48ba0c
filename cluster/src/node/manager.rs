//! A manager: raft, the port, and, while it leads, all the brains. Winning the leadership starts them, losing it stops
//! them. Nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use super::NodeError;
use super::bootstrap;
use super::gate::Gate;
use super::roles;
use super::state::{Files, State};
use crate::api::ca_server::CaServer;
use crate::api::control_server::ControlServer;
use crate::api::dispatcher_server::DispatcherServer;
use crate::api::log_broker_server::LogBrokerServer;
use crate::api::raft_membership_client::RaftMembershipClient;
use crate::api::raft_membership_server::RaftMembershipServer;
use crate::api::{JoinRaftRequest, StoreTransaction, object, store_action};
use crate::ca::CaService;
use crate::control::ControlService;
use crate::dispatcher::Dispatcher;
use crate::logs::LogBroker;
use crate::model::ManagerStatus;
use crate::raft::{MembershipService, RaftNode, RaftSettings};
use crate::store::{ProposeError, Store};
use crate::surroundings::Surroundings;
use crate::timing::Timing;
use crate::wire::{self, Managers, Peers, Tls};

/// What a manager is made of.
#[derive(Clone)]
pub(super) struct Parts {
    pub files: Files,
    pub state: State,
    pub tls: Arc<Tls>,
    pub peers: Arc<Peers>,
    pub managers: Arc<Managers>,
    pub timing: Timing,
    pub surroundings: Surroundings,
}

/// A running manager.
pub(super) struct Manager {
    raft: Arc<RaftNode>,
    gate: Gate,
    stop: CancellationToken,
    tasks: TaskTracker,
    parts: Parts,
    membership: watch::Sender<Membership>,
}

/// Whether this manager takes part in raft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Membership {
    /// Not yet: it is being added.
    Joining(String),
    /// It votes.
    Member,
    /// Its number was removed while it was away: it has to begin anew.
    Removed,
}

impl Manager {
    /// Starts raft and serves `listener`.
    ///
    /// # Errors
    /// If the manager's files cannot be used, or raft does not start.
    pub(super) async fn start(parts: Parts, listener: TcpListener) -> Result<Arc<Self>, NodeError> {
        let key = parts.files.disk_key()?;
        let first = bootstrap::load(&parts.files.bootstrap(), &key)?;
        let raft = RaftNode::start(RaftSettings {
            dir: parts.files.raft_dir(),
            key,
            node_id: parts.state.node_id.clone(),
            addr: parts.state.advertise_addr.clone(),
            peers: parts.peers.clone(),
            timing: parts.timing,
            surroundings: parts.surroundings.clone(),
            snapshot_interval: bootstrap::DEFAULT_SNAPSHOT_INTERVAL,
        })
        .await?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (leading_sender, leading) = watch::channel(None);
        let ca = CaService::new(raft.clone(), parts.surroundings.clone(), parts.files.root_pem()?);
        let here = Routes::new(CaServer::new(ca))
            .add_service(raft.service().into_server())
            .add_service(RaftMembershipServer::new(MembershipService::new(raft.clone())));
        let gate = Gate::new(raft.clone(), &parts, here.prepare(), leading);
        let initialized = first.is_some();
        if initialized {
            raft.initialize().await?;
        }
        let membership = watch::Sender::new(Membership::Joining(String::new()));
        tasks.spawn({
            let (parts, gate, stop) = (parts.clone(), gate.clone(), stop.clone());
            async move {
                let clock = parts.surroundings.clock;
                if let Err(error) = wire::serve(listener, parts.tls, parts.timing, clock, gate, stop).await {
                    tracing::error!(error = %crate::error::chain(&error), "the manager's port is no longer served");
                }
            }
        });
        let known = initialized || !raft.is_pristine();
        tasks.spawn(join_raft(raft.clone(), parts.clone(), known, membership.clone(), stop.clone()));
        tasks.spawn(lead(raft.clone(), parts.clone(), first, leading_sender, stop.clone()));
        Ok(Arc::new(Self { raft, gate, stop, tasks, parts, membership }))
    }

    /// The raft member, which is also the store.
    pub(super) fn raft(&self) -> &Arc<RaftNode> {
        &self.raft
    }

    /// The entrance to its services.
    pub(super) fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Whether it takes part yet.
    pub(super) fn membership(&self) -> watch::Receiver<Membership> {
        self.membership.subscribe()
    }

    /// Asks the leader again where it does not name this member as the node's: what raft itself has on disk here may be
    /// from before the node was demoted and promoted again.
    pub(super) async fn confirm(&self, named: Option<&ManagerStatus>) {
        let doubtful = named.is_none_or(|status| status.raft_id != self.raft.id());
        if !doubtful || *self.membership.borrow() != Membership::Member {
            return;
        }
        let asking = ask_to_join(&self.raft, &self.parts);
        let asked = self.parts.surroundings.clock.limit(self.parts.timing.request(), asking).await;
        if asked.is_ok_and(|answer| answer.is_err_and(|status| is_removed(&status))) {
            self.membership.send_replace(Membership::Removed);
        }
    }

    /// Stops everything and waits for it.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.raft.shutdown().await;
    }
}

/// Asks to be added until this member votes. One that was a member first waits for the others to tell it so.
async fn join_raft(
    raft: Arc<RaftNode>,
    parts: Parts,
    known: bool,
    membership: watch::Sender<Membership>,
    stop: CancellationToken,
) {
    let votes = || raft.members().iter().any(|member| member.raft_id == raft.id() && member.voter);
    let patience = if known { parts.timing.request() } else { Duration::ZERO };
    let clock = parts.surroundings.clock.clone();
    let begun = clock.instant();
    loop {
        if votes() {
            membership.send_replace(Membership::Member);
            return;
        }
        let patient = clock.instant().saturating_duration_since(begun) < patience;
        if !patient && let Err(status) = ask_to_join(&raft, &parts).await {
            if is_removed(&status) {
                membership.send_replace(Membership::Removed);
                return;
            }
            let reason = wire::explain(&status);
            tracing::warn!(reason, "not yet a member of raft");
            membership.send_replace(Membership::Joining(reason));
            parts.managers.failed();
        }
        let pause = if patient || votes() { 20 } else { 500 };
        // Cancel safe: both arms only wait.
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(parts.timing.scale(pause)) => {}
        }
    }
}

fn is_removed(status: &tonic::Status) -> bool {
    status.code() == tonic::Code::Aborted
}

async fn ask_to_join(raft: &RaftNode, parts: &Parts) -> Result<(), tonic::Status> {
    let channel = parts.managers.channel().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let mut request =
        tonic::Request::new(JoinRaftRequest { raft_id: raft.id(), addr: parts.state.advertise_addr.clone() });
    request.set_timeout(parts.timing.catch_up());
    let answer = RaftMembershipClient::new(channel).join_raft(request).await?.into_inner();
    let members = answer.members.into_iter();
    parts.managers.set(members.map(|m| crate::api::ManagerPeer { node_id: m.node_id, addr: m.addr }).collect());
    Ok(())
}

async fn lead(
    raft: Arc<RaftNode>,
    parts: Parts,
    mut first: Option<StoreTransaction>,
    routes: watch::Sender<Option<Routes>>,
    stop: CancellationToken,
) {
    let mut leadership = raft.leadership();
    loop {
        // Cancel safe: both arms only wait.
        tokio::select! {
            () = stop.cancelled() => return,
            won = leadership.wait_for(|now| now.leading) => if won.is_err() { return },
        }
        if let Err(error) = prepare(&raft, &parts, &mut first).await {
            tracing::warn!(error = crate::error::chain(&error), "won the leadership, but cannot use it yet");
            parts.surroundings.clock.sleep(parts.timing.scale(200)).await;
            continue;
        }
        tracing::info!("this manager leads");
        let term = stop.child_token();
        let brains = TaskTracker::new();
        routes.send_replace(Some(start_brains(&raft, &parts, &brains, &term)));
        // Cancel safe: both arms only wait.
        tokio::select! {
            () = stop.cancelled() => {}
            _ = leadership.wait_for(|now| !now.leading) => tracing::info!("this manager no longer leads"),
        }
        routes.send_replace(None);
        term.cancel();
        brains.close();
        brains.wait().await;
    }
}

/// Makes sure that the view is whole, and that the swarm's first objects are in it.
///
/// Whole means: what lies before an entry of this very term of office is applied. openraft lets a leader that was
/// restarted go on without an election, and then holds a state for current that has nothing of the log yet.
async fn prepare(
    raft: &Arc<RaftNode>,
    parts: &Parts,
    first: &mut Option<StoreTransaction>,
) -> Result<(), ProposeError> {
    raft.propose(Vec::new()).await?;
    if let Some(transaction) = first.clone() {
        for mut actions in bootstrap::missing(&raft.view(), transaction) {
            actions.iter_mut().for_each(|action| with_raft_id(action, &parts.state.node_id, raft.id()));
            raft.propose(actions).await?;
        }
        if let Err(error) = bootstrap::done(&parts.files.bootstrap()) {
            tracing::warn!(
                error = crate::error::chain(&error),
                "the first objects are committed, but their file stays"
            );
        }
        *first = None;
    }
    raft.settle().await.map_err(|error| ProposeError::Stopped(error.to_string()))
}

fn with_raft_id(action: &mut crate::api::StoreAction, node_id: &str, raft_id: u64) {
    if let Some(store_action::Action::Create(created)) = &mut action.action
        && let Some(object::Object::Node(node)) = &mut created.object
        && node.id == node_id
        && let Some(status) = &mut node.manager_status
    {
        status.raft_id = raft_id;
    }
}

fn start_brains(raft: &Arc<RaftNode>, parts: &Parts, tasks: &TaskTracker, stop: &CancellationToken) -> Routes {
    let store: Arc<dyn Store> = raft.clone();
    let given = || parts.surroundings.clone();
    let dispatcher = Dispatcher::new(store.clone(), given(), stop.clone());
    let logs = LogBroker::new(store.clone(), given(), stop.clone());
    let control =
        ControlService::new(store.clone(), Some(raft.clone()), logs.clone(), parts.timing, given(), stop.clone());
    tasks.spawn(crate::leader::run_leader(store.clone(), given(), stop.clone()));
    tasks.spawn(roles::run(raft.clone(), parts.timing, given().clock, stop.clone()));
    tasks.spawn(control.clone().run());
    tasks.spawn({
        let logs = logs.clone();
        async move { logs.run().await }
    });
    tasks.spawn({
        let dispatcher = dispatcher.clone();
        async move { dispatcher.run().await }
    });
    let root = parts.files.root_pem().unwrap_or_default();
    Routes::new(ControlServer::new(control).max_decoding_message_size(8 << 20))
        .add_service(DispatcherServer::new(dispatcher).max_decoding_message_size(8 << 20))
        .add_service(LogBrokerServer::new(logs).max_decoding_message_size(8 << 20))
        .add_service(CaServer::new(CaService::new(store, given(), root)))
        .add_service(RaftMembershipServer::new(MembershipService::new(raft.clone())))
        .prepare()
}
