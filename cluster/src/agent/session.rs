//! One session with the leader: registered, heart beating, assignments coming in, statuses going out. Ends with the
//! first of these that fails; the agent then makes another.

use std::future::Future;
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::AgentConfig;
use super::publisher;
use super::reporter::Reporter;
use super::worker::Worker;
use crate::api::dispatcher_client::DispatcherClient;
use crate::api::{AssignmentsRequest, HeartbeatRequest, SessionRequest, TaskStatusUpdate, UpdateTaskStatusRequest};
use crate::model::{NodeDescription, TaskId, TaskStatus};

/// Tables of a large swarm come in one message.
const MESSAGE_MAX: usize = 64 << 20;
/// The machine is looked at so often for changes that the managers should know.
const DESCRIBE: Duration = Duration::from_secs(20);
/// Longest wait for an answer, milliseconds before they are scaled.
const ANSWER_MS: u64 = 5000;
/// A heartbeat is not sent more often, whatever the managers say.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
/// Statuses in one call.
const REPORT_MAX: usize = 200;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// There is no way to a manager.
    #[error(transparent)]
    Connect(#[from] super::ConnectError),
    /// A manager refused, or the connection broke.
    #[error("{}", crate::wire::explain(.0))]
    Refused(Box<Status>),
    /// A manager did not answer.
    #[error("the manager did not answer {0} in time")]
    Timeout(&'static str),
    /// The stream ended.
    #[error("the manager ended the session")]
    Ended,
    /// Increments were lost.
    #[error(transparent)]
    OutOfSequence(#[from] super::assigned::OutOfSequence),
    /// The machine is not what was registered: register again.
    #[error("the node's description has changed")]
    Described,
}

impl From<Status> for SessionError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

async fn limited<T>(
    config: &AgentConfig,
    what: &'static str,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, SessionError> {
    match config.surroundings.clock.limit(config.timing.scale(ANSWER_MS), call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(SessionError::Timeout(what)),
    }
}

/// Runs until something fails. `registered` is called once the leader has taken the node in.
pub(super) async fn run(config: &AgentConfig, worker: &mut Worker, registered: impl FnOnce()) -> SessionError {
    match try_run(config, worker, registered).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn try_run(
    config: &AgentConfig,
    worker: &mut Worker,
    registered: impl FnOnce(),
) -> Result<std::convert::Infallible, SessionError> {
    let channel = config.managers.channel().await?;
    let mut client = DispatcherClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX);
    // A node that cannot describe itself is still a node.
    let description = config.executor.describe().await.ok();
    let request = SessionRequest {
        description: description.clone(),
        session_id: String::new(),
        data_path_addr: config.data_path_addr.clone(),
    };
    let mut session = limited(config, "the registration", client.session(Request::new(request))).await?;
    let first = config.surroundings.clock.limit(config.timing.scale(ANSWER_MS), session.message()).await;
    let first = first.map_err(|_| SessionError::Timeout("the registration"))??.ok_or(SessionError::Ended)?;
    let session_id = first.session_id.clone();
    tracing::info!(session.id = session_id, "registered with the leader");
    worker.set_data_path_port(first.data_path_port);
    config.session.send_replace(Some(first));
    registered();
    let shared = worker.shared().clone();
    shared.reporter.send_all_again();
    let request = AssignmentsRequest { session_id: session_id.clone() };
    let mut assignments = limited(config, "the request for assignments", client.assignments(request)).await?;
    let beating = heartbeat(config, client.clone(), session_id.clone());
    let reporting = report(config, client.clone(), session_id, &shared.reporter);
    let describing = watch_description(config, description);
    let publishing = publisher::run(
        channel,
        config.executor.clone(),
        worker.local().clone(),
        config.node_id.clone(),
        config.surroundings.clock.clone(),
    );
    tokio::pin!(beating, reporting, describing, publishing);
    loop {
        tokio::select! {
            error = &mut beating => return Err(error),
            error = &mut reporting => return Err(error),
            error = &mut describing => return Err(error),
            () = &mut publishing => return Err(SessionError::Ended),
            message = next(&mut session) => {
                let message = message?;
                worker.set_data_path_port(message.data_path_port);
                config.session.send_replace(Some(message));
            }
            message = next(&mut assignments) => worker.apply(message?.into())?,
        }
    }
}

/// Cancel-safe: polling a stream takes nothing unless it returns it.
async fn next<T>(stream: &mut Streaming<T>) -> Result<T, SessionError> {
    stream.message().await?.ok_or(SessionError::Ended)
}

async fn heartbeat(config: &AgentConfig, mut client: DispatcherClient<Channel>, session_id: String) -> SessionError {
    loop {
        let request = HeartbeatRequest { session_id: session_id.clone() };
        match limited(config, "a heartbeat", client.heartbeat(request)).await {
            Ok(answer) => {
                let period = Duration::from_nanos(answer.period_ns.unsigned_abs()).max(HEARTBEAT_MIN);
                config.surroundings.clock.sleep(period).await;
            }
            Err(error) => return error,
        }
    }
}

async fn report(
    config: &AgentConfig,
    mut client: DispatcherClient<Channel>,
    session_id: String,
    reporter: &Reporter,
) -> SessionError {
    loop {
        let waiting = reporter.waiting();
        if waiting.is_empty() {
            reporter.arrived.notified().await;
            continue;
        }
        for reports in waiting.chunks(REPORT_MAX) {
            let updates = reports.iter().map(written).collect();
            let request = UpdateTaskStatusRequest { session_id: session_id.clone(), updates };
            match limited(config, "a report", client.update_task_status(request)).await {
                Ok(_) => reporter.taken(reports),
                Err(error) => return error,
            }
        }
    }
}

fn written((id, status): &(TaskId, TaskStatus)) -> TaskStatusUpdate {
    TaskStatusUpdate { task_id: id.to_string(), status: Some(status.clone().into()) }
}

async fn watch_description(config: &AgentConfig, registered: Option<NodeDescription>) -> SessionError {
    loop {
        config.surroundings.clock.sleep(DESCRIBE).await;
        match config.executor.describe().await {
            Ok(now) if Some(&now) != registered.as_ref() => return SessionError::Described,
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the node cannot be described"),
        }
    }
}
