//! Lines of containers, and what of them is asked for.

use super::super::{LogAnswer, LogLine, LogOptions, LogOrder, LogStream, TaskId, TaskLine};
use crate::api;

/// As a line of standard error is told from others.
const STDERR: u32 = 2;
const STDOUT: u32 = 1;
/// Of a number of lines: all.
const ALL: i64 = -1;

fn tail(lines: Option<u64>) -> i64 {
    lines.map_or(ALL, |lines| i64::try_from(lines).unwrap_or(i64::MAX))
}

impl From<TaskLine> for api::LogMessage {
    fn from(given: TaskLine) -> Self {
        Self {
            service_id: given.service_id.into(),
            task_id: given.task_id.into(),
            node_id: given.node_id.into(),
            timestamp_ns: given.line.timestamp_ns,
            stream: match given.line.stream {
                LogStream::Stdout => STDOUT,
                LogStream::Stderr => STDERR,
            },
            data: given.line.data,
        }
    }
}

impl From<api::LogMessage> for TaskLine {
    fn from(given: api::LogMessage) -> Self {
        let stream = if given.stream == STDERR { LogStream::Stderr } else { LogStream::Stdout };
        Self {
            service_id: given.service_id.into(),
            task_id: given.task_id.into(),
            node_id: given.node_id.into(),
            line: LogLine { timestamp_ns: given.timestamp_ns, stream, data: given.data },
        }
    }
}

impl From<&api::ServiceLogsRequest> for LogOptions {
    fn from(given: &api::ServiceLogsRequest) -> Self {
        Self {
            follow: given.follow,
            tail: u64::try_from(given.tail).ok(),
            since_ns: given.since_ns,
            stdout: given.stdout,
            stderr: given.stderr,
        }
    }
}

impl From<LogOrder> for api::SubscriptionMessage {
    fn from(given: LogOrder) -> Self {
        match given {
            LogOrder::Read { id, task_ids, options } => Self {
                id,
                task_ids: task_ids.into_iter().map(String::from).collect(),
                follow: options.follow,
                tail: tail(options.tail),
                since_ns: options.since_ns,
                stdout: options.stdout,
                stderr: options.stderr,
                close: false,
            },
            LogOrder::Close { id } => Self { id, close: true, ..Self::default() },
        }
    }
}

impl From<api::SubscriptionMessage> for LogOrder {
    fn from(given: api::SubscriptionMessage) -> Self {
        if given.close {
            return Self::Close { id: given.id };
        }
        let options = LogOptions {
            follow: given.follow,
            tail: u64::try_from(given.tail).ok(),
            since_ns: given.since_ns,
            stdout: given.stdout,
            stderr: given.stderr,
        };
        Self::Read { id: given.id, task_ids: given.task_ids.into_iter().map(TaskId::from).collect(), options }
    }
}

impl From<LogAnswer> for api::PublishLogsMessage {
    fn from(given: LogAnswer) -> Self {
        Self {
            subscription_id: given.id,
            messages: given.lines.into_iter().map(Into::into).collect(),
            done: given.end.is_some(),
            error: given.end.unwrap_or_default(),
        }
    }
}

impl From<api::PublishLogsMessage> for LogAnswer {
    fn from(given: api::PublishLogsMessage) -> Self {
        Self {
            id: given.subscription_id,
            lines: given.messages.into_iter().map(Into::into).collect(),
            end: given.done.then_some(given.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_answers_come_out_as_they_went_in() {
        let options = LogOptions { follow: true, tail: Some(3), since_ns: 4, stdout: true, stderr: false };
        let read = |options| LogOrder::Read { id: "a".into(), task_ids: vec!["t".into()], options };
        let orders =
            [read(options.clone()), read(LogOptions { tail: None, ..options }), LogOrder::Close { id: "a".into() }];
        for order in orders {
            assert_eq!(LogOrder::from(api::SubscriptionMessage::from(order.clone())), order);
        }
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let line = TaskLine {
                service_id: "s".into(),
                task_id: "t".into(),
                node_id: "n".into(),
                line: LogLine { timestamp_ns: 5, stream, data: b"hello\n".to_vec() },
            };
            for end in [None, Some(String::new()), Some("gone".to_owned())] {
                let answer = LogAnswer { id: "a".into(), lines: vec![line.clone()], end };
                assert_eq!(LogAnswer::from(api::PublishLogsMessage::from(answer.clone())), answer);
            }
        }
    }
}
