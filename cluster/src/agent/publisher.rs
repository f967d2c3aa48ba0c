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
use tracing::Instrument;

use super::LocalTasks;
use crate::api::log_broker_client::LogBrokerClient;
use crate::api::{ListenSubscriptionsRequest, PublishLogsMessage};
use crate::executor::Executor;
use crate::model::{LogAnswer, LogOptions, LogOrder, NodeId, TaskId, TaskLine};
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
    node_id: NodeId,
}

/// Serves subscriptions as long as it is polled; never returns.
pub(super) async fn run(
    channel: Channel,
    executor: Arc<dyn Executor>,
    tasks: LocalTasks,
    node_id: NodeId,
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
    while let Some(order) = subscriptions.message().await? {
        while let Some(sent) = sending.try_join_next() {
            if let Ok(id) = sent {
                open.remove(&id);
            }
        }
        match LogOrder::from(order) {
            LogOrder::Close { id } => {
                if let Some(token) = open.remove(&id) {
                    token.cancel();
                }
            }
            LogOrder::Read { id, task_ids, options } => {
                let token = open.entry(id.clone()).or_default().clone();
                let publisher = publisher.clone();
                let span = tracing::info_span!("logs", subscription.id = id);
                let sent = async move {
                    token.run_until_cancelled_owned(publish(&publisher, &id, &task_ids, &options)).await;
                    id
                };
                sending.spawn(sent.instrument(span));
            }
        }
    }
    Ok(())
}

async fn publish(publisher: &Publisher, id: &str, task_ids: &[TaskId], options: &LogOptions) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    let mut client = publisher.client.clone();
    let mut sending = std::pin::pin!(client.publish_logs(ReceiverStream::new(receiver)));
    // Whoever does not take it any more ends the reading, also where nothing comes that could not be sent.
    let sent = tokio::select! {
        sent = &mut sending => sent,
        () = read(publisher, id, task_ids, options, sender) => sending.await,
    };
    if let Err(status) = sent {
        tracing::debug!(error = %status.message(), "logs not delivered");
    }
}

async fn read(
    publisher: &Publisher,
    id: &str,
    task_ids: &[TaskId],
    options: &LogOptions,
    sender: mpsc::Sender<PublishLogsMessage>,
) {
    let mut streams = Vec::new();
    for task in task_ids.iter().filter_map(|id| publisher.tasks.get(id)) {
        let node_id = publisher.node_id.clone();
        let stream = publisher.executor.controller(&task).logs(options);
        let named = stream.map(move |line| {
            let (service_id, task_id) = (task.service_id.clone(), task.id.clone());
            line.map(|line| TaskLine { service_id, task_id, node_id: node_id.clone(), line })
        });
        streams.push(named.boxed());
    }
    let answer = |lines, end| PublishLogsMessage::from(LogAnswer { id: id.to_owned(), lines, end });
    let mut error = String::new();
    let mut chunks = select_all(streams).ready_chunks(CHUNK);
    while let Some(chunk) = chunks.next().await {
        let mut lines = Vec::new();
        for line in chunk {
            match line {
                Ok(line) => lines.push(line),
                Err(reason) => error = reason.to_string(),
            }
        }
        if !lines.is_empty() && sender.send(answer(lines, None)).await.is_err() {
            return;
        }
    }
    // The call has ended if nobody takes it.
    let _ = sender.send(answer(Vec::new(), Some(error))).await;
}
