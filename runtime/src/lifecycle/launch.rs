//! What a shim works from: launch.json, made anew by every start, lost at reboot.
//!
//! Written by the starter, read by the shim (at its start and at every restart), by `exec` and by
//! whoever cleans up after a killed shim. Invariant: it is on disk before the kernel holds
//! anything for the container but its network.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::kernel::KernelConfig;
use crate::records::config::{HealthCheck, RestartPolicy};
use crate::records::roots::ContainerPaths;
use crate::records::state::ProcessId;

/// Everything about one container that its shim has to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) version: u32,
    /// For the kernel.
    pub(crate) container: KernelConfig,
    /// Processes whose namespaces the container joins, by their numbers.
    #[serde(default)]
    pub(crate) joined: Vec<ProcessId>,
    pub(crate) restart: RestartPolicy,
    pub(crate) auto_remove: bool,
    pub(crate) stdin_open: bool,
    pub(crate) stdin_once: bool,
    /// Number of the signal that asks it to stop.
    pub(crate) stop_signal: i32,
    /// Seconds; -1 is never.
    pub(crate) stop_timeout: i64,
    #[serde(default)]
    pub(crate) health: Option<HealthCheck>,
    pub(crate) log: LogSettings,
    /// The name server at 127.0.0.11, for networks whose containers have names.
    #[serde(default)]
    pub(crate) dns: Option<DnsSettings>,
}

impl Launch {
    /// Reads the launch in force.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub(crate) fn load(paths: &ContainerPaths) -> Result<Self> {
        let path = paths.launch();
        files::load(&path)?.ok_or_else(|| Error::file("read", &path)(io::ErrorKind::NotFound.into()))
    }
}

/// Where output goes, worked out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogSettings {
    /// `None`: nothing is kept.
    pub(crate) path: Option<PathBuf>,
    /// Bytes after which a file is rotated; `None` is never.
    pub(crate) max_size: Option<u64>,
    /// Files kept, the current one included; at least 1.
    pub(crate) max_files: u32,
}

/// What the container's name server answers from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DnsSettings {
    /// Record files of its networks.
    pub(crate) record_files: Vec<PathBuf>,
    /// Who is asked for other names; empty with `host_servers` false is nobody.
    pub(crate) servers: Vec<SocketAddr>,
    /// Ask those in the host's resolv.conf.
    pub(crate) host_servers: bool,
}
