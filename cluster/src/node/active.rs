//! A node in a swarm: its worker always, its manager while it has the role, its certificate kept valid.

use std::sync::{Arc, Mutex, PoisonError};

use skep_common::ErrorKind;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::gate::Gate;
use super::layout::{Layout, context, remove_dir};
use super::local::Started;
use super::manager::{Manager, Membership, Parts};
use super::setup::bind;
use super::state::{Files, Manager as KnownManager, State};
use super::{NodeConfig, NodeError};
use crate::agent::{Agent, AgentConfig};
use crate::api::dispatcher_client::DispatcherClient;
use crate::api::{self, InfoResponse, InitResponse, JoinResponse, LocalState, SessionMessage};
use crate::ca::{self, Application, NodeKey};
use crate::error::chain;
use crate::model::NodeRole;
use crate::raft::RaftNode;
use crate::store::{Store, View};
use crate::surroundings::Clock;
use crate::wire::{Caller, Managers, Peers, Tls};

/// A node in a swarm.
pub(super) struct Active {
    config: NodeConfig,
    files: Files,
    state: Mutex<State>,
    tls: Arc<Tls>,
    peers: Arc<Peers>,
    managers: Arc<Managers>,
    manager: watch::Sender<Option<Arc<Manager>>>,
    session: watch::Sender<Option<SessionMessage>>,
    /// Why the worker has been without a session for some time.
    session_trouble: watch::Sender<Option<String>>,
    /// Why the node is not what its role asks for.
    error: Mutex<String>,
    /// Why it runs no tasks.
    worker_error: Mutex<String>,
    /// Held while the manager is being replaced by hand.
    replacing: tokio::sync::Mutex<()>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Active {
    /// Reads the node's files and starts what belongs to its role.
    ///
    /// # Errors
    /// If the node's files cannot be read. A manager that cannot run is no error here: the worker's part goes on.
    pub(super) async fn start(
        config: &NodeConfig,
        layout: &Layout,
        listener: Option<TcpListener>,
    ) -> Result<Arc<Self>, NodeError> {
        let files = Files::new(layout.swarm());
        let state = files.load_state()?;
        let tls = Arc::new(Tls::new(files.credentials(&config.surroundings.clock)?));
        let peers = Arc::new(Peers::new(tls.clone(), config.timing, config.surroundings.clock.clone()));
        let managers = Arc::new(Managers::new(peers.clone(), state.peers()));
        let active = Arc::new(Self {
            config: config.clone(),
            files,
            state: Mutex::new(state),
            tls,
            peers,
            managers,
            manager: watch::Sender::new(None),
            session: watch::Sender::new(None),
            session_trouble: watch::Sender::new(None),
            error: Mutex::default(),
            worker_error: Mutex::default(),
            replacing: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        if let Err(error) = active.heal().await {
            tracing::error!(error = %chain(&error), "the node's certificate cannot be used");
        }
        if active.role() == NodeRole::Manager
            && let Err(error) = active.start_manager(listener).await
        {
            // The worker's part goes on; the loop below tries again.
            tracing::error!(error = %chain(&error), "the manager cannot run");
            active.set_error(chain(&error));
        }
        active.start_worker();
        active.tasks.spawn(active.clone().follow_role());
        active.tasks.spawn(active.clone().keep_certificate());
        Ok(active)
    }

    /// Stops everything. Containers stay.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.stop_manager().await;
    }

    /// The entrance to the manager's services, if this node is one.
    pub(super) fn gate(&self) -> Option<Gate> {
        self.manager.borrow().as_ref().map(|manager| manager.gate())
    }

    /// Who this node is.
    pub(super) fn identity(&self) -> Caller {
        self.tls.current().identity.clone()
    }

    /// The way to the managers.
    pub(super) fn managers(&self) -> Arc<Managers> {
        self.managers.clone()
    }

    /// What `skep info` shows.
    pub(super) fn info(&self) -> InfoResponse {
        let state = self.state().clone();
        let manager = self.manager.borrow().clone();
        let certificate = self.certificate_trouble().unwrap_or_default();
        let errors = [certificate, get(&self.error), get(&self.worker_error)];
        let error = errors.into_iter().filter(|error| !error.is_empty()).collect::<Vec<_>>().join("; ");
        let joined = manager.as_ref().is_none_or(|m| *m.membership().borrow() == Membership::Member);
        let mut info = InfoResponse {
            node_id: state.node_id.clone(),
            node_addr: state.data_path_addr.clone(),
            cluster_id: state.cluster_id.clone(),
            control_available: manager.is_some(),
            managers: self.managers.known(),
            error,
            ..InfoResponse::default()
        };
        info.set_state(match (joined, info.error.is_empty()) {
            (_, false) => LocalState::Error,
            (true, true) => LocalState::Active,
            (false, true) => LocalState::Pending,
        });
        if info.error.is_empty() {
            info.error = self.session_trouble.borrow().clone().unwrap_or_default();
        }
        if let Some(manager) = manager {
            let view = manager.raft().view();
            let managers = view.nodes().values().filter(|node| node.role == NodeRole::Manager).count();
            info.is_leader = manager.raft().leadership().borrow().leading;
            info.node_count = u32::try_from(view.nodes().size()).unwrap_or(u32::MAX);
            info.manager_count = u32::try_from(managers).unwrap_or(u32::MAX);
            info.error = match &*manager.membership().borrow() {
                Membership::Joining(reason) if info.error.is_empty() && info.state() == LocalState::Pending => {
                    reason.clone()
                }
                _ => info.error,
            };
        }
        info
    }

    /// Answers an init or a join once the node has become what was asked for.
    pub(super) async fn answer_when_ready(self: Arc<Self>, answer: Started) {
        match answer {
            Started::Init(answer) => answer.send(self.wait_for_swarm().await),
            Started::Join(answer) => answer.send(self.wait_for_membership().await),
        }
    }

    async fn wait_for_swarm(&self) -> Result<InitResponse, NodeError> {
        let manager = self.manager.borrow().clone();
        let manager = manager.ok_or_else(|| NodeError::refused(ErrorKind::Internal, self.info().error))?;
        let mut views = manager.raft().watch();
        let ready = self.clock().limit(self.config.timing.request(), views.wait_for(|view| view.cluster().is_some()));
        // Not held on to: the guard of the watch would lock it while waiting below.
        let view = match ready.await {
            Ok(Ok(view)) => view.clone(),
            Ok(Err(_)) | Err(_) => {
                return Err(NodeError::refused(
                    ErrorKind::Timeout,
                    "the new swarm did not come up in time; see the agent's log",
                ));
            }
        };
        let _ = manager.membership().wait_for(|membership| *membership == Membership::Member).await;
        let root = view.cluster().and_then(|cluster| cluster.root_ca.clone());
        Ok(InitResponse {
            node_id: self.identity().node_id.into(),
            join_tokens: root.and_then(|root| root.join_tokens),
            manager_addr: self.state().advertise_addr.clone(),
        })
    }

    async fn wait_for_membership(&self) -> Result<JoinResponse, NodeError> {
        let identity = self.identity();
        let limit = self.config.timing.request() * 2;
        let arrived = async {
            if identity.role == NodeRole::Manager {
                let mut manager = self.manager.subscribe();
                let running = manager.wait_for(Option::is_some).await.ok()?.clone()?;
                running.membership().wait_for(|m| *m == Membership::Member).await.ok()?;
            }
            self.session.subscribe().wait_for(Option::is_some).await.ok()?;
            Some(())
        };
        if self.clock().limit(limit, arrived).await.ok().flatten().is_none() {
            return Err(NodeError::refused(
                ErrorKind::Timeout,
                "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. \
                 Use the \"skep info\" command to see the current swarm status of your node.",
            ));
        }
        Ok(JoinResponse { node_id: identity.node_id.into(), role: identity.role.into() })
    }

    /// Takes the node out of the swarm. A manager only with `force`; it tells the others if it can. Returns what is
    /// left for the user to do.
    ///
    /// # Errors
    /// If a manager would leave without `force`, or containers or files cannot be removed.
    pub(super) async fn leave(&self, force: bool, layout: &Layout) -> Result<Option<String>, NodeError> {
        let manager = self.manager.borrow().clone();
        let mut warning = None;
        if let Some(manager) = manager {
            if !force {
                return Err(NodeError::refused(ErrorKind::Conflict, refusal(manager.raft())));
            }
            if let Err(reason) = self.leave_raft(manager.raft()).await {
                tracing::warn!(reason, "left without telling the other managers");
                let id = self.identity().node_id;
                warning = Some(format!(
                    "the other managers do not know that this node left ({reason}): demote it there with \
                     \"skep node demote {id}\" and remove it with \"skep node rm {id}\""
                ));
            }
        }
        self.stop().await;
        self.sign_off().await;
        self.config.executor.leave().await?;
        layout.forget()?;
        Ok(warning)
    }

    /// Has the others send nothing more here before the containers go. Leaving works without it, too: then they wait
    /// for heartbeats.
    async fn sign_off(&self) {
        let asking = async {
            for _ in self.managers.known() {
                let channel = self.managers.channel().await.map_err(|error| error.to_string())?;
                match DispatcherClient::new(channel).sign_off(api::SignOffRequest {}).await {
                    Ok(_) => return Ok(()),
                    Err(status) => tracing::debug!(reason = crate::wire::explain(&status), "not signed off there"),
                }
                self.managers.failed();
            }
            Err("no manager answers".to_owned())
        };
        let asked = self.clock().limit(self.config.timing.scale(3000), asking).await;
        match asked.unwrap_or_else(|_| Err("no answer in time".into())) {
            Ok(()) => self.clock().sleep(crate::agent::DRAIN_DEFAULT).await,
            Err(reason) => tracing::info!(reason, "left without signing off"),
        }
    }

    async fn leave_raft(&self, raft: &Arc<RaftNode>) -> Result<(), String> {
        if raft.members().len() < 2 {
            return Ok(());
        }
        let timing = self.config.timing;
        let leaving = async {
            if raft.leadership().borrow().leading {
                raft.hand_over().await.map_err(|error| error.to_string())?;
            }
            let mut leadership = raft.leadership();
            let other = leadership.wait_for(|now| now.leader.as_ref().is_some_and(|l| l.raft_id != raft.id()));
            let other = self.clock().limit(timing.leader_wait(), other).await.map_err(|_| "there is no leader")?;
            let leader = other.map_err(|error| error.to_string())?.leader.clone();
            let addr = leader.map(|leader| leader.addr).unwrap_or_default();
            let channel = self.peers.channel(&addr).map_err(|error| error.to_string())?;
            let request = api::LeaveRaftRequest { node_id: self.identity().node_id.into() };
            let mut client = api::raft_membership_client::RaftMembershipClient::new(channel);
            client.leave_raft(request).await.map_err(|status| crate::wire::explain(&status))?;
            Ok::<(), String>(())
        };
        // Another leader first, then out of the voters and out of the members.
        let limit = timing.leader_wait() + timing.request() * 2;
        self.clock().limit(limit, leaving).await.unwrap_or_else(|_| Err("no answer in time".into()))
    }

    /// Makes a swarm of this manager alone out of what it knows: the way back from a lost majority.
    ///
    /// # Errors
    /// If the node is no manager, has never known the state, or cannot start with it.
    pub(super) async fn force_new_cluster(&self) -> Result<InitResponse, NodeError> {
        if self.role() != NodeRole::Manager {
            return Err(NodeError::refused(
                ErrorKind::NotAManager,
                "--force-new-cluster is for a manager; this node is a worker",
            ));
        }
        let _replacing = self.replacing.lock().await;
        self.stop_manager().await;
        // Without a majority nobody can tell which of the last entries were committed: all are kept.
        let view = crate::raft::last_known_view(&self.files.raft_dir(), self.files.disk_key()?)?;
        if view.cluster().is_none() {
            return Err(NodeError::refused(ErrorKind::Conflict, "this manager has never known the swarm's state"));
        }
        let first = super::bootstrap::surviving(
            &view,
            &self.identity().node_id,
            &self.state().advertise_addr,
            self.clock().now_ns(),
        );
        super::bootstrap::save(&self.files.bootstrap(), self.files.disk_key()?.as_ref(), &first)?;
        remove_dir(&self.files.raft_dir())?;
        self.start_manager(None).await?;
        self.wait_for_swarm().await
    }

    fn clock(&self) -> &dyn Clock {
        self.config.surroundings.clock.as_ref()
    }

    fn role(&self) -> NodeRole {
        self.tls.current().identity.role
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_error(&self, error: String) {
        set(&self.error, error);
    }

    fn start_worker(self: &Arc<Self>) {
        self.tasks.spawn(self.clone().work());
    }

    /// Runs the worker, and again after a while if it cannot run: a disk that is full today may not be tomorrow.
    async fn work(self: Arc<Self>) {
        let state = self.state().clone();
        let config = AgentConfig {
            node_id: state.node_id.into(),
            state_dir: self.files.worker_dir(),
            executor: self.config.executor.clone(),
            managers: self.managers.clone(),
            data_path_addr: state.data_path_addr,
            session: self.session.clone(),
            trouble: self.session_trouble.clone(),
            drain: crate::agent::DRAIN_DEFAULT,
            timing: self.config.timing,
            surroundings: self.config.surroundings.clone(),
        };
        while let Err(source) = Agent::new(config.clone()).run(self.stop.clone()).await {
            let error = context("use", &config.state_dir)(source);
            let reason = chain(&error);
            tracing::error!(error = reason, "the worker cannot run");
            set(&self.worker_error, reason);
            // Cancel safe: both arms only wait.
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.clock().sleep(self.config.timing.scale(5000)) => {}
            }
            set(&self.worker_error, String::new());
        }
    }

    async fn start_manager(&self, listener: Option<TcpListener>) -> Result<(), NodeError> {
        let state = self.state().clone();
        let listener = match listener {
            Some(listener) => listener,
            None => bind(&state.listen_addr).await?,
        };
        let parts = Parts {
            files: self.files.clone(),
            state,
            tls: self.tls.clone(),
            peers: self.peers.clone(),
            managers: self.managers.clone(),
            timing: self.config.timing,
            surroundings: self.config.surroundings.clone(),
        };
        let manager = Manager::start(parts, listener).await?;
        self.set_error(String::new());
        self.manager.send_replace(Some(manager));
        Ok(())
    }

    async fn stop_manager(&self) {
        let manager = self.manager.send_replace(None);
        if let Some(manager) = manager {
            manager.stop().await;
        }
    }

    /// Follows what the leader says of this node: its role, and who the managers are.
    async fn follow_role(self: Arc<Self>) {
        let mut session = self.session.subscribe();
        let mut delay = self.config.timing.scale(100);
        loop {
            let message = session.borrow_and_update().clone();
            let followed = match message {
                Some(message) => self.follow(&message).await,
                None => Ok(()),
            };
            match followed.and(self.supervise().await) {
                Ok(()) => {
                    self.set_error(String::new());
                    delay = self.config.timing.scale(100);
                }
                Err(error) => {
                    tracing::error!(error = %chain(&error), "the node is not what its role asks for");
                    self.set_error(chain(&error));
                    delay = (delay * 2).min(self.config.timing.scale(30_000));
                }
            }
            // Cancel safe: all arms only wait.
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = session.changed() => if changed.is_err() { return },
                () = self.clock().sleep(delay.max(self.config.timing.scale(1000))) => {}
            }
        }
    }

    async fn follow(&self, message: &SessionMessage) -> Result<(), NodeError> {
        if !message.managers.is_empty() {
            self.managers.set(message.managers.clone());
            let known: Vec<KnownManager> = message
                .managers
                .iter()
                .map(|m| KnownManager { node_id: m.node_id.clone(), addr: m.addr.clone() })
                .collect();
            let changed = {
                let mut state = self.state();
                let changed = state.managers != known;
                state.managers = known;
                changed.then(|| state.clone())
            };
            if let Some(state) = changed {
                self.files.save_state(&state)?;
            }
        }
        let wanted = message.node.as_ref().map(api::Node::role);
        if wanted.is_some_and(|role| role != self.role()) {
            self.renew().await?;
        }
        let manager = self.manager.borrow().clone();
        if let (Some(manager), Some(node)) = (manager, &message.node)
            && node.role() == NodeRole::Manager
        {
            manager.confirm(node.manager_status.as_ref()).await;
        }
        Ok(())
    }

    /// Makes the manager run or not run, as the certificate says; starts it again when it has failed.
    async fn supervise(&self) -> Result<(), NodeError> {
        let _replacing = self.replacing.lock().await;
        let manager = self.manager.borrow().clone();
        match (self.role(), manager) {
            (NodeRole::Manager, None) => {
                tracing::info!("starting as a manager");
                self.start_manager(None).await
            }
            (NodeRole::Worker, Some(_)) => {
                tracing::info!("no longer a manager");
                self.stop_manager().await;
                remove_dir(&self.files.raft_dir())
            }
            (NodeRole::Manager, Some(manager)) => {
                if *manager.membership().borrow() == Membership::Removed {
                    tracing::warn!("this manager was removed from raft while it was away; it joins as a new member");
                    self.stop_manager().await;
                    return remove_dir(&self.files.raft_dir());
                }
                let failed = manager.raft().leadership().borrow().failed.clone();
                if let Some(reason) = failed {
                    self.stop_manager().await;
                    return Err(NodeError::refused(ErrorKind::Internal, format!("raft has stopped: {reason}")));
                }
                Ok(())
            }
            (NodeRole::Worker, None) => Ok(()),
        }
    }

    async fn keep_certificate(self: Arc<Self>) {
        let mut credentials = self.tls.watch();
        loop {
            credentials.borrow_and_update();
            let due = match self
                .files
                .node_pem()
                .map_err(|e| e.to_string())
                .and_then(|pem| ca::validity(&pem).map_err(|e| e.to_string()))
            {
                Ok(validity) => ca::renewal_due(&validity, self.config.surroundings.chance.as_ref()),
                Err(reason) => {
                    tracing::error!(reason, "the node's certificate cannot be read");
                    self.clock().now() + self.config.timing.scale(60_000)
                }
            };
            // Cancel safe: all arms only wait.
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = credentials.changed() => if changed.is_err() { return } else { continue },
                () = self.clock().sleep_until(due) => {}
            }
            let renewed = match self.heal().await {
                Ok(true) => continue,
                Ok(false) => self.renew().await,
                Err(error) => Err(error),
            };
            if let Err(error) = renewed {
                tracing::warn!(error = %chain(&error), "the certificate is not renewed yet");
                // Cancel safe: both arms only wait.
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = self.clock().sleep(self.config.timing.scale(10_000)) => {}
                }
            }
        }
    }

    /// Gets a new certificate with the role that the leader has noted, and takes it into use.
    async fn renew(&self) -> Result<(), NodeError> {
        let key = NodeKey::generate()?;
        let channel = self.managers.channel().await?;
        let timing = self.config.timing;
        let asked = ca::request_certificate(channel, "the manager", &key, Application::default(), timing).await;
        let issued = asked.inspect_err(|_| self.managers.failed())?;
        ca::check_current(&issued.chain_pem, self.clock().now())?;
        self.take_certificate(&key, &issued.chain_pem)?;
        tracing::info!(role = issued.role.as_str_name(), "renewed the certificate");
        Ok(())
    }

    /// Makes a new certificate where the present one is not valid and this node is a manager: then nobody can be asked
    /// for one, but the root key is in its own state. False where there was nothing to do. Other nodes whose certificate
    /// has expired have to join again: whoever they are must be shown by a token.
    async fn heal(&self) -> Result<bool, NodeError> {
        let now = self.clock().now();
        if self.role() != NodeRole::Manager || ca::validity(&self.files.node_pem()?)?.contains(&now) {
            return Ok(false);
        }
        let manager = self.manager.borrow().clone();
        let view = match manager {
            Some(manager) => manager.raft().view(),
            None => Arc::new(self.view_on_disk()?),
        };
        let (key, chain) = ca::issue_own(&view, &self.identity().node_id, now)?;
        self.take_certificate(&key, &chain)?;
        tracing::warn!("the certificate was not valid: this manager has signed a new one for itself");
        Ok(true)
    }

    /// What this manager's files tell of the swarm, while raft does not run on them.
    fn view_on_disk(&self) -> Result<View, NodeError> {
        let key = self.files.disk_key()?;
        let mut view = match self.files.raft_dir() {
            dir if dir.exists() => crate::raft::last_known_view(&dir, key.clone())?,
            _ => View::default(),
        };
        // Killed before the first objects were committed.
        if view.cluster().is_none()
            && let Some(first) = super::bootstrap::load(&self.files.bootstrap(), &key)?
        {
            let applied = view.apply(&first, 1);
            applied.map_err(|error| NodeError::refused(ErrorKind::Internal, error.to_string()))?;
        }
        Ok(view)
    }

    fn take_certificate(&self, key: &NodeKey, chain_pem: &[u8]) -> Result<(), NodeError> {
        self.files.save_certificate(key, chain_pem)?;
        self.tls.replace(self.files.credentials(&self.config.surroundings.clock)?);
        self.peers.forget_all();
        Ok(())
    }

    fn certificate_trouble(&self) -> Option<String> {
        let now = self.clock().now();
        match self.files.node_pem().map_err(|error| chain(&error)) {
            Ok(pem) => match ca::validity(&pem) {
                Ok(validity) => ca::trouble(&validity, now),
                Err(error) => Some(chain(&error)),
            },
            Err(error) => Some(error),
        }
    }
}

fn set(text: &Mutex<String>, value: String) {
    *text.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

fn get(text: &Mutex<String>) -> String {
    text.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Docker's words for a manager that would leave.
fn refusal(raft: &RaftNode) -> String {
    let mut text = String::from("You are attempting to leave the swarm on a node that is participating as a manager. ");
    let members = raft.members();
    let voters = members.iter().filter(|member| member.voter);
    let all = voters.clone().count();
    let reachable = voters.filter(|member| raft.is_reachable(member.raft_id)).count();
    if raft.leadership().borrow().leader.is_none() {
        text.push_str("Doing so may lose the consensus of your cluster. ");
    } else if all <= 1 {
        text.push_str(
            "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ",
        );
        return text;
    } else if raft.leadership().borrow().leading && reachable <= (all - 1) / 2 + 1 {
        text.push_str(&format!(
            "Removing this node leaves {} managers out of {all}. Without a Raft quorum your swarm will be inaccessible. ",
            reachable.saturating_sub(1)
        ));
    }
    text.push_str(
        "The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. \
         Use `--force` to suppress this message.",
    );
    text
}
