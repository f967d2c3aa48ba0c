//! Counters, from the files of version 1 and of version 2.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::limits::read_number;
use super::{KernelError, Paths, Result};

/// Counters of one container. What the kernel does not offer is zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// CPU time used, nanoseconds.
    pub cpu_usage_ns: u64,
    /// Part of it spent in user mode, nanoseconds.
    pub cpu_user_ns: u64,
    /// Part of it spent in the kernel, nanoseconds.
    pub cpu_system_ns: u64,
    /// Periods in which the quota was used up.
    pub cpu_throttled_periods: u64,
    /// Time spent waiting for the next period, nanoseconds.
    pub cpu_throttled_ns: u64,
    /// Memory in use, bytes, page cache included.
    pub memory_usage: u64,
    /// Page cache that can be given back, bytes (docker subtracts it from the usage it shows).
    pub memory_inactive_file: u64,
    /// Highest memory use so far, bytes.
    pub memory_max_usage: u64,
    /// Memory limit, bytes; [`u64::MAX`] is unlimited.
    pub memory_limit: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Limit of processes and threads; [`u64::MAX`] is unlimited.
    pub pids_limit: u64,
    /// Bytes read from block devices.
    pub block_read_bytes: u64,
    /// Bytes written to block devices.
    pub block_write_bytes: u64,
}

/// Above it, version 1 writes "unlimited" as a number near 2^63.
const LEGACY_UNLIMITED: u64 = 1 << 62;

impl Paths {
    /// Reads the counters.
    ///
    /// # Errors
    /// The container has no cgroup (any more).
    pub fn stats(&self) -> Result<Stats> {
        if !self.directories().any(|directory| directory.exists()) {
            return Err(KernelError::NotRunning(self.name.clone()));
        }
        Ok(if self.version() == 1 { self.legacy_stats() } else { self.unified_stats() })
    }

    /// How many processes of the container were killed because memory ran out.
    pub fn oom_kills(&self) -> u64 {
        let file = match self.version() {
            1 => "memory.oom_control",
            _ => "memory.events",
        };
        self.controller("memory").map_or(0, |directory| keyed(&directory.join(file), "oom_kill"))
    }

    fn legacy_stats(&self) -> Stats {
        let mut stats = Stats::default();
        if let Some(directory) = self.controller("cpuacct") {
            stats.cpu_usage_ns = read_number(&directory.join("cpuacct.usage"));
            stats.cpu_user_ns = read_number(&directory.join("cpuacct.usage_user"));
            stats.cpu_system_ns = read_number(&directory.join("cpuacct.usage_sys"));
        }
        if let Some(directory) = self.controller("cpu") {
            let file = directory.join("cpu.stat");
            stats.cpu_throttled_periods = keyed(&file, "nr_throttled");
            stats.cpu_throttled_ns = keyed(&file, "throttled_time");
        }
        if let Some(directory) = self.controller("memory") {
            stats.memory_usage = read_number(&directory.join("memory.usage_in_bytes"));
            stats.memory_max_usage = read_number(&directory.join("memory.max_usage_in_bytes"));
            stats.memory_inactive_file = keyed(&directory.join("memory.stat"), "total_inactive_file");
            let limit = read_number(&directory.join("memory.limit_in_bytes"));
            stats.memory_limit = if limit > LEGACY_UNLIMITED { u64::MAX } else { limit };
        }
        if let Some(directory) = self.controller("blkio") {
            let files = [
                "blkio.bfq.io_service_bytes_recursive",
                "blkio.throttle.io_service_bytes_recursive",
                "blkio.throttle.io_service_bytes",
            ];
            if let Some(file) = files.iter().map(|file| directory.join(file)).find(|file| file.exists()) {
                stats.block_read_bytes = sum_of(&file, "Read");
                stats.block_write_bytes = sum_of(&file, "Write");
            }
        }
        self.pids_stats(&mut stats);
        stats
    }

    fn unified_stats(&self) -> Stats {
        let mut stats = Stats::default();
        let any = self.hierarchies.iter().find(|hierarchy| hierarchy.unified);
        if let Some(directory) = any.map(|hierarchy| self.directory(hierarchy)) {
            // Usage is counted even where the controller is not handed on.
            let file = directory.join("cpu.stat");
            let nanoseconds = |name: &str| keyed(&file, name).saturating_mul(1000);
            stats.cpu_usage_ns = nanoseconds("usage_usec");
            stats.cpu_user_ns = nanoseconds("user_usec");
            stats.cpu_system_ns = nanoseconds("system_usec");
            stats.cpu_throttled_periods = keyed(&file, "nr_throttled");
            stats.cpu_throttled_ns = nanoseconds("throttled_usec");
        }
        if let Some(directory) = self.controller("memory") {
            stats.memory_usage = read_number(&directory.join("memory.current"));
            stats.memory_max_usage = read_number(&directory.join("memory.peak"));
            stats.memory_inactive_file = keyed(&directory.join("memory.stat"), "inactive_file");
            stats.memory_limit = read_number(&directory.join("memory.max"));
        }
        if let Some(directory) = self.controller("io") {
            let text = fs::read_to_string(directory.join("io.stat")).unwrap_or_default();
            let sum = |key: &str| -> u64 {
                text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).sum()
            };
            stats.block_read_bytes = sum("rbytes=");
            stats.block_write_bytes = sum("wbytes=");
        }
        self.pids_stats(&mut stats);
        stats
    }

    fn pids_stats(&self, stats: &mut Stats) {
        if let Some(directory) = self.controller("pids") {
            stats.pids = read_number(&directory.join("pids.current"));
            stats.pids_limit = read_number(&directory.join("pids.max"));
        }
    }
}

/// The number behind `key` in a file of `key number` lines.
fn keyed(path: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, number)| number.trim().parse().ok())
        .unwrap_or(0)
}

/// The sum of `8:0 KEY number` lines.
fn sum_of(path: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            (words.next() == Some(key)).then(|| words.next()?.parse::<u64>().ok()).flatten()
        })
        .sum()
}
