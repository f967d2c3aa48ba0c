//! What containers have said, and what of it is asked for.

use super::{NodeId, ServiceId, TaskId};

/// Where a container wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was printed, nanoseconds since the epoch (the node's clock).
    pub timestamp_ns: i64,
    /// Where to.
    pub stream: LogStream,
    /// What, with the end of the line; without, it is only part of a line.
    pub data: Vec<u8>,
}

/// A line, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskLine {
    /// The task's service.
    pub service_id: ServiceId,
    /// Whose container said it.
    pub task_id: TaskId,
    /// Where that is.
    pub node_id: NodeId,
    /// What was said.
    pub line: LogLine,
}

/// What part of a container's output is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what comes, until the container ends.
    pub follow: bool,
    /// The last so many lines; `None` for all.
    pub tail: Option<u64>,
    /// Nothing before this time (ns since the epoch); 0 for all.
    pub since_ns: i64,
    /// Include standard output.
    pub stdout: bool,
    /// Include standard error.
    pub stderr: bool,
}

/// What a node is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogOrder {
    /// To send the output of some of its tasks.
    Read {
        /// Names the order in what the node answers.
        id: String,
        /// Whose.
        task_ids: Vec<TaskId>,
        /// Which part of it.
        options: LogOptions,
    },
    /// To stop sending: nobody reads any more.
    Close {
        /// The order's.
        id: String,
    },
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogAnswer {
    /// The order's.
    pub id: String,
    /// Some lines.
    pub lines: Vec<TaskLine>,
    /// These are the last: all was sent, or why something could not be read ("" if all was).
    pub end: Option<String>,
}
