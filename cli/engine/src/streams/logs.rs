//! A log as a stream.

use std::collections::VecDeque;

use futures::{Stream, stream};
use skep_runtime::{LOOK_AGAIN, LogEntry, LogRead, LogReader};
use tokio::net::unix::pipe::Receiver;

use crate::blocking::aside;
use crate::error::Result;

/// Entries that are read at once: files are read on a thread for what blocks.
const BATCH: usize = 256;

/// The entries of a log, oldest first; with the container's end, one that is followed ends. Whoever follows a silent log
/// holds no thread.
pub fn logs(reader: LogReader) -> impl Stream<Item = Result<LogEntry>> + Send + use<> {
    let changes = reader.changes().and_then(|fd| fd.try_clone_to_owned().ok());
    // An inotify(7) instance is read as a pipe is.
    let changes = changes.and_then(|fd| Receiver::from_owned_fd_unchecked(fd).ok());
    let follower = Follower { reader: Some(reader), changes, ready: VecDeque::new() };
    stream::try_unfold(follower, async |mut follower| Ok(follower.next().await?.map(|entry| (entry, follower))))
}

struct Follower {
    /// `None` at the end.
    reader: Option<LogReader>,
    /// Readable when there may be more; without it, there is only a look every [`LOOK_AGAIN`].
    changes: Option<Receiver>,
    ready: VecDeque<LogEntry>,
}

impl Follower {
    async fn next(&mut self) -> Result<Option<LogEntry>> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Some(entry));
            }
            let Some(mut reader) = self.reader.take() else { return Ok(None) };
            let (reader, ready, ended) = aside(move || {
                let (ready, ended) = batch(&mut reader)?;
                Ok((reader, ready, ended))
            })
            .await?;
            self.ready = ready;
            if !ended {
                self.reader = Some(reader);
            }
            if self.ready.is_empty() && !ended {
                self.wait().await;
            }
        }
    }

    async fn wait(&self) {
        let changed = async {
            let Some(changes) = &self.changes else { return std::future::pending().await };
            let mut events = [0; 4096];
            while changes.readable().await.is_ok() {
                // Without an event, the last look has taken it.
                if changes.try_read(&mut events).is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(LOOK_AGAIN, changed).await.ok();
    }
}

/// What can be read without waiting, up to a bound, and whether that was all.
fn batch(reader: &mut LogReader) -> Result<(VecDeque<LogEntry>, bool)> {
    let mut ready = VecDeque::new();
    while ready.len() < BATCH {
        match reader.try_next()? {
            LogRead::Entry(entry) => ready.push_back(entry),
            LogRead::Pending => return Ok((ready, false)),
            LogRead::End => return Ok((ready, true)),
        }
    }
    Ok((ready, false))
}
