//! The output of a service's tasks, from all nodes, as a stream.

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use skep_cluster::api::{LogMessage, ServiceLogsRequest, ServiceLogsResponse};
use skep_runtime::LogStream;

use crate::error::{Error, Result};
use crate::swarm::{Swarm, unless_missing};
use crate::time::timestamp;

/// Which part of the output is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadServiceLogs {
    /// Go on with what comes, until the tasks end.
    pub follow: bool,
    /// So many lines from the end of each task's; `None`: all.
    pub tail: Option<u64>,
    /// Nothing that is older.
    pub since: Option<Timestamp>,
}

/// A line, or what was written of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceLogLine {
    /// Of which service.
    pub service_id: String,
    /// Of which task.
    pub task_id: String,
    /// From which node.
    pub node_id: String,
    /// When it was written, by that node's clock.
    pub time: Option<Timestamp>,
    /// Where to.
    pub stream: LogStream,
    /// With its newline, where it has one.
    pub line: Vec<u8>,
}

/// Lines of a service or a task as they come; dropped, nobody sends any more.
pub type ServiceLogs = BoxStream<'static, Result<ServiceLogLine>>;

impl Swarm {
    /// The output of a service or of one task. It ends with what there is, or with the tasks when it is followed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn service_logs(&self, name: &str, asked: &ReadServiceLogs) -> Result<ServiceLogs> {
        let request = ServiceLogsRequest {
            r#ref: name.to_owned(),
            follow: asked.follow,
            tail: asked.tail.map_or(-1, |lines| i64::try_from(lines).unwrap_or(i64::MAX)),
            since_ns: asked.since.map_or(0, |time| i64::try_from(time.as_nanosecond()).unwrap_or(0)),
            stdout: true,
            stderr: true,
        };
        let parts = self.client().service_logs(request).await;
        let parts = parts.map_err(|error| unless_missing(error, || format!("no such task or service: {name}")))?;
        let lines = |part: ServiceLogsResponse| stream::iter(part.messages.into_iter().map(|line| Ok(shape(line))));
        Ok(parts.map_err(Error::from).map_ok(lines).try_flatten().boxed())
    }
}

fn shape(message: LogMessage) -> ServiceLogLine {
    ServiceLogLine {
        service_id: message.service_id,
        task_id: message.task_id,
        node_id: message.node_id,
        time: timestamp(message.timestamp_ns),
        stream: if message.stream == 2 { LogStream::Stderr } else { LogStream::Stdout },
        line: message.data,
    }
}
