//! A task's output, as the cluster has it.

use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use skep_cluster::executor::ExecutorError;
use skep_cluster::model::{LogLine, LogOptions, LogStream, Task};
use skep_runtime::{LogEntry, LogReader};

use super::{Machine, blocking, of_engine, of_runtime};
use crate::streams;
use crate::time::timestamp;

/// The stream; it ends with the log, or with the container when it is followed. Dropping it is all it takes to be rid of
/// a follower.
pub(super) fn stream(
    machine: Arc<Machine>,
    task: Arc<Task>,
    options: LogOptions,
) -> BoxStream<'static, Result<LogLine, ExecutorError>> {
    let opened = blocking(move || open(&machine, &task, &options));
    let entries =
        stream::once(opened).map_ok(|reader| stream::iter(reader.map(streams::logs)).flatten().map_err(of_engine));
    entries.try_flatten().map_ok(line).boxed()
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

fn line(entry: LogEntry) -> LogLine {
    let stream = match entry.stream {
        skep_runtime::LogStream::Stdout => LogStream::Stdout,
        skep_runtime::LogStream::Stderr => LogStream::Stderr,
    };
    LogLine { timestamp_ns: nanoseconds(entry.time), stream, data: entry.line }
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}
