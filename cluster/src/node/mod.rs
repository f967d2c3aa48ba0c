//! The agent process of a machine: outside of any swarm until it is told to make or join one, then worker and, with
//! the role, manager.
//!
//! On disk, `ROOT/swarm/` is either wholly there or not at all: it is made and removed under another name.
//! `ROOT/swarm.lock` is held by the one agent that a root may have.

mod active;
mod admission;
mod bootstrap;
mod gate;
mod layout;
mod local;
mod manager;
mod roles;
mod setup;
mod state;

pub use layout::{is_joined, socket_path};

use std::path::PathBuf;
use std::sync::Arc;

use skep_common::ErrorKind;
use skep_common::files::FileError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::api::LeaveResponse;
use crate::executor::Executor;
use crate::surroundings::Surroundings;
use crate::timing::Timing;
use active::Active;
use layout::Layout;
use local::{Command, LocalService};

/// What the agent of a machine needs.
#[derive(Clone)]
pub struct NodeConfig {
    /// What survives a reboot; the node's state is in its `swarm/`.
    pub root: PathBuf,
    /// Sockets and pid files, in its `swarm/`.
    pub run_root: PathBuf,
    /// The machine.
    pub executor: Arc<dyn Executor>,
    /// End if no swarm is made or joined within 15 seconds, so that an interrupted `swarm init` leaves nothing behind.
    pub idle_exit: bool,
    /// Time limits.
    pub timing: Timing,
    /// Time and chance.
    pub surroundings: Surroundings,
}

/// Why the agent ended, or did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another agent works on the same root.
    #[error("another agent is running for {root}{}", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Running {
        /// The root.
        root: PathBuf,
        /// Its process, if known.
        pid: Option<i32>,
    },
    /// A file of the node could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of the node is not what was written.
    #[error("{path} is damaged: {reason}; leave the swarm with --force and join it again")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The raft member cannot run.
    #[error(transparent)]
    Raft(#[from] crate::raft::RaftError),
    /// Certificates.
    #[error(transparent)]
    Ca(#[from] crate::ca::CaError),
    /// Connections.
    #[error(transparent)]
    Wire(#[from] crate::wire::WireError),
    /// The unix socket cannot be served.
    #[error("cannot serve the control socket")]
    Socket(#[source] tonic::transport::Error),
    /// The machine cannot describe itself or be cleared.
    #[error(transparent)]
    Executor(#[from] crate::executor::ExecutorError),
    /// The state of the node does not allow it.
    #[error("{reason}")]
    Refused {
        /// Of what kind that is.
        kind: ErrorKind,
        /// What does not allow it.
        reason: String,
    },
}

impl From<FileError> for NodeError {
    fn from(FileError { action, path, source }: FileError) -> Self {
        Self::File { action, path, source }
    }
}

impl NodeError {
    fn refused(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self::Refused { kind, reason: reason.into() }
    }

    /// Of what kind it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::Ca(error) => error.kind(),
            Self::Wire(error) => error.kind(),
            Self::Running { .. } => ErrorKind::Conflict,
            Self::Executor(error) if error.is_retryable() => ErrorKind::Unavailable,
            Self::File { .. } | Self::Damaged { .. } | Self::Raft(_) | Self::Socket(_) | Self::Executor(_) => {
                ErrorKind::Internal
            }
        }
    }
}

/// Runs the agent of a machine until SIGTERM, SIGINT, or until the node has left its swarm. Containers stay.
///
/// # Errors
/// If another agent has the root, or the node's files or the socket cannot be used.
pub async fn run(config: NodeConfig) -> Result<(), NodeError> {
    let stop = CancellationToken::new();
    let signals = stop.clone();
    #[expect(clippy::disallowed_methods, reason = "aborted below")]
    let watcher = tokio::spawn(async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        // Cancel safe: both arms only wait.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        signals.cancel();
    });
    let result = run_until(config, stop).await;
    watcher.abort();
    result
}

/// [`run`], ended by `stop` instead of by signals.
///
/// # Errors
/// As [`run`].
pub async fn run_until(config: NodeConfig, stop: CancellationToken) -> Result<(), NodeError> {
    let layout = Layout::new(&config.root, &config.run_root);
    let _lock = layout.lock()?;
    layout.recover()?;
    let (commands, inbox) = mpsc::channel(8);
    let service = LocalService::new(commands);
    let (serving, clock) = (CancellationToken::new(), config.surroundings.clock.clone());
    #[expect(clippy::disallowed_methods, reason = "awaited below")]
    let server = tokio::spawn(local::serve(layout.socket(), service.clone(), clock, serving.clone())?);
    let outcome = Node { config, layout, service, inbox }.work(stop).await;
    serving.cancel();
    if let Err(error) = server.await {
        tracing::error!(%error, "the control socket's task failed");
    }
    outcome
}

struct Node {
    config: NodeConfig,
    layout: Layout,
    service: LocalService,
    inbox: mpsc::Receiver<Command>,
}

/// What became of a request that makes the node's state another one.
enum Next {
    Stay,
    Activate(Box<setup::Prepared>),
    Left,
}

impl Node {
    async fn work(mut self, stop: CancellationToken) -> Result<(), NodeError> {
        let mut active = match self.layout.is_joined() {
            true => Some(self.activate(None).await?),
            false => None,
        };
        // Who waits for an answer when the agent ends hears that it does.
        let mut answering = JoinSet::new();
        let mut idle = self.config.surroundings.clock.sleep(self.config.timing.idle());
        loop {
            // Cancel safe: a command is taken only when `recv` returns it, the rest only wait.
            let command = tokio::select! {
                () = stop.cancelled() => break,
                () = &mut idle, if self.config.idle_exit && active.is_none() => break,
                command = self.inbox.recv() => command,
            };
            let Some(command) = command else { break };
            let span = command.span();
            match self.execute(command, active.as_ref()).instrument(span).await {
                Next::Stay => {}
                Next::Activate(prepared) => {
                    let answer = prepared.answer.clone();
                    match self.activate(Some(*prepared)).await {
                        Ok(started) => {
                            answering.spawn(started.clone().answer_when_ready(answer));
                            active = Some(started);
                        }
                        Err(error) => answer.fail(&error),
                    }
                }
                Next::Left => return Ok(()),
            }
        }
        answering.shutdown().await;
        if let Some(active) = active {
            active.stop().await;
        }
        Ok(())
    }

    async fn activate(&self, prepared: Option<setup::Prepared>) -> Result<Arc<Active>, NodeError> {
        let listener = prepared.and_then(|prepared| prepared.listener);
        let active = Active::start(&self.config, &self.layout, listener).await?;
        self.service.set_active(Some(active.clone()));
        Ok(active)
    }

    async fn execute(&self, command: Command, active: Option<&Arc<Active>>) -> Next {
        match command {
            Command::Init { request, answer } => match active {
                Some(active) if request.force_new_cluster => {
                    answer.send(active.force_new_cluster().await);
                    Next::Stay
                }
                Some(_) => {
                    answer.fail(&setup::already_joined());
                    Next::Stay
                }
                None => self.prepared(setup::init(&self.config, &self.layout, request).await, answer.into()),
            },
            Command::Join { request, answer } => match active {
                Some(_) => {
                    answer.fail(&setup::already_joined());
                    Next::Stay
                }
                None => self.prepared(setup::join(&self.config, &self.layout, request).await, answer.into()),
            },
            Command::Leave { force, answer } => {
                let Some(active) = active else {
                    answer.fail(&NodeError::refused(ErrorKind::NotInSwarm, "This node is not part of a swarm"));
                    return Next::Stay;
                };
                match active.leave(force, &self.layout).await {
                    Ok(warning) => {
                        self.service.set_active(None);
                        answer.send(Ok(LeaveResponse { warning: warning.unwrap_or_default() }));
                        Next::Left
                    }
                    Err(error) => {
                        answer.fail(&error);
                        Next::Stay
                    }
                }
            }
        }
    }

    fn prepared(&self, outcome: Result<setup::Ready, NodeError>, answer: local::Started) -> Next {
        match outcome {
            Ok(ready) => Next::Activate(Box::new(setup::Prepared { listener: ready.listener, answer })),
            Err(error) => {
                answer.fail(&error);
                Next::Stay
            }
        }
    }
}
