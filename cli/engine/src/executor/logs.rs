//! A task's output, as messages of the cluster.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use skep_cluster::api::{LogMessage, Task};
use skep_cluster::executor::{ExecutorError, LogOptions};
use skep_runtime::{LogEntry, LogStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Machine, of_runtime};
use crate::time::timestamp;

/// Lines that wait for a slow reader; the container's log file keeps the rest.
const QUEUE: usize = 256;

/// The stream; it ends with the log, or with the container when it is followed.
pub fn stream(
    machine: Arc<Machine>,
    task: Arc<Task>,
    options: LogOptions,
) -> BoxStream<'static, Result<LogMessage, ExecutorError>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&machine, &task, &options, &sender) {
            sender.blocking_send(Err(error)).ok();
        }
    });
    ReceiverStream::new(receiver).boxed()
}

fn send(
    machine: &Machine,
    task: &Task,
    options: &LogOptions,
    sender: &mpsc::Sender<Result<LogMessage, ExecutorError>>,
) -> Result<(), ExecutorError> {
    let Some(id) = machine.container_of(task)? else { return Ok(()) };
    let wanted = skep_runtime::LogOptions {
        follow: options.follow,
        since: timestamp(options.since_ns),
        until: None,
        tail: options.tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
        stdout: options.stdout,
        stderr: options.stderr,
    };
    for entry in machine.runtime.logs(&id, wanted).map_err(of_runtime)? {
        let message = message(task, entry.map_err(of_runtime)?);
        if sender.blocking_send(Ok(message)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn message(task: &Task, entry: LogEntry) -> LogMessage {
    LogMessage {
        service_id: task.service_id.clone(),
        task_id: task.id.clone(),
        node_id: task.node_id.clone(),
        timestamp_ns: nanoseconds(entry.time),
        stream: match entry.stream {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
        },
        data: entry.line,
    }
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}
