//! `stats` and `top`: what a container uses, and its processes.

use std::collections::BTreeMap;
use std::fs;

use jiff::Timestamp;
use serde::Serialize;
use skep_common::procfs::{self, ProcessStat, TICKS_PER_SECOND};

use crate::error::Result;
use crate::kernel::cgroup::{Paths, Stats};
use crate::records::allowed::Verb;
use crate::runtime::Runtime;

/// What a container uses, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatsSample {
    /// The container.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When this was read.
    pub read: Timestamp,
    /// Counters of its cgroup; `None` when it does not run.
    pub cgroup: Option<Stats>,
    /// Bytes received over all interfaces but the loopback.
    pub net_rx_bytes: u64,
    /// Bytes sent.
    pub net_tx_bytes: u64,
    /// CPUs of this machine.
    pub cpus: usize,
    /// Memory of this machine, bytes.
    pub memory_total: u64,
}

/// A process of a container, as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopRow {
    /// User id.
    pub uid: u32,
    /// Process id.
    pub pid: i32,
    /// Its parent.
    pub ppid: i32,
    /// When it started.
    pub start: Timestamp,
    /// CPU time used, seconds.
    pub cpu_seconds: u64,
    /// Its terminal: `?` or a device number.
    pub terminal: String,
    /// Program and arguments.
    pub command: String,
}

impl Runtime {
    /// What a container uses now.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchContainer`], or no cgroups.
    pub fn stats(&self, name_or_id: &str) -> Result<StatsSample> {
        let (record, state) = self.record(name_or_id)?;
        let cgroup = match state.status.is_active() {
            true => Some(Paths::find(&self.cgroup(&record))?.stats()?),
            false => None,
        };
        let (net_rx_bytes, net_tx_bytes) = state.init.map_or((0, 0), |init| network_bytes(init.pid));
        Ok(StatsSample {
            id: record.id,
            name: record.name,
            read: crate::kernel::process::now(),
            cgroup,
            net_rx_bytes,
            net_tx_bytes,
            cpus: procfs::processor_count(),
            memory_total: procfs::memory_total_bytes(),
        })
    }

    /// The processes of a container.
    ///
    /// # Errors
    /// [`crate::Error::NotRunning`], or no cgroups.
    pub fn top(&self, name_or_id: &str) -> Result<Vec<TopRow>> {
        let (record, state) = self.record(name_or_id)?;
        Verb::Top.require(state.status, &record.id)?;
        let mut pids = Paths::find(&self.cgroup(&record))?.processes()?;
        pids.sort_unstable();
        Ok(pids.into_iter().filter_map(top_row).collect())
    }
}

/// Received and sent, from the second table of /proc/PID/net/dev.
fn network_bytes(pid: i32) -> (u64, u64) {
    parse_network_bytes(&fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

fn parse_network_bytes(text: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for line in text.lines() {
        let Some((name, counters)) = line.split_once(':') else { continue };
        if name.trim() == "lo" {
            continue;
        }
        let counters: Vec<u64> = counters.split_whitespace().filter_map(|text| text.parse().ok()).collect();
        sums.0 += counters.first().copied().unwrap_or(0);
        sums.1 += counters.get(8).copied().unwrap_or(0);
    }
    sums
}

fn status_fields(pid: i32) -> Option<BTreeMap<String, String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    Some(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

fn top_row(pid: i32) -> Option<TopRow> {
    let status = status_fields(pid)?;
    let number = |name: &str| status.get(name).and_then(|text| text.split_whitespace().next()?.parse::<i64>().ok());
    let stat = ProcessStat::of(pid)?;
    let cpu_seconds = (stat.user_ticks + stat.system_ticks) / TICKS_PER_SECOND;
    let started = procfs::boot_seconds() + (stat.start_ticks / TICKS_PER_SECOND) as i64;
    let start = Timestamp::from_second(started).unwrap_or_default();
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    let command = match command.is_empty() {
        true => format!("[{}]", status.get("Name").cloned().unwrap_or_default()),
        false => command,
    };
    Some(TopRow {
        uid: u32::try_from(number("Uid")?).ok()?,
        pid,
        ppid: i32::try_from(number("PPid")?).ok()?,
        start,
        cpu_seconds,
        terminal: match stat.terminal {
            0 => "?".to_owned(),
            device => format!("pts/{}", device & 0xff),
        },
        command,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_but_the_loopback_are_added_up() {
        let text = "Inter-| Receive | Transmit\n face |bytes ...\n    lo: 9 0 0 0 0 0 0 0 9 0\n  eth0: 100 1 0 0 0 0 0 0 7 1\n\
                    eth1:5 1 0 0 0 0 0 0 3 1\n";
        assert_eq!(parse_network_bytes(text), (105, 10));
    }

    #[test]
    fn this_process_has_a_row() {
        let row = top_row(std::process::id() as i32).unwrap();
        assert!(row.start <= crate::kernel::process::now());
        assert!(!row.command.is_empty());
        assert!(procfs::processor_count() >= 1 && procfs::memory_total_bytes() > 0);
    }
}
