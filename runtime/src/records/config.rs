//! What a user asks of a container: everything of `create`, `run` and `update`.
//!
//! Written by `cli` (or the swarm's executor), stored in config.json as it came, together with
//! what the image added. Unknown fields are tolerated, missing ones are their defaults.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
pub use skep_common::HealthCheck;
use skep_net::{PortMapping, PublishedPort};

pub use crate::kernel::{CgroupLimits, Device, Ulimit};

/// Version of config.json and state.json that this module writes.
pub(crate) const VERSION: u32 = 1;

/// What a user asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// The image: a reference, an id or the beginning of an id. It has to be on this machine.
    pub image: String,
    /// The id, 64 hexadecimal digits, if it had to be known before; `None` for a new one.
    pub id: Option<String>,
    /// The name; `None` for one made up.
    pub name: Option<String>,
    /// Arguments; empty for the image's.
    pub cmd: Vec<String>,
    /// Program and first arguments; `None` for the image's, `Some` of nothing (or of one empty
    /// string) for none. When given, the image's `cmd` is not used.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`; a `NAME` alone removes the image's.
    pub env: Vec<String>,
    /// Working directory inside the container.
    pub working_dir: Option<String>,
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// Host name; `None` for the short id.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Standard streams are a pseudo-terminal.
    pub tty: bool,
    /// Initial size of the terminal, (rows, columns).
    pub terminal_size: Option<(u16, u16)>,
    /// Standard input stays open, whether attached to or not.
    pub stdin_open: bool,
    /// Standard input is closed once the first client leaves.
    pub stdin_once: bool,
    /// `--attach stdin`, for `inspect`.
    pub attach_stdin: bool,
    /// `--attach stdout`, for `inspect`.
    pub attach_stdout: bool,
    /// `--attach stderr`, for `inspect`.
    pub attach_stderr: bool,
    /// Labels; the image's are added.
    pub labels: BTreeMap<String, String>,
    /// What is mounted.
    pub mounts: Vec<MountSpec>,
    /// `--volumes-from`: container, optionally `:ro`.
    pub volumes_from: Vec<String>,
    /// Which network.
    pub network: NetworkMode,
    /// Networks to join; none with [`NetworkMode::Endpoints`] is the default bridge.
    pub endpoints: Vec<EndpointConfig>,
    /// Published ports.
    pub ports: Vec<PortMapping>,
    /// `-P`: publish all exposed ports.
    pub publish_all: bool,
    /// Exposed ports (`80/tcp`); the image's are added.
    pub exposed_ports: Vec<String>,
    /// When to start it again.
    pub restart: RestartPolicy,
    /// Remove it once it has ended.
    pub auto_remove: bool,
    /// Limits.
    pub limits: Limits,
    /// Capabilities added; `ALL` is all.
    pub cap_add: Vec<String>,
    /// Capabilities taken; `ALL` is all.
    pub cap_drop: Vec<String>,
    /// Full access to the host.
    pub privileged: bool,
    /// The root file system is read-only.
    pub read_only: bool,
    /// `seccomp=unconfined`, `seccomp=JSON` (the content, not the file), `no-new-privileges`,
    /// `systempaths=unconfined`…
    pub security_opt: Vec<String>,
    /// Health check; `None` for the image's.
    pub health: Option<HealthCheck>,
    /// Signal that asks it to stop; `None` for the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// Seconds until a stop becomes a kill; `None` for the image's, else 10; -1 is never.
    pub stop_timeout: Option<i64>,
    /// Resource limits of processes.
    pub ulimits: Vec<Ulimit>,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// More lines of /etc/hosts: `name:address`.
    pub extra_hosts: Vec<String>,
    /// DNS servers; empty for the host's.
    pub dns: Vec<IpAddr>,
    /// DNS search domains.
    pub dns_search: Vec<String>,
    /// Options of resolv.conf.
    pub dns_options: Vec<String>,
    /// Log driver and its options.
    pub log: LogConfig,
    /// Out-of-memory score adjustment.
    pub oom_score_adj: Option<i32>,
    /// Size of /dev/shm, bytes; `None` for 64 MiB.
    pub shm_size: Option<u64>,
    /// More groups.
    pub group_add: Vec<String>,
    /// Devices.
    pub devices: Vec<Device>,
    /// `--device-cgroup-rule`.
    pub device_rules: Vec<String>,
    /// `--pid`: empty for a namespace of its own, `host`, or `container:ID`.
    pub pid_mode: String,
    /// `--ipc`: empty or `private`, `host`, or `container:ID`.
    pub ipc_mode: String,
    /// `--uts`: empty or `host`.
    pub uts_mode: String,
    /// `--cgroupns`: empty or `private`, or `host`.
    pub cgroupns_mode: String,
    /// Cgroup below which this container's is made; `None` for the node's.
    pub cgroup_parent: Option<String>,
    /// Annotations, for `inspect`.
    pub annotations: BTreeMap<String, String>,
}

/// A mount as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// What kind, and where from.
    #[serde(flatten)]
    pub kind: MountType,
    /// Absolute path inside the container.
    pub target: String,
    /// Read only.
    #[serde(default)]
    pub read_only: bool,
}

/// Kinds of mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum MountType {
    /// A directory or file of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Make the directory when it is missing (`-v` does, `--mount` does not).
        #[serde(default)]
        create_source: bool,
        /// `rprivate`, `rslave`…; empty is `rprivate`.
        #[serde(default)]
        propagation: String,
        /// Leave out what is mounted below.
        #[serde(default)]
        non_recursive: bool,
    },
    /// A volume.
    Volume {
        /// Its name; empty for a new one with a made-up name.
        #[serde(default)]
        name: String,
        /// Do not fill an empty volume from the image.
        #[serde(default)]
        no_copy: bool,
        /// Labels of a volume that is made.
        #[serde(default)]
        labels: BTreeMap<String, String>,
    },
    /// A file system in memory.
    Tmpfs {
        /// Comma-separated options as of mount(8).
        #[serde(default)]
        options: String,
    },
}

/// Which network a container has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// The ones listed as endpoints, or the default bridge.
    #[default]
    Endpoints,
    /// The host's.
    Host,
    /// A loopback and nothing else.
    None,
    /// Another container's: name or id.
    Container(String),
}

/// One network to join.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointConfig {
    /// Local network: name, id or prefix. Overlay: id.
    pub network: String,
    /// Whether it is an overlay of the swarm.
    pub overlay: bool,
    /// Name of an overlay, for `inspect` and `ps`.
    pub network_name: Option<String>,
    /// Address; overlays: given by the cluster.
    pub address: Option<Ipv4Addr>,
    /// MAC address (`02:42:…`).
    pub mac: Option<String>,
    /// Further names on this network.
    pub aliases: Vec<String>,
    /// The highest has the default route.
    pub gateway_priority: i32,
    /// Ports of the swarm's routing mesh that lead to this container, on the mesh's own network.
    pub published: Vec<PublishedPort>,
}

/// When a container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When it ended with another code than 0; at most so many times, 0 is without end.
    OnFailure(u32),
    /// Always, unless stopped by the user; also at boot.
    Always,
    /// As `Always`, but not at boot when the user had stopped it.
    UnlessStopped,
}

/// Limits. `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// CPUs, billionths: a quota in other words, so that there is either the one or the other.
    pub nano_cpus: Option<i64>,
    /// What the kernel has a word of its own for.
    #[serde(flatten)]
    pub cgroup: CgroupLimits,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// `json-file` or `none`; empty is `json-file`.
    pub driver: String,
    /// `max-size` (bytes with k, m or g), `max-file`; `labels`, `env`, `tag` are accepted.
    pub options: BTreeMap<String, String>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { driver: "json-file".to_owned(), options: BTreeMap::new() }
    }
}

/// config.json: what was asked for, and what became of it when the container was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Version of this format.
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name, without docker's slash.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// `sha256:…`.
    pub image_id: String,
    /// What was asked for.
    pub config: ContainerConfig,
    /// What the image and the defaults made of it.
    pub resolved: ResolvedConfig,
    /// Its mounts, volumes named.
    pub mounts: Vec<MountPoint>,
}

impl ContainerRecord {
    /// Names of the networks that the container is, or will be, on.
    pub fn network_names(&self) -> Vec<String> {
        let config = &self.config;
        let name =
            |endpoint: &EndpointConfig| endpoint.network_name.clone().unwrap_or_else(|| endpoint.network.clone());
        match &config.network {
            NetworkMode::Host => vec!["host".to_owned()],
            NetworkMode::None => vec!["none".to_owned()],
            NetworkMode::Container(_) => Vec::new(),
            NetworkMode::Endpoints if config.endpoints.is_empty() => vec!["bridge".to_owned()],
            NetworkMode::Endpoints => config.endpoints.iter().map(name).collect(),
        }
    }
}

/// A container's configuration with the image's part in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResolvedConfig {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments.
    pub cmd: Vec<String>,
    /// Environment without what depends on the container (HOSTNAME, TERM).
    pub env: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// `user[:group]`.
    pub user: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `80/tcp`…
    pub exposed_ports: Vec<String>,
    /// Name of the signal.
    pub stop_signal: String,
    /// Seconds; -1 is never.
    pub stop_timeout: i64,
    /// `None` when there is none, or it was switched off.
    pub health: Option<HealthCheck>,
    /// Published ports, those of `-P` included.
    pub ports: Vec<PortMapping>,
}

/// A mount of a container, as in docker's `inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What it is.
    #[serde(flatten)]
    pub kind: MountType,
    /// Path inside the container.
    pub target: String,
    /// Read only.
    #[serde(default)]
    pub read_only: bool,
    /// Made for this container alone: removed with it (`rm -v`, `--rm`).
    #[serde(default)]
    pub anonymous: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn limits_and_ulimits_are_read_as_they_were_always_written() {
        let written = serde_json::json!({
            "memory": 67108864, "memory_reservation": null, "memory_swap": -1, "nano_cpus": 1500000000,
            "cpu_quota": null, "cpu_period": null, "cpu_shares": u64::MAX, "cpuset_cpus": "0-1", "cpuset_mems": null,
            "pids": 50, "blkio_weight": 300, "oom_kill_disable": true,
        });
        let limits: Limits = serde_json::from_value(written.clone()).unwrap();
        let cgroup = CgroupLimits {
            memory: Some(64 << 20),
            memory_swap: Some(-1),
            cpu_shares: Some(u64::MAX),
            cpuset_cpus: Some("0-1".to_owned()),
            pids: Some(50),
            blkio_weight: Some(300),
            oom_kill_disable: true,
            ..CgroupLimits::default()
        };
        assert_eq!(limits, Limits { nano_cpus: Some(1_500_000_000), cgroup });
        assert_eq!(serde_json::to_value(&limits).unwrap(), written);
        assert_eq!(serde_json::from_str::<Limits>("{}").unwrap(), Limits::default());
        let written = r#"{"name":"nofile","soft":10,"hard":18446744073709551615}"#;
        let ulimit: Ulimit = serde_json::from_str(written).unwrap();
        assert_eq!(ulimit, Ulimit { name: "nofile".to_owned(), soft: 10, hard: u64::MAX });
        assert_eq!(serde_json::to_string(&ulimit).unwrap(), written);
    }
}
