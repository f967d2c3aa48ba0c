//! The leader's side: one stream to each node, on which each reader's subscriptions go out.
//!
//! A subscription is for some tasks on one node, as that node's agent listened when it was asked. When the agent goes
//! or listens anew, the subscription is over: a reader that follows makes another, from the last line on that it has.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use skep_common::ErrorKind;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::api::{self, ListenSubscriptionsRequest, PublishLogsMessage, PublishLogsResponse, SubscriptionMessage};
use crate::error::Error;
use crate::model::{LogAnswer, LogOptions, LogOrder, NodeId, TaskId, TaskLine, TaskState};
use crate::store::{Store, View};
use crate::streams::Streams;
use crate::surroundings::Surroundings;
use crate::wire::Caller;

/// Messages on their way to a reader; the nodes wait when it is slow.
const DEPTH: usize = 16;
/// Subscriptions on their way to a node.
const NODE_DEPTH: usize = 64;
/// How often it is looked whether asked nodes are still there.
const LOOK: Duration = Duration::from_secs(1);

type Output = mpsc::Sender<Result<Vec<TaskLine>, Error>>;
type NodeSender = mpsc::Sender<Result<SubscriptionMessage, Status>>;
/// Lines as they come, some at a time.
pub(crate) type Lines = BoxStream<'static, Result<Vec<TaskLine>, Error>>;

/// What became of a subscription.
struct Event {
    subscription: String,
    news: News,
}

enum News {
    Lines(Vec<TaskLine>),
    /// All was sent; the error, if something could not be read.
    Done(String),
    /// The node no longer sends, and has not said why.
    Broken,
}

/// A node's agent that waits for subscriptions.
#[derive(Clone)]
struct Listener {
    sender: NodeSender,
    /// Ends its stream, and with it all that its agent sends.
    cut: CancellationToken,
    /// Tells it from the node's earlier ones.
    number: u64,
}

/// The service; cheap to clone.
#[derive(Clone)]
pub(crate) struct LogBroker {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    surroundings: Surroundings,
    stop: CancellationToken,
    streams: Streams,
    nodes: Mutex<BTreeMap<NodeId, Listener>>,
    listeners: AtomicU64,
    /// By subscription.
    readers: Mutex<BTreeMap<String, mpsc::Sender<Event>>>,
}

impl LogBroker {
    /// A broker over `store`, for as long as this manager leads (until `stop`).
    pub(crate) fn new(store: Arc<dyn Store>, surroundings: Surroundings, stop: CancellationToken) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                stop,
                streams: Streams::new(surroundings.clock.clone()),
                surroundings,
                nodes: Mutex::default(),
                listeners: AtomicU64::default(),
                readers: Mutex::default(),
            }),
        }
    }

    /// Waits for `stop`, and then until nothing is read or fed any more.
    pub(crate) async fn run(&self) {
        self.shared.stop.cancelled().await;
        self.shared.streams.stop().await;
    }

    /// The output of a service or a task (by id), as it comes from the nodes. Ends when all have sent what they have;
    /// when it is followed, when the reader drops it or the service is gone.
    ///
    /// # Errors
    /// If there is no such service or task; an item, where a node's part is missing.
    pub(crate) fn service_logs(&self, target: &str, options: LogOptions) -> Result<Lines, Error> {
        let view = self.shared.store.view();
        if !view.services().contains_key(target) && !view.tasks().contains_key(target) {
            return Err(Error::not_found(format!("no such task or service: {target}")));
        }
        let (output, receiver) = mpsc::channel(DEPTH);
        let (events, event_receiver) = mpsc::channel(DEPTH);
        let reader = Reader {
            shared: self.shared.clone(),
            events,
            target: target.to_owned(),
            options,
            asked: BTreeSet::new(),
            open: BTreeMap::new(),
            last: BTreeMap::new(),
            missing: BTreeSet::new(),
        };
        self.shared.streams.spawn(reader.run(event_receiver, output));
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }
}

impl Shared {
    fn nodes(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Listener>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, mpsc::Sender<Event>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tasks on one node whose output is being sent.
struct Open {
    node: NodeId,
    listener: u64,
    task_ids: Vec<TaskId>,
}

/// One reader.
struct Reader {
    shared: Arc<Shared>,
    /// Where its subscriptions tell their news.
    events: mpsc::Sender<Event>,
    /// Id of a service or of a task.
    target: String,
    options: LogOptions,
    /// Tasks whose node was asked.
    asked: BTreeSet<TaskId>,
    /// By subscription.
    open: BTreeMap<String, Open>,
    /// Time of the last line of each task.
    last: BTreeMap<TaskId, i64>,
    /// Why something is missing.
    missing: BTreeSet<String>,
}

impl Reader {
    async fn run(mut self, mut events: mpsc::Receiver<Event>, output: Output) {
        let mut watch = self.shared.store.watch();
        let mut ended = None;
        loop {
            let view = watch.borrow_and_update().clone();
            let gone = self.ask(&view);
            drop(view);
            if self.open.is_empty() && (!self.options.follow || gone) {
                break;
            }
            tokio::select! {
                () = self.shared.stop.cancelled() => {
                    ended = Some("the swarm has another leader now: ask again");
                    break;
                }
                () = output.closed() => break,
                event = events.recv() => {
                    let Some(event) = event else { break };
                    if let Some(lines) = self.take(event)
                        && output.send(Ok(lines)).await.is_err()
                    {
                        break;
                    }
                }
                changed = watch.changed(), if self.options.follow => if changed.is_err() { break },
                () = self.shared.surroundings.clock.sleep(LOOK) => self.drop_lost(),
            }
        }
        self.close();
        let mut reasons: Vec<String> = self.missing.into_iter().collect();
        reasons.extend(ended.map(str::to_owned));
        if !reasons.is_empty() {
            let reason = format!("incomplete log stream: {}", reasons.join("; "));
            // The reader may have hung up.
            let _ = output.send(Err(Error::new(ErrorKind::Unavailable, reason))).await;
        }
    }

    /// Asks the nodes of tasks that were not asked for yet; true if what was asked for no longer exists.
    fn ask(&mut self, view: &View) -> bool {
        let target = self.target.as_str();
        let single = view.tasks().get(target);
        let mut wanted: BTreeMap<(NodeId, Option<i64>), Vec<TaskId>> = BTreeMap::new();
        for task in view.tasks_of_service(target).chain(single) {
            if task.state() >= TaskState::Assigned && !task.node_id.is_empty() && !self.asked.contains(&task.id) {
                let key = (task.node_id.clone(), self.last.get(&task.id).copied());
                wanted.entry(key).or_default().push(task.id.clone());
            }
        }
        let gone = single.is_none() && !view.services().contains_key(target);
        for ((node, last), task_ids) in wanted {
            let listener = self.shared.nodes().get(&node).cloned();
            if listener.is_some_and(|listener| self.subscribe(&node, &listener, last, &task_ids)) {
                self.asked.extend(task_ids);
            } else if !self.options.follow {
                self.asked.extend(task_ids);
                self.missing.insert(format!("node {node} is not available"));
            }
        }
        gone
    }

    /// Asks one node, from the line after `last` on if there was one; false if it does not listen.
    fn subscribe(&mut self, node: &NodeId, listener: &Listener, last: Option<i64>, task_ids: &[TaskId]) -> bool {
        let id = self.shared.surroundings.chance.id();
        let mut options = self.options.clone();
        if let Some(last) = last {
            (options.tail, options.since_ns) = (None, last.saturating_add(1));
        }
        let order = LogOrder::Read { id: id.clone(), task_ids: task_ids.to_vec(), options };
        self.shared.readers().insert(id.clone(), self.events.clone());
        if listener.sender.try_send(Ok(order.into())).is_err() {
            self.shared.readers().remove(&id);
            return false;
        }
        let open = Open { node: node.clone(), listener: listener.number, task_ids: task_ids.to_vec() };
        self.open.insert(id, open);
        true
    }

    /// The lines to pass on. What a subscription sends that is over comes again from the next one.
    fn take(&mut self, event: Event) -> Option<Vec<TaskLine>> {
        let node = self.open.get(&event.subscription)?.node.clone();
        match event.news {
            News::Lines(lines) => {
                for TaskLine { task_id, line, .. } in &lines {
                    let last = self.last.entry(task_id.clone()).or_insert(line.timestamp_ns);
                    *last = line.timestamp_ns.max(*last);
                }
                return Some(lines);
            }
            News::Done(error) => {
                if !error.is_empty() {
                    self.missing.insert(format!("node {node}: {error}"));
                }
                self.forget(&event.subscription);
            }
            News::Broken => self.lose(&event.subscription, "the node broke off"),
        }
        None
    }

    fn drop_lost(&mut self) {
        let lost: Vec<String> = {
            let nodes = self.shared.nodes();
            let listens =
                |open: &Open| nodes.get(&open.node).is_some_and(|l| l.number == open.listener && !l.sender.is_closed());
            self.open.iter().filter(|(_, open)| !listens(open)).map(|(id, _)| id.clone()).collect()
        };
        for id in lost {
            self.lose(&id, "it is not available");
        }
    }

    /// Its tasks are asked for again, if there is somebody to wait for them.
    fn lose(&mut self, subscription: &str, reason: &str) {
        let Some(open) = self.forget(subscription) else { return };
        if self.options.follow {
            self.asked.retain(|id| !open.task_ids.contains(id));
        } else {
            self.missing.insert(format!("node {}: {reason}", open.node));
        }
    }

    fn forget(&mut self, subscription: &str) -> Option<Open> {
        self.shared.readers().remove(subscription);
        self.open.remove(subscription)
    }

    fn close(&self) {
        for (id, open) in &self.open {
            self.shared.readers().remove(id);
            let order = LogOrder::Close { id: id.clone() };
            let mut nodes = self.shared.nodes();
            let has_it = |listener: &Listener| listener.sender.try_send(Ok(order.into())).is_ok();
            if !nodes.get(&open.node).is_none_or(has_it)
                && let Some(listener) = nodes.remove(&open.node)
            {
                // A task that says nothing would be followed for good: the node begins anew, with what is still read.
                listener.cut.cancel();
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
        let number = self.shared.listeners.fetch_add(1, Ordering::Relaxed);
        let cut = CancellationToken::new();
        let listener = Listener { sender: sender.clone(), cut: cut.clone(), number };
        self.shared.nodes().insert(caller.node_id, listener);
        let stop = self.shared.stop.clone();
        self.shared.streams.spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = cut.cancelled() => {}
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
        let mut unfinished = None;
        let outcome = self.relay(&caller.node_id, &mut stream, &mut unfinished).await;
        if let Some((subscription, events)) = unfinished {
            // The reader may be gone.
            let _ = events.send(Event { subscription, news: News::Broken }).await;
        }
        outcome.map(|()| Response::new(PublishLogsResponse {}))
    }
}

/// Returns when the reader of what is being sent is gone.
async fn abandoned(sent: &Option<(String, mpsc::Sender<Event>)>) {
    match sent {
        Some((_, events)) => events.closed().await,
        None => std::future::pending().await,
    }
}

impl LogBroker {
    /// Subscriptions that are read.
    #[cfg(test)]
    pub(crate) fn subscriptions(&self) -> usize {
        self.shared.readers().len()
    }

    async fn relay(
        &self,
        node: &NodeId,
        stream: &mut Streaming<PublishLogsMessage>,
        unfinished: &mut Option<(String, mpsc::Sender<Event>)>,
    ) -> Result<(), Status> {
        let gone = || Status::cancelled("nobody reads these logs any more");
        loop {
            let message = tokio::select! {
                () = self.shared.stop.cancelled() => return Err(Status::aborted("this manager no longer leads")),
                () = abandoned(unfinished) => return Err(gone()),
                message = stream.message() => message?,
            };
            let Some(message) = message else { return Ok(()) };
            let LogAnswer { id: subscription, mut lines, end } = message.into();
            let events = self.shared.readers().get(&subscription).cloned().ok_or_else(gone)?;
            unfinished.get_or_insert_with(|| (subscription.clone(), events.clone()));
            // A node speaks for its own tasks only.
            let view = self.shared.store.view();
            lines.retain(|line| view.tasks().get(&line.task_id).is_some_and(|task| task.node_id == *node));
            lines.iter_mut().for_each(|line| line.node_id = node.clone());
            if !lines.is_empty() {
                let event = Event { subscription: subscription.clone(), news: News::Lines(lines) };
                events.send(event).await.map_err(|_| gone())?;
            }
            if let Some(error) = end {
                *unfinished = None;
                let done = Event { subscription, news: News::Done(error) };
                events.send(done).await.map_err(|_| gone())?;
                return Ok(());
            }
        }
    }
}
