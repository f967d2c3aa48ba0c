//! The log file: docker's json-file format, one JSON object a line, rotated by size.
//!
//! Written by the shim alone; read by [`crate::streams::logs`] while it is written. Invariant: a line is
//! appended by one write(2), so a reader sees whole lines but for the last one. A full disk loses
//! lines, it does not stop the container.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use crate::lifecycle::launch::LogSettings;
use crate::records::roots::ContainerPaths;
use crate::streams::logs::LogStream;

/// A line longer than this is cut into several entries, bytes.
const LINE_MAX: usize = 16 << 10;

/// Turns output into lines of the log file.
#[derive(Debug)]
pub(super) struct LogWriter {
    settings: LogSettings,
    file: Option<File>,
    size: u64,
    /// What came since the last line ended: standard output, standard error.
    partial: [Vec<u8>; 2],
    record: Vec<u8>,
}

impl LogWriter {
    pub(super) fn new(settings: LogSettings) -> Self {
        let mut writer = Self { settings, file: None, size: 0, partial: [Vec::new(), Vec::new()], record: Vec::new() };
        writer.open();
        writer
    }

    fn open(&mut self) {
        let Some(path) = &self.settings.path else { return };
        self.file = File::options().create(true).append(true).mode(0o640).open(path).ok();
        self.size = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |status| status.len());
    }

    /// Takes output of one stream.
    pub(super) fn write(&mut self, stream: LogStream, mut bytes: &[u8]) {
        if self.settings.path.is_none() {
            return;
        }
        while !bytes.is_empty() {
            let pending = self.partial[stream as usize].len();
            let room = LINE_MAX - pending;
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n').map(|index| index + 1);
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len().min(room)));
            bytes = rest;
            if end.is_none() && pending + part.len() < LINE_MAX {
                self.partial[stream as usize].extend_from_slice(part);
                return;
            }
            if pending == 0 {
                self.entry(stream, part);
            } else {
                let mut line = std::mem::take(&mut self.partial[stream as usize]);
                line.extend_from_slice(part);
                self.entry(stream, &line);
            }
        }
    }

    /// Writes what has no end of line; the container has ended.
    pub(super) fn flush(&mut self) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let line = std::mem::take(&mut self.partial[stream as usize]);
            if !line.is_empty() {
                self.entry(stream, &line);
            }
        }
        self.record = Vec::new();
    }

    fn entry(&mut self, stream: LogStream, line: &[u8]) {
        self.record.clear();
        self.record.extend_from_slice(b"{\"log\":");
        let text = String::from_utf8_lossy(line);
        if serde_json::to_writer(&mut self.record, text.as_ref()).is_err() {
            return;
        }
        let name = stream.as_str();
        if writeln!(self.record, ",\"stream\":\"{name}\",\"time\":\"{}\"}}", crate::kernel::process::now()).is_err() {
            return;
        }
        if self.settings.max_size.is_some_and(|limit| self.size >= limit) {
            self.rotate();
        }
        if self.file.is_none() {
            self.open();
        }
        if let Some(file) = &mut self.file {
            match file.write_all(&self.record) {
                Ok(()) => self.size += self.record.len() as u64,
                // Part of a line may have been written: the reader skips it, a new line begins after it.
                Err(_) => self.size += file.write(b"\n").unwrap_or(0) as u64,
            }
        }
    }

    fn rotate(&mut self) {
        let Some(path) = &self.settings.path else { return };
        self.file = None;
        if self.settings.max_files <= 1 {
            fs::remove_file(path).ok();
        }
        for index in (1..self.settings.max_files).rev() {
            let older = if index == 1 { path.clone() } else { ContainerPaths::rotated(path, index - 1) };
            fs::rename(older, ContainerPaths::rotated(path, index)).ok();
        }
        self.open();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn writer(directory: &tempfile::TempDir, max_size: Option<u64>, max_files: u32) -> LogWriter {
        let path = Some(directory.path().join("x-json.log"));
        LogWriter::new(LogSettings { path, max_size, max_files })
    }

    fn lines(directory: &tempfile::TempDir, name: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(directory.path().join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = writer(&directory, None, 1);
        log.write(LogStream::Stdout, b"one\ntw");
        log.write(LogStream::Stderr, b"er\xffr\n");
        log.write(LogStream::Stdout, b"o\nrest");
        log.flush();
        let lines = lines(&directory, "x-json.log");
        let seen: Vec<(&str, &str)> =
            lines.iter().map(|l| (l["stream"].as_str().unwrap(), l["log"].as_str().unwrap())).collect();
        let expected = [("stdout", "one\n"), ("stderr", "er\u{fffd}r\n"), ("stdout", "two\n"), ("stdout", "rest")];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = writer(&directory, None, 1);
        log.write(LogStream::Stdout, &vec![b'x'; LINE_MAX + 10]);
        log.write(LogStream::Stdout, b"\n");
        let lengths: Vec<usize> =
            lines(&directory, "x-json.log").iter().map(|line| line["log"].as_str().unwrap().len()).collect();
        assert_eq!(lengths, [LINE_MAX, 11]);
    }

    #[test]
    fn rotation_keeps_so_many_files() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = writer(&directory, Some(100), 3);
        for index in 0..20 {
            log.write(LogStream::Stdout, format!("line {index}\n").as_bytes());
        }
        let mut names: Vec<String> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["x-json.log", "x-json.log.1", "x-json.log.2"]);
        let last = lines(&directory, "x-json.log");
        assert_eq!(last.last().unwrap()["log"], "line 19\n");
    }
}
