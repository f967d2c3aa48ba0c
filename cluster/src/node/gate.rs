//! In front of all services of a manager: lets in who may call, and passes on to the leader what only the leader
//! answers. Requests are passed on as they are, streams included.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full, Limited};
use skep_common::ErrorKind;
use tokio::sync::{Semaphore, watch};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::service::Routes;
use tower::{Service, ServiceExt};
use tracing::Instrument;

use super::admission::{CALLER, Call};
use super::manager::Parts;
use crate::error::Error;
use crate::raft::{Leadership, RaftNode};
use crate::store::Store;
use crate::surroundings::Clock;
use crate::timing::Timing;
use crate::wire::access::Place;
use crate::wire::{Peer, Peers};

/// The largest request of one message.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// The largest request of a node without a certificate.
const ANONYMOUS_BYTES_MAX: usize = 64 << 10;
/// Requests without a certificate at the same time.
const ANONYMOUS_MAX: usize = 256;
/// Docker's words for a lost quorum.
pub(super) const NO_LEADER: &str = "The swarm does not have a leader. It's possible that too few managers are online. \
                             Make sure more than half of the managers are online.";

/// The entrance. Clones share everything.
#[derive(Clone)]
pub(super) struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Arc<RaftNode>,
    peers: Arc<Peers>,
    timing: Timing,
    clock: Arc<dyn Clock>,
    /// Answered by every manager.
    here: Routes,
    /// Answered while this manager leads; `None` while it does not, or not yet.
    leading: watch::Receiver<Option<Routes>>,
    leadership: watch::Receiver<Leadership>,
    anonymous: Semaphore,
}

enum Leader {
    Here(Routes),
    There(String),
}

impl Gate {
    pub(super) fn new(
        raft: Arc<RaftNode>,
        parts: &Parts,
        here: Routes,
        leading: watch::Receiver<Option<Routes>>,
    ) -> Self {
        let leadership = raft.leadership();
        let anonymous = Semaphore::new(ANONYMOUS_MAX);
        let (peers, timing, clock) = (parts.peers.clone(), parts.timing, parts.surroundings.clock.clone());
        Self { inner: Arc::new(Inner { raft, peers, timing, clock, here, leading, leadership, anonymous }) }
    }
}

impl Service<Request<Body>> for Gate {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.inner.clone();
        let span = request_span(&request);
        let answer = async move { Ok(inner.handle(request).await.unwrap_or_else(|status| status.into_http())) };
        Box::pin(answer.instrument(span))
    }
}

/// In which a request is answered: what is called, and by whom.
pub(super) fn request_span(request: &Request<Body>) -> tracing::Span {
    let peer = request.extensions().get::<Peer>();
    let addr = peer.and_then(|peer| peer.addr).map(tracing::field::display);
    tracing::info_span!("request", method = request.uri().path(), peer.addr = addr, node.id = tracing::field::Empty)
}

impl Inner {
    async fn handle(&self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let call = Call::read(&mut request)?;
        if let Some(caller) = &call.caller {
            tracing::Span::current().record("node.id", caller.node_id.as_str());
        }
        call.admit(&self.raft).inspect_err(|status| call.refused(status))?;
        let _anonymous = match &call.caller {
            Some(caller) => {
                request.extensions_mut().insert(caller.clone());
                None
            }
            None => {
                let permit = self.anonymous.try_acquire().map_err(|_| too_many())?;
                let (parts, body) = request.into_parts();
                let body = self.collect(body, ANONYMOUS_BYTES_MAX).await?;
                request = Request::from_parts(parts, Body::new(Full::new(body)));
                Some(permit)
            }
        };
        if call.place == Place::Here {
            return run(self.here.clone(), request).await;
        }
        if !is_streamed(&call.path) {
            return self.deliver(request, &call).await;
        }
        match self.leader(call.passed_on, self.clock.instant() + self.timing.leader_wait()).await? {
            Leader::Here(routes) => self.answer(routes, request, &call).await,
            Leader::There(addr) => {
                request.headers_mut().insert(CALLER, call.header()?);
                self.pass_on(request, &addr).await.map_err(Undelivered::into_status)
            }
        }
    }

    /// Answers as the leader, if the caller is still what the certificate says.
    async fn answer(&self, routes: Routes, request: Request<Body>, call: &Call) -> Result<Response<Body>, Status> {
        call.admit_now(&self.raft.view()).inspect_err(|status| call.refused(status))?;
        run(routes, request).await
    }

    /// Delivers a request of one message. Until it has reached a leader it may be sent again, so that an election goes
    /// unnoticed.
    async fn deliver(&self, request: Request<Body>, call: &Call) -> Result<Response<Body>, Status> {
        let (mut parts, body) = request.into_parts();
        let body = self.collect(body, REQUEST_BYTES_MAX).await?;
        let deadline = self.clock.instant() + self.timing.leader_wait();
        loop {
            let found = self.leader(call.passed_on, deadline).await?;
            let body = Body::new(Full::new(body.clone()));
            let addr = match found {
                Leader::Here(routes) => return self.answer(routes, Request::from_parts(parts, body), call).await,
                Leader::There(addr) => addr,
            };
            parts.headers.insert(CALLER, call.header()?);
            match self.pass_on(Request::from_parts(parts.clone(), body), &addr).await {
                Ok(response) => return Ok(response),
                Err(Undelivered::Never) if self.clock.instant() < deadline => {
                    parts.headers.remove(CALLER);
                    self.clock.sleep(self.timing.scale(200)).await;
                }
                Err(error) => return Err(error.into_status()),
            }
        }
    }

    /// A whole request. Whoever sends it must get on with it: meanwhile it is held in memory.
    async fn collect(&self, body: Body, limit: usize) -> Result<Bytes, Status> {
        let collected = self.clock.limit(self.timing.request(), Limited::new(body, limit).collect()).await;
        let collected = collected.map_err(|_| Status::deadline_exceeded("the request did not arrive in time"))?;
        collected.map(Collected::to_bytes).map_err(|error| Status::resource_exhausted(error.to_string()))
    }

    /// Waits for a leader. A request that was passed on already is answered here or not at all.
    async fn leader(&self, only_here: bool, deadline: Instant) -> Result<Leader, Status> {
        let (mut leading, mut leadership) = (self.leading.clone(), self.leadership.clone());
        let wait = async {
            loop {
                if let Some(routes) = leading.borrow_and_update().clone() {
                    return Some(Leader::Here(routes));
                }
                let now = leadership.borrow_and_update().clone();
                if let Some(leader) = now.leader.filter(|_| !only_here && !now.leading) {
                    return Some(Leader::There(leader.addr));
                }
                // Cancel safe: both arms only wait.
                let changed = tokio::select! {
                    changed = leading.changed() => changed,
                    changed = leadership.changed() => changed,
                };
                changed.ok()?;
            }
        };
        let left = deadline.saturating_duration_since(self.clock.instant());
        let found = self.clock.limit(left, wait).await;
        found.ok().flatten().ok_or_else(no_leader)
    }

    async fn pass_on(&self, request: Request<Body>, addr: &str) -> Result<Response<Body>, Undelivered> {
        let channel = self.peers.channel(addr).map_err(|_| Undelivered::Never)?;
        let mut leadership = self.leadership.clone();
        let replaced =
            leadership.wait_for(|now| now.leading || now.leader.as_ref().is_some_and(|leader| leader.addr != addr));
        // Not cancel safe, nor meant to be: when another manager leads, the old one's answer may never come.
        let result = tokio::select! {
            result = channel.oneshot(request) => result,
            _ = replaced => {
                self.peers.forget(addr);
                return Err(Undelivered::Unknown);
            }
        };
        match result {
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) => {
                tracing::debug!(addr, error = %crate::error::chain(&error), "the leader cannot be reached");
                Err(if is_unconnected(&error) { Undelivered::Never } else { Undelivered::Unknown })
            }
        }
    }
}

/// A request that was passed on without getting an answer.
enum Undelivered {
    /// It did not reach anybody.
    Never,
    /// It may have been carried out.
    Unknown,
}

impl Undelivered {
    fn into_status(self) -> Status {
        no_leader()
    }
}

/// Calls whose requests or answers go on for as long as the caller likes: the nodes' own, which try again by themselves.
fn is_streamed(path: &str) -> bool {
    path.starts_with("/skep.v1.Dispatcher/") || path.starts_with("/skep.v1.LogBroker/")
}

fn is_unconnected(error: &tonic::transport::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<std::io::Error>() {
            return matches!(
                cause.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
            );
        }
        source = cause.source();
    }
    false
}

async fn run(routes: Routes, request: Request<Body>) -> Result<Response<Body>, Status> {
    match routes.oneshot(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

fn no_leader() -> Status {
    Error::new(ErrorKind::NoQuorum, NO_LEADER).into()
}

fn too_many() -> Status {
    Status::resource_exhausted("too many nodes without a certificate ask at once; try again in a few seconds")
}
