//! Reading a container's log while its shim writes it.
//!
//! Called by `cli` and by the swarm's executor. Follows rotation: a file that is rotated away is
//! read to its end, then the new one from its beginning.
//!
//! A reader is read by [`LogReader::try_next`], which never waits, or as an iterator, which does. It may be dropped at
//! any time, and holds one inotify(7) instance while it follows; where there is none left (a user has
//! 128 of them), it looks again every second.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::records::roots::ContainerPaths;
use crate::runtime::Runtime;
use crate::streams::watch::Watch;

/// How long a follower waits at most before it looks again: the end of a shim that was killed changes no file.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Entries that are read ahead.
const BATCH: usize = 256;

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What part of a log is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what comes, until the container ends.
    pub follow: bool,
    /// Nothing before.
    pub since: Option<Timestamp>,
    /// Nothing after.
    pub until: Option<Timestamp>,
    /// Only so many lines of those there are.
    pub tail: Option<usize>,
    /// Include standard output.
    pub stdout: bool,
    /// Include standard error.
    pub stderr: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { follow: false, since: None, until: None, tail: None, stdout: true, stderr: true }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When it was printed.
    pub time: Timestamp,
    /// Where to.
    pub stream: LogStream,
    /// What, with the end of the line; without, it is only part of a line.
    pub line: Vec<u8>,
}

#[derive(Deserialize)]
struct Line {
    log: String,
    stream: LogStream,
    time: Timestamp,
}

/// What there is to be read of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogRead {
    /// The next entry.
    Entry(LogEntry),
    /// None now, more may come.
    Pending,
    /// None any more.
    End,
}

/// The entries, oldest first. With `follow`, the iterator's `next` blocks.
#[derive(Debug)]
pub struct LogReader {
    runtime: Runtime,
    id: String,
    path: PathBuf,
    options: LogOptions,
    ready: VecDeque<LogEntry>,
    /// Files that are still to be read, oldest first, with their inodes.
    waiting: VecDeque<(File, u64)>,
    reader: Option<(BufReader<File>, u64)>,
    partial: Vec<u8>,
    watch: Option<Watch>,
    /// The container does not write any more.
    ended: bool,
}

impl Runtime {
    /// The container's output.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::LogNotReadable`].
    pub fn logs(&self, name_or_id: &str, options: LogOptions) -> Result<LogReader> {
        let (record, _) = self.record(name_or_id)?;
        if record.config.log.driver == "none" {
            return Err(Error::LogNotReadable);
        }
        let path = self.paths(&record.id).log();
        let watch = match options.follow.then(|| Watch::new(&self.paths(&record.id).directory)) {
            Some(Err(error)) => {
                tracing::debug!(container.id = %record.id, %error, "the log is not watched");
                None
            }
            watch => watch.transpose()?,
        };
        let mut reader = LogReader {
            runtime: self.clone(),
            id: record.id,
            path,
            options,
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            reader: None,
            partial: Vec::new(),
            watch,
            ended: false,
        };
        reader.open_present()?;
        Ok(reader)
    }
}

impl LogReader {
    /// Opens every file there is: rotation can take none of them away any more.
    fn open_present(&mut self) -> Result<()> {
        let rotated = (1..).map(|index| ContainerPaths::rotated(&self.path, index));
        // The youngest first: one that is rotated meanwhile is met again, not missed.
        for path in std::iter::once(self.path.clone()).chain(rotated) {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && path == self.path => continue,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(Error::file("open", &path)(error)),
            };
            let inode = file.metadata().map_err(Error::file("read", &path))?.ino();
            if self.waiting.iter().all(|(_, other)| *other != inode) {
                self.waiting.push_front((file, inode));
            }
        }
        Ok(())
    }

    /// Reads on in what was there at the beginning. With a tail all of it, since the end is what counts.
    fn read_present(&mut self) -> Result<()> {
        while self.read_lines()? {
            let Some((file, inode)) = self.waiting.pop_front() else { return Ok(()) };
            self.partial.clear();
            self.reader = Some((BufReader::new(file), inode));
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<()> {
        match File::open(&self.path) {
            Ok(file) => {
                let inode = file.metadata().map_err(Error::file("read", &self.path))?.ino();
                self.partial.clear();
                self.reader = Some((BufReader::new(file), inode));
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::file("open", &self.path)(error)),
        }
    }

    /// Reads on in the open file; true at its end.
    fn read_lines(&mut self) -> Result<bool> {
        let Some((reader, _)) = self.reader.as_mut() else { return Ok(true) };
        while self.options.tail.is_some() || self.ready.len() < BATCH {
            let count = reader.read_until(b'\n', &mut self.partial).map_err(Error::file("read", &self.path))?;
            if count == 0 {
                return Ok(true);
            }
            if !self.partial.ends_with(b"\n") {
                continue;
            }
            // A line that a full disk has cut is skipped.
            if let Ok(line) = serde_json::from_slice::<Line>(&self.partial) {
                let entry = LogEntry { time: line.time, stream: line.stream, line: line.log.into_bytes() };
                if wanted(&self.options, &entry) {
                    self.ready.push_back(entry);
                    if self.options.tail.is_some_and(|tail| self.ready.len() > tail) {
                        self.ready.pop_front();
                    }
                }
            }
            self.partial.clear();
        }
        Ok(false)
    }

    /// Reads what came; goes over to a new file when this one was rotated away.
    fn read_more(&mut self) -> Result<()> {
        self.read_lines()?;
        let current = std::fs::metadata(&self.path).ok().map(|status| status.ino());
        let rotated = current.is_some() && current != self.reader.as_ref().map(|(_, inode)| *inode);
        // Once more: it may have got its last lines before it was rotated.
        if rotated && self.read_lines()? {
            self.reopen()?;
            self.read_lines()?;
        }
        Ok(())
    }

    fn is_past_end(&self) -> bool {
        self.options.until.is_some_and(|until| crate::kernel::process::now() > until)
    }

    /// The next entry, without waiting for one. After [`LogRead::Pending`], ask again when the descriptor of
    /// [`LogReader::changes`] is readable, or after [`LOOK_AGAIN`].
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn try_next(&mut self) -> Result<LogRead> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(LogRead::Entry(entry));
            }
            self.read_present()?;
            // Lines that come later are all wanted.
            self.options.tail = None;
            if !self.ready.is_empty() {
                continue;
            }
            if !self.options.follow || self.ended || self.is_past_end() {
                return Ok(LogRead::End);
            }
            // Before the look, so that a change after it shows.
            if let Some(watch) = &mut self.watch {
                watch.clear();
            }
            // Asked first: what was written before the end is read after it.
            let active = self.runtime.is_active(&self.id);
            self.read_more()?;
            if !self.ready.is_empty() {
                continue;
            }
            if !active {
                self.ended = true;
                continue;
            }
            return Ok(LogRead::Pending);
        }
    }

    /// Readable when there may be more to read; `None` of a reader that does not follow, or that can only look again.
    pub fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    fn advance(&mut self) -> Result<Option<LogEntry>> {
        loop {
            match (self.try_next()?, &mut self.watch) {
                (LogRead::Entry(entry), _) => return Ok(Some(entry)),
                (LogRead::Pending, Some(watch)) => watch.wait(LOOK_AGAIN)?,
                (LogRead::Pending, None) => std::thread::sleep(LOOK_AGAIN),
                (LogRead::End, _) => return Ok(None),
            }
        }
    }
}

fn wanted(options: &LogOptions, entry: &LogEntry) -> bool {
    let stream = match entry.stream {
        LogStream::Stdout => options.stdout,
        LogStream::Stderr => options.stderr,
    };
    stream
        && options.since.is_none_or(|since| entry.time >= since)
        && options.until.is_none_or(|until| entry.time <= until)
}

impl Iterator for LogReader {
    type Item = Result<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
