//! Measuring, and the table of medians.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_tests::lab::words;
use skep_tests::sweep;

use crate::contender::Contender;

/// Runs `command`, which has to succeed, and returns how long it took.
pub(crate) fn timed(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let ended = command
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?
        .wait_with_output()?;
    let took = begun.elapsed();
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{command:?}: {}\n{said}", ended.status);
    Ok(took)
}

/// The memory of the processes that carry `belongs` and whose command line holds `helper`, shared pages by halves,
/// for each of `count` containers. What runs inside the containers does not count.
pub(crate) fn memory_per_container(belongs: &str, helper: &str, count: usize) -> Result<u64> {
    let mut bytes = 0;
    for pid in sweep::pids() {
        let line = words(pid, "cmdline");
        let own = line.iter().chain(&words(pid, "environ")).any(|word| word.contains(belongs));
        let is_helper = line.first().is_some_and(|word| word.contains(helper));
        if own && is_helper {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let kilobytes: u64 = rollup
                .lines()
                .find_map(|line| line.strip_prefix("Pss:"))
                .and_then(|rest| rest.trim().strip_suffix(" kB"))
                .and_then(|number| number.trim().parse().ok())
                .unwrap_or(0);
            bytes += kilobytes * 1024;
        }
    }
    ensure!(bytes > 0, "no process of {helper} was found");
    Ok(bytes / count as u64)
}

/// Medians by measure and contender.
pub(crate) struct Table {
    names: Vec<&'static str>,
    measures: Vec<&'static str>,
    cells: BTreeMap<(&'static str, &'static str), Vec<f64>>,
}

impl Table {
    /// An empty table with a column for each contender.
    pub(crate) fn new(contenders: &[Contender]) -> Self {
        Self {
            names: contenders.iter().map(|contender| contender.name).collect(),
            measures: Vec::new(),
            cells: BTreeMap::new(),
        }
    }

    /// Another value, in milliseconds.
    pub(crate) fn add(&mut self, measure: &'static str, name: &'static str, took: Duration) {
        self.note(measure, name, took.as_secs_f64() * 1000.0);
    }

    /// Another value, in bytes.
    pub(crate) fn add_bytes(&mut self, measure: &'static str, name: &'static str, bytes: u64) {
        // Precise enough: no contender keeps petabytes.
        #[allow(clippy::cast_precision_loss)]
        self.note(measure, name, bytes as f64 / 1024.0);
    }

    fn note(&mut self, measure: &'static str, name: &'static str, value: f64) {
        if !self.measures.contains(&measure) {
            self.measures.push(measure);
        }
        self.cells.entry((measure, name)).or_default().push(value);
    }

    fn median(&self, measure: &'static str, name: &'static str) -> Option<f64> {
        let mut values = self.cells.get(&(measure, name))?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:24}", "(ms; memory in KiB)")?;
        for name in &self.names {
            write!(formatter, "{name:>18}")?;
        }
        writeln!(formatter)?;
        for measure in &self.measures {
            write!(formatter, "{measure:24}")?;
            let own = self.median(measure, "skep");
            for name in &self.names {
                let cell = match (self.median(measure, name), own) {
                    (Some(value), Some(own)) if *name != "skep" => {
                        format!("{value:.1} ({:.2})", own / value)
                    }
                    (Some(value), _) => format!("{value:.1}"),
                    (None, _) => "-".to_owned(),
                };
                write!(formatter, "{cell:>18}")?;
            }
            writeln!(formatter)?;
        }
        write!(formatter, "In brackets: skep's figure as a part of this one; less than 1 is better.")
    }
}
