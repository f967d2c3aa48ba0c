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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::Path;
    use std::pin::pin;
    use std::time::{Duration, Instant};

    use futures::{StreamExt, TryStreamExt};
    use serde_json::json;
    use skep_runtime::LogOptions;
    use tokio::time::timeout;

    use super::*;
    use crate::streams::fixture::Container;

    fn say(path: &Path, line: &str) {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        let entry = json!({"log": format!("{line}\n"), "stream": "stdout", "time": "2026-01-01T00:00:00Z"});
        file.write_all(format!("{entry}\n").as_bytes()).unwrap();
    }

    fn followed(container: &Container) -> impl Stream<Item = Result<LogEntry>> + Send + use<> {
        logs(container.runtime.logs(&container.id, LogOptions { follow: true, ..LogOptions::default() }).unwrap())
    }

    fn text(entry: Option<Result<LogEntry>>) -> String {
        String::from_utf8(entry.unwrap().unwrap().line).unwrap()
    }

    #[tokio::test]
    async fn all_of_a_long_log_is_read_and_then_it_ends() {
        let container = Container::running();
        let lines: Vec<String> = (0..BATCH * 2 + 7).map(|number| number.to_string()).collect();
        lines.iter().for_each(|line| say(&container.log(), line));
        let entries = logs(container.runtime.logs(&container.id, LogOptions::default()).unwrap());
        let entries: Vec<LogEntry> = entries.try_collect().await.unwrap();
        let read: Vec<&str> =
            entries.iter().map(|entry| std::str::from_utf8(&entry.line).unwrap().trim_end()).collect();
        assert_eq!(read, lines);
    }

    #[tokio::test]
    async fn a_follower_goes_on_in_a_new_file_and_ends_with_the_container() {
        let container = Container::running();
        let (path, rotated) = (container.log(), container.log().with_extension("log.1"));
        say(&path, "one");
        let mut entries = pin!(followed(&container));
        assert_eq!(text(entries.next().await), "one\n");
        assert!(timeout(Duration::from_millis(50), entries.next()).await.is_err(), "there is no more, and no end");
        say(&path, "two");
        assert_eq!(text(entries.next().await), "two\n");
        say(&path, "three");
        fs::rename(&path, &rotated).unwrap();
        say(&path, "four");
        assert_eq!(text(entries.next().await), "three\n");
        assert_eq!(text(entries.next().await), "four\n");
        say(&path, "five");
        container.end(0);
        assert_eq!(text(entries.next().await), "five\n");
        assert!(entries.next().await.is_none());
    }

    /// Whether this process has the file open.
    fn is_open(path: &Path) -> bool {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
        descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == path)
    }

    #[tokio::test]
    async fn a_follower_that_is_left_holds_nothing() {
        let container = Container::running();
        let path = container.log();
        say(&path, "one");
        let mut entries = Box::pin(followed(&container));
        assert_eq!(text(entries.next().await), "one\n");
        assert!(timeout(Duration::from_millis(50), entries.next()).await.is_err());
        assert!(is_open(&path));
        drop(entries);
        // A look that was under way when it was left comes to its end first.
        let began = Instant::now();
        while is_open(&path) {
            assert!(began.elapsed() < Duration::from_secs(10), "somebody still reads");
            tokio::task::yield_now().await;
        }
    }
}
