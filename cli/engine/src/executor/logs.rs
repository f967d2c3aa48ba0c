//! A task's output, as messages of the cluster.

use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use skep_cluster::api::{LogMessage, Task};
use skep_cluster::executor::{ExecutorError, LogOptions};
use skep_runtime::{LogEntry, LogReader, LogStream};

use super::{Machine, blocking, of_engine, of_runtime};
use crate::streams;
use crate::time::timestamp;

/// The stream; it ends with the log, or with the container when it is followed. Dropping it is all it takes to be rid of
/// a follower.
pub fn stream(
    machine: Arc<Machine>,
    task: Arc<Task>,
    options: LogOptions,
) -> BoxStream<'static, Result<LogMessage, ExecutorError>> {
    let opened = {
        let task = Arc::clone(&task);
        blocking(move || open(&machine, &task, &options))
    };
    let entries =
        stream::once(opened).map_ok(|reader| stream::iter(reader.map(streams::logs)).flatten().map_err(of_engine));
    entries.try_flatten().map_ok(move |entry| message(&task, entry)).boxed()
}

/// The log of a task's container, if there is one.
fn open(machine: &Machine, task: &Task, options: &LogOptions) -> Result<Option<LogReader>, ExecutorError> {
    let Some(id) = machine.container_of(task)? else { return Ok(None) };
    let wanted = skep_runtime::LogOptions {
        follow: options.follow,
        since: timestamp(options.since_ns),
        until: None,
        tail: options.tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
        stdout: options.stdout,
        stderr: options.stderr,
    };
    machine.runtime.logs(&id, wanted).map(Some).map_err(of_runtime)
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
