//! The leader's side: one subscription for each reader, one stream to each node.

use crate::api::{
    self, ListenSubscriptionsRequest, LogMessage, PublishLogsMessage, PublishLogsResponse, ServiceLogsRequest,
    ServiceLogsResponse, SubscriptionMessage, TaskState,
};
use crate::orchestrator::slots::state;
use crate::store::{Store, View};
use crate::wire::Caller;
use futures::stream::BoxStream;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// Messages on their way to a reader; the nodes wait when it is slow.
const DEPTH: usize = 16;
/// Subscriptions on their way to a node.
const NODE_DEPTH: usize = 64;
/// How often it is looked whether asked nodes are still there.
const LOOK: Duration = Duration::from_secs(1);

type Output = mpsc::Sender<Result<ServiceLogsResponse, Status>>;
type NodeSender = mpsc::Sender<Result<SubscriptionMessage, Status>>;

enum Event {
    Lines(Vec<LogMessage>),
    Done { node: String, error: String },
}

/// The service; cheap to clone.
#[derive(Clone)]
pub struct LogBroker {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    stop: CancellationToken,
    nodes: Mutex<BTreeMap<String, NodeSender>>,
    readers: Mutex<BTreeMap<String, mpsc::Sender<Event>>>,
}

impl LogBroker {
    /// A broker over `store`, for as long as this manager leads (until `stop`).
    pub fn new(store: Arc<dyn Store>, stop: CancellationToken) -> Self {
        Self { shared: Arc::new(Shared { store, stop, nodes: Mutex::default(), readers: Mutex::default() }) }
    }

    /// The output of a service or a task (`request.ref` is its id), as it comes from the nodes. Ends when all have
    /// sent what they have; with `follow`, when the reader drops it or the service is gone.
    pub fn service_logs(
        &self,
        request: ServiceLogsRequest,
    ) -> Result<BoxStream<'static, Result<ServiceLogsResponse, Status>>, Status> {
        let view = self.shared.store.view();
        if !view.services().contains_key(&request.r#ref) && !view.tasks().contains_key(&request.r#ref) {
            return Err(Status::not_found(format!("no such task or service: {}", request.r#ref)));
        }
        let (output, receiver) = mpsc::channel(DEPTH);
        let (events, event_receiver) = mpsc::channel(DEPTH);
        let id = crate::id::new_id();
        self.shared.readers().insert(id.clone(), events);
        let reader = Reader {
            shared: self.shared.clone(),
            id,
            request,
            asked: BTreeSet::new(),
            open: BTreeMap::new(),
            missing: BTreeSet::new(),
        };
        tokio::spawn(reader.run(event_receiver, output));
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }
}

impl Shared {
    fn nodes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, NodeSender>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, mpsc::Sender<Event>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader's subscription.
struct Reader {
    shared: Arc<Shared>,
    id: String,
    request: ServiceLogsRequest,
    /// Tasks whose node was asked.
    asked: BTreeSet<String>,
    /// Requests to each node that it has not completed.
    open: BTreeMap<String, usize>,
    /// Why something is missing.
    missing: BTreeSet<String>,
}

impl Reader {
    async fn run(mut self, mut events: mpsc::Receiver<Event>, output: Output) {
        let mut watch = self.shared.store.watch();
        loop {
            let view = watch.borrow_and_update().clone();
            let gone = self.ask(&view);
            drop(view);
            if self.open.is_empty() && (!self.request.follow || gone) {
                break;
            }
            tokio::select! {
                () = self.shared.stop.cancelled() => break,
                () = output.closed() => break,
                event = events.recv() => match event {
                    Some(Event::Lines(messages)) => {
                        if output.send(Ok(ServiceLogsResponse { messages })).await.is_err() {
                            break;
                        }
                    }
                    Some(Event::Done { node, error }) => self.done(&node, error),
                    None => break,
                },
                changed = watch.changed(), if self.request.follow => if changed.is_err() { break },
                () = sleep(LOOK) => self.drop_lost_nodes(),
            }
        }
        self.close();
        if !self.missing.is_empty() {
            let reasons: Vec<String> = self.missing.into_iter().collect();
            let reason = format!("incomplete log stream: {}", reasons.join("; "));
            // The reader may have hung up.
            let _ = output.send(Err(Status::unavailable(reason))).await;
        }
    }

    /// Asks the nodes of tasks that were not asked for yet; true if what was asked for no longer exists.
    fn ask(&mut self, view: &View) -> bool {
        let target = self.request.r#ref.as_str();
        let single = view.tasks().get(target);
        let mut by_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for task in view.tasks_of_service(target).chain(single) {
            if state(task) >= TaskState::Assigned && !task.node_id.is_empty() && !self.asked.contains(&task.id) {
                by_node.entry(task.node_id.clone()).or_default().push(task.id.clone());
            }
        }
        for (node, task_ids) in by_node {
            let message = SubscriptionMessage {
                id: self.id.clone(),
                task_ids: task_ids.clone(),
                follow: self.request.follow,
                tail: self.request.tail,
                since_ns: self.request.since_ns,
                stdout: self.request.stdout,
                stderr: self.request.stderr,
                close: false,
            };
            let sender = self.shared.nodes().get(&node).cloned();
            if sender.is_some_and(|sender| sender.try_send(Ok(message)).is_ok()) {
                self.asked.extend(task_ids);
                *self.open.entry(node).or_default() += 1;
            } else if !self.request.follow {
                self.asked.extend(task_ids);
                self.missing.insert(format!("node {node} is not available"));
            }
        }
        single.is_none() && !view.services().contains_key(target)
    }

    fn done(&mut self, node: &str, error: String) {
        if !error.is_empty() {
            self.missing.insert(format!("node {node}: {error}"));
        }
        if let Some(count) = self.open.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(node);
            }
        }
    }

    fn drop_lost_nodes(&mut self) {
        let lost: Vec<String> = {
            let nodes = self.shared.nodes();
            self.open.keys().filter(|node| nodes.get(*node).is_none_or(|s| s.is_closed())).cloned().collect()
        };
        for node in lost {
            self.open.remove(&node);
            self.missing.insert(format!("node {node} is not available"));
        }
    }

    fn close(&self) {
        self.shared.readers().remove(&self.id);
        let message = SubscriptionMessage { id: self.id.clone(), close: true, ..SubscriptionMessage::default() };
        for node in self.open.keys() {
            if let Some(sender) = self.shared.nodes().get(node) {
                // A full queue: the node finds the reader gone when it sends.
                let _ = sender.try_send(Ok(message.clone()));
            }
        }
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Status::unauthenticated("a certificate of the swarm is needed"))
}

type MessageStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl api::log_broker_server::LogBroker for LogBroker {
    type ListenSubscriptionsStream = MessageStream<SubscriptionMessage>;

    async fn listen_subscriptions(
        &self,
        request: Request<ListenSubscriptionsRequest>,
    ) -> Result<Response<Self::ListenSubscriptionsStream>, Status> {
        let caller = caller(&request)?;
        let (sender, receiver) = mpsc::channel(NODE_DEPTH);
        self.shared.nodes().insert(caller.node_id, sender.clone());
        let stop = self.shared.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = stop.cancelled() => {
                    // A stream that is full or gone ends anyway.
                    let _ = sender.try_send(Err(Status::aborted("this manager no longer leads")));
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn publish_logs(
        &self,
        request: Request<Streaming<PublishLogsMessage>>,
    ) -> Result<Response<PublishLogsResponse>, Status> {
        let caller = caller(&request)?;
        let mut stream = request.into_inner();
        let mut subscription = None;
        let outcome = self.relay(&caller.node_id, &mut stream, &mut subscription).await;
        if let Some((events, finished)) = subscription
            && !finished
        {
            let error = "the node broke off".to_owned();
            // The reader may be gone.
            let _ = events.send(Event::Done { node: caller.node_id, error }).await;
        }
        outcome.map(|()| Response::new(PublishLogsResponse {}))
    }
}

impl LogBroker {
    async fn relay(
        &self,
        node: &str,
        stream: &mut Streaming<PublishLogsMessage>,
        subscription: &mut Option<(mpsc::Sender<Event>, bool)>,
    ) -> Result<(), Status> {
        let gone = || Status::cancelled("nobody reads these logs any more");
        loop {
            let message = tokio::select! {
                () = self.shared.stop.cancelled() => return Err(Status::aborted("this manager no longer leads")),
                message = stream.message() => message?,
            };
            let Some(message) = message else { return Ok(()) };
            let events = self.shared.readers().get(&message.subscription_id).cloned().ok_or_else(gone)?;
            let (_, finished) = subscription.get_or_insert_with(|| (events.clone(), false));
            // A node speaks for its own tasks only.
            let view = self.shared.store.view();
            let mut lines = message.messages;
            lines.retain(|line| view.tasks().get(&line.task_id).is_some_and(|task| task.node_id == node));
            lines.iter_mut().for_each(|line| node.clone_into(&mut line.node_id));
            if !lines.is_empty() {
                events.send(Event::Lines(lines)).await.map_err(|_| gone())?;
            }
            if message.done {
                *finished = true;
                let done = Event::Done { node: node.to_owned(), error: message.error };
                events.send(done).await.map_err(|_| gone())?;
                return Ok(());
            }
        }
    }
}
