//! Reading a container's log while its shim writes it.
//!
//! Called by `cli` and by the swarm's executor. Follows rotation: a file that is rotated away is
//! read to its end, then the new one from its beginning.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::roots::ContainerPaths;
use crate::runtime::Runtime;
use crate::watch::Watch;

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

/// The entries, oldest first. With `follow`, `next` blocks.
#[derive(Debug)]
pub struct LogReader {
    runtime: Runtime,
    id: String,
    path: PathBuf,
    options: LogOptions,
    ready: VecDeque<LogEntry>,
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
        let watch = if options.follow { Some(Watch::new(&self.paths(&record.id).directory)?) } else { None };
        let mut reader = LogReader {
            runtime: self.clone(),
            id: record.id,
            path,
            options,
            ready: VecDeque::new(),
            reader: None,
            partial: Vec::new(),
            watch,
            ended: false,
        };
        reader.read_present()?;
        Ok(reader)
    }
}

impl LogReader {
    /// Everything there is, the rotated files first.
    fn read_present(&mut self) -> Result<()> {
        let mut index = 1;
        while ContainerPaths::rotated(&self.path, index).exists() {
            index += 1;
        }
        for index in (1..index).rev() {
            let path = ContainerPaths::rotated(&self.path, index);
            let Ok(file) = File::open(&path) else { continue };
            self.reader = Some((BufReader::new(file), 0));
            self.read_lines()?;
        }
        self.reader = None;
        self.partial.clear();
        self.reopen()?;
        self.read_lines()
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

    /// Reads to the end of the open file.
    fn read_lines(&mut self) -> Result<()> {
        let Some((reader, _)) = self.reader.as_mut() else { return Ok(()) };
        loop {
            let count = reader.read_until(b'\n', &mut self.partial).map_err(Error::file("read", &self.path))?;
            if count == 0 {
                return Ok(());
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
    }

    /// Reads what came; goes over to a new file when this one was rotated away.
    fn read_more(&mut self) -> Result<()> {
        self.read_lines()?;
        let current = std::fs::metadata(&self.path).ok().map(|status| status.ino());
        if current.is_some() && current != self.reader.as_ref().map(|(_, inode)| *inode) {
            self.read_lines()?;
            self.reopen()?;
            self.read_lines()?;
        }
        Ok(())
    }

    fn is_past_end(&self) -> bool {
        self.options.until.is_some_and(|until| crate::process::now() > until)
    }

    fn advance(&mut self) -> Result<Option<LogEntry>> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Some(entry));
            }
            // Lines that come later are all wanted.
            self.options.tail = None;
            if !self.options.follow || self.ended || self.is_past_end() {
                return Ok(None);
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
            if let Some(watch) = &mut self.watch {
                watch.wait(Duration::from_secs(1))?;
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
