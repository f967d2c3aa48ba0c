//! The agent's unix socket: the node's own affairs, and the swarm's for those who sit at a manager.

use std::convert::Infallible;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use skep_common::ErrorKind;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tower::{Service, ServiceExt};
use tracing::Instrument;

use super::NodeError;
use super::active::Active;
use super::gate::request_span;
use super::layout::{context, make_dir};
use crate::api::local_server::{Local, LocalServer};
use crate::api::{
    InfoRequest, InfoResponse, InitRequest, InitResponse, JoinRequest, JoinResponse, LeaveRequest, LeaveResponse,
};
use crate::error::{Error, kind_of};
use crate::model::NodeRole;
use crate::surroundings::Clock;
use crate::wire::{Caller, Peer};

const NO_SWARM: &str = "This node is not a swarm manager. Use \"skep swarm init\" or \"skep swarm join\" to connect this \
                        node to swarm and try again.";
const NO_MANAGER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. \
                          Please run this command on a manager node or promote the current node to a manager.";

/// What answers under way get to go out when the agent ends.
const LAST_ANSWERS: Duration = Duration::from_millis(300);

type Waiting<T> = oneshot::Sender<Result<T, Status>>;

/// Where an answer goes; the one who asked may have hung up meanwhile.
#[derive(Clone)]
pub(super) struct Answer<T> {
    waiting: Arc<Mutex<Option<Waiting<T>>>>,
    /// Of the request.
    span: tracing::Span,
}

impl<T> Answer<T> {
    fn new() -> (Self, oneshot::Receiver<Result<T, Status>>) {
        let (sender, receiver) = oneshot::channel();
        let waiting = Arc::new(Mutex::new(Some(sender)));
        (Self { waiting, span: tracing::Span::current() }, receiver)
    }

    pub(super) fn send(&self, result: Result<T, NodeError>) {
        let sender = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            let _ = sender.send(result.map_err(|error| status(&error)));
        }
    }

    pub(super) fn fail(&self, error: &NodeError) {
        let sender = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            let _ = sender.send(Err(status(error)));
        }
    }
}

/// Who waits for a node that is being started.
#[derive(Clone)]
pub(super) enum Started {
    Init(Answer<InitResponse>),
    Join(Answer<JoinResponse>),
}

impl Started {
    pub(super) fn fail(&self, error: &NodeError) {
        match self {
            Self::Init(answer) => answer.fail(error),
            Self::Join(answer) => answer.fail(error),
        }
    }
}

impl From<Answer<InitResponse>> for Started {
    fn from(answer: Answer<InitResponse>) -> Self {
        Self::Init(answer)
    }
}

impl From<Answer<JoinResponse>> for Started {
    fn from(answer: Answer<JoinResponse>) -> Self {
        Self::Join(answer)
    }
}

/// What the node's owner is asked to do, one after the other.
pub(super) enum Command {
    Init { request: InitRequest, answer: Answer<InitResponse> },
    Join { request: JoinRequest, answer: Answer<JoinResponse> },
    Leave { force: bool, answer: Answer<LeaveResponse> },
}

impl Command {
    /// In which it is carried out: the request's.
    pub(super) fn span(&self) -> tracing::Span {
        match self {
            Self::Init { answer, .. } => answer.span.clone(),
            Self::Join { answer, .. } => answer.span.clone(),
            Self::Leave { answer, .. } => answer.span.clone(),
        }
    }
}

/// The service `Local`, and the way to the manager's services. Clones share everything.
#[derive(Clone)]
pub(super) struct LocalService {
    commands: mpsc::Sender<Command>,
    active: Arc<Mutex<Option<Arc<Active>>>>,
}

impl LocalService {
    pub(super) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands, active: Arc::default() }
    }

    /// The node is in a swarm, or no longer.
    pub(super) fn set_active(&self, active: Option<Arc<Active>>) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = active;
    }

    fn active(&self) -> Option<Arc<Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<Response<T>, Status> {
        let (answer, receiver) = Answer::new();
        let stopping = || Status::unavailable("the agent is stopping");
        self.commands.send(command(answer)).await.map_err(|_| stopping())?;
        receiver.await.map_err(|_| stopping())?.map(Response::new)
    }
}

/// The words with all their causes: they are what the user reads.
fn status(error: &NodeError) -> Status {
    Error::new(error.kind(), crate::error::chain(error)).into()
}

fn refused(kind: ErrorKind, words: &str) -> Status {
    Error::new(kind, words).into()
}

#[tonic::async_trait]
impl Local for LocalService {
    async fn info(&self, _request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(self.active().map(|active| active.info()).unwrap_or_default()))
    }

    async fn init(&self, request: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        self.ask(|answer| Command::Init { request: request.into_inner(), answer }).await
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        self.ask(|answer| Command::Join { request: request.into_inner(), answer }).await
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<LeaveResponse>, Status> {
        self.ask(|answer| Command::Leave { force: request.into_inner().force, answer }).await
    }
}

/// A manager that is being demoted may hear of it from the leader before it knows itself.
fn for_the_user(response: HttpResponse<Body>) -> Result<HttpResponse<Body>, Status> {
    match Status::from_header_map(response.headers()) {
        Some(status) if kind_of(&status) == ErrorKind::NotAManager => Err(refused(ErrorKind::NotAManager, NO_MANAGER)),
        _ => Ok(response),
    }
}

/// Serves the socket until `stop`. It exists when this returns; the returned future does the serving.
///
/// # Errors
/// If the socket cannot be made.
pub(super) fn serve(
    path: PathBuf,
    service: LocalService,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + Send, NodeError> {
    if let Some(directory) = path.parent() {
        make_dir(directory)?;
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(context("remove", &path)(error)),
        _ => {}
    }
    // Nobody can connect between the two calls who could not afterwards: the directory is ours alone.
    let listener = UnixListener::bind(&path).map_err(context("listen on", &path))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(context("protect", &path))?;
    let entrance = Entrance { routes: Routes::new(LocalServer::new(service.clone())).prepare(), service };
    Ok(async move {
        let serving = Server::builder().serve_with_incoming_shutdown(
            entrance,
            UnixListenerStream::new(listener),
            stop.clone().cancelled_owned(),
        );
        let ended = async {
            stop.cancelled().await;
            // An answer under way gets out; a client that watches something is cut off.
            clock.sleep(LAST_ANSWERS).await;
        };
        // Cancel safe: whatever is left undone ends with the process.
        tokio::select! {
            result = serving => if let Err(error) = result { tracing::error!(%error, "the control socket is no longer served") },
            () = ended => {}
        }
        let _ = std::fs::remove_file(&path);
    })
}

#[derive(Clone)]
struct Entrance {
    routes: Routes,
    service: LocalService,
}

impl Service<HttpRequest<Body>> for Entrance {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.handle(request).await.unwrap_or_else(|status| status.into_http())) })
    }
}

impl Entrance {
    async fn handle(self, mut request: HttpRequest<Body>) -> Result<HttpResponse<Body>, Status> {
        let path = request.uri().path();
        if path.starts_with("/skep.v1.Local/") {
            let span = request_span(&request);
            return match self.routes.oneshot(request).instrument(span).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            };
        }
        let attachment = path.ends_with("/CreateAttachment") || path.ends_with("/RemoveAttachment");
        let is_control = path.starts_with("/skep.v1.Control/");
        if !is_control {
            return Err(Status::unimplemented(format!("unknown method {path}")));
        }
        let active = self.service.active().ok_or_else(|| refused(ErrorKind::NotInSwarm, NO_SWARM))?;
        if let Some(mut gate) = active.gate() {
            // Who may open this socket is root on a manager.
            let caller = Caller { role: NodeRole::Manager, addr: None, ..active.identity() };
            request.extensions_mut().insert(Peer { caller: Some(caller), addr: None });
            return match gate.call(request).await {
                Ok(response) => for_the_user(response),
                Err(never) => match never {},
            };
        }
        if !attachment {
            return Err(refused(ErrorKind::NotAManager, NO_MANAGER));
        }
        let managers = active.managers();
        let channel = managers.channel().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let answer = channel.oneshot(request).await.map_err(|error| {
            managers.failed();
            Status::unavailable(crate::error::chain(&error))
        })?;
        Ok(answer.map(Body::new))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_user_on_a_node_that_was_demoted_reads_of_workers() {
        let refused = crate::error::status(Code::PermissionDenied, ErrorKind::NotAManager, "in whatever words");
        let told = for_the_user(refused.into_http()).err();
        assert_eq!(told.as_ref().map(Status::message), Some(NO_MANAGER));
        assert_eq!(told.as_ref().map(kind_of), Some(ErrorKind::NotAManager));
        let other = Status::permission_denied("node n was removed from the swarm");
        assert!(for_the_user(other.into_http()).is_ok());
        assert!(for_the_user(HttpResponse::new(Body::empty())).is_ok());
    }
}
