//! Output of this node's containers: hears which is asked for, and sends what there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select_all;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use super::LocalTasks;
use crate::api::log_broker_client::LogBrokerClient;
use crate::api::{self, ListenSubscriptionsRequest, LogMessage, PublishLogsMessage, SubscriptionMessage};
use crate::executor::{Executor, LogOptions};
use crate::model::Task;
use crate::surroundings::Clock;

const RETRY: Duration = Duration::from_secs(1);
/// Lines in one message.
const CHUNK: usize = 64;
/// Messages on their way to the leader; a container's reader waits when it is slow.
const DEPTH: usize = 8;

struct Publisher {
    client: LogBrokerClient<Channel>,
    executor: Arc<dyn Executor>,
    tasks: LocalTasks,
    node_id: String,
}

/// Serves subscriptions as long as it is polled; never returns.
pub(super) async fn run(
    channel: Channel,
    executor: Arc<dyn Executor>,
    tasks: LocalTasks,
    node_id: String,
    clock: Arc<dyn Clock>,
) {
    let publisher = Arc::new(Publisher { client: LogBrokerClient::new(channel), executor, tasks, node_id });
    loop {
        if let Err(status) = listen(&publisher).await {
            tracing::debug!(error = %status.message(), "not listening for log subscriptions");
        }
        clock.sleep(RETRY).await;
    }
}

async fn listen(publisher: &Arc<Publisher>) -> Result<(), Status> {
    let mut client = publisher.client.clone();
    let mut subscriptions = client.listen_subscriptions(ListenSubscriptionsRequest {}).await?.into_inner();
    // Dropped with this function, and with them all that is being sent.
    let mut sending = JoinSet::new();
    let mut open: BTreeMap<String, CancellationToken> = BTreeMap::new();
    while let Some(subscription) = subscriptions.message().await? {
        while let Some(sent) = sending.try_join_next() {
            if let Ok(id) = sent {
                open.remove(&id);
            }
        }
        if subscription.close {
            if let Some(token) = open.remove(&subscription.id) {
                token.cancel();
            }
        } else {
            let token = open.entry(subscription.id.clone()).or_default().clone();
            let (publisher, id) = (publisher.clone(), subscription.id.clone());
            sending.spawn(async move {
                token.run_until_cancelled_owned(publish(publisher, subscription)).await;
                id
            });
        }
    }
    Ok(())
}

async fn publish(publisher: Arc<Publisher>, subscription: SubscriptionMessage) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    let mut client = publisher.client.clone();
    let sending = client.publish_logs(ReceiverStream::new(receiver));
    let reading = read(&publisher, &subscription, sender);
    if let (Err(status), ()) = futures::join!(sending, reading) {
        tracing::debug!(subscription.id, error = %status.message(), "logs not delivered");
    }
}

async fn read(publisher: &Publisher, subscription: &SubscriptionMessage, sender: mpsc::Sender<PublishLogsMessage>) {
    let options = LogOptions {
        follow: subscription.follow,
        tail: u64::try_from(subscription.tail).ok(),
        since_ns: subscription.since_ns,
        stdout: subscription.stdout,
        stderr: subscription.stderr,
    };
    let mut streams = Vec::new();
    for task in subscription.task_ids.iter().filter_map(|id| publisher.tasks.get(id)) {
        let node_id = publisher.node_id.clone();
        let stream = publisher.executor.controller(&api::Task::from(Task::clone(&task))).logs(&options);
        let named = stream.map(move |message| {
            message.map(|message| LogMessage {
                service_id: task.service_id.to_string(),
                task_id: task.id.to_string(),
                node_id: node_id.clone(),
                ..message
            })
        });
        streams.push(named.boxed());
    }
    let message =
        |messages, done, error| PublishLogsMessage { subscription_id: subscription.id.clone(), messages, done, error };
    let mut error = String::new();
    let mut chunks = select_all(streams).ready_chunks(CHUNK);
    while let Some(chunk) = chunks.next().await {
        let mut messages = Vec::new();
        for line in chunk {
            match line {
                Ok(line) => messages.push(line),
                Err(reason) => error = reason.to_string(),
            }
        }
        if !messages.is_empty() && sender.send(message(messages, false, String::new())).await.is_err() {
            return;
        }
    }
    // The call has ended if nobody takes it.
    let _ = sender.send(message(Vec::new(), true, error)).await;
}
