//! What one container is, for the kernel: everything is resolved, nothing is Docker's any more.
//!
//! Written by the life cycle, read by [`super::create`], [`super::exec::spawn`] and
//! [`super::delete`]. It is plain data: it can be stored and read back by another process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One container as the kernel is to see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelConfig {
    /// Name of the container: letters, digits, `_`, `+`, `-` and `.`.
    pub id: String,
    /// Directory (live state, lost at reboot) for libcontainer's own state, one entry per container.
    pub state_dir: PathBuf,
    /// Directory (live state) where compiled seccomp filters are kept, shared by all containers.
    pub filter_dir: PathBuf,
    /// The root file system.
    pub rootfs: Rootfs,
    /// The first process.
    pub process: Process,
    /// Host name; only set in a UTS namespace of the container's own.
    #[serde(default)]
    pub hostname: Option<String>,
    /// NIS domain name; only set in a UTS namespace of the container's own.
    #[serde(default)]
    pub domainname: Option<String>,
    /// Which namespaces are the container's own.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// Mounts asked for by the user, on top of the standard ones. Order does not matter.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Files put into the root file system by a bind mount (resolv.conf, hosts, hostname, secrets).
    #[serde(default)]
    pub files: Vec<FileBind>,
    /// Where `/dev/shm` comes from.
    #[serde(default)]
    pub shm: Shm,
    /// Paths hidden from the container. See [`default_masked_paths`].
    #[serde(default)]
    pub masked_paths: Vec<String>,
    /// Paths the container can only read. See [`default_read_only_paths`].
    #[serde(default)]
    pub read_only_paths: Vec<String>,
    /// The system call filter. Ignored when `privileged`.
    #[serde(default)]
    pub seccomp: Seccomp,
    /// Devices beside the default ones.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Full access: every capability and device there is, no filter, writable `/sys`.
    ///
    /// The lists `masked_paths` and `read_only_paths` have to be left empty by the caller.
    #[serde(default)]
    pub privileged: bool,
    /// Limits.
    #[serde(default)]
    pub resources: Resources,
    /// The container's place in every cgroup hierarchy.
    pub cgroup: CgroupPath,
    /// Kernel parameters of the container's namespaces (`net.ipv4.ip_forward` → `1`).
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
}

/// An overlay of read-only layers and one writable directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// Directory that holds the layers; the names in `lower` are relative to it.
    pub lower_base: PathBuf,
    /// Layer directories, topmost first. Relative to `lower_base`, short names make room for more.
    pub lower: Vec<String>,
    /// Writable directory; created when missing.
    pub upper: PathBuf,
    /// Overlayfs' scratch directory on the same file system as `upper`; created when missing.
    pub work: PathBuf,
    /// Mount point; created when missing.
    pub merged: PathBuf,
    /// The container may not write to its root file system.
    #[serde(default)]
    pub read_only: bool,
    /// `upper` is thrown away when the container ends (`--rm`, tasks of a swarm): it is never
    /// flushed to the disk, which unmounting would otherwise wait for.
    #[serde(default)]
    pub volatile: bool,
}

/// A process, either a container's first one or one executed in it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments; the program is looked up in the `PATH` of `env`.
    pub args: Vec<String>,
    /// `NAME=value`; `HOME` is added from the container's /etc/passwd when missing.
    pub env: Vec<String>,
    /// Working directory inside the container.
    pub cwd: String,
    /// Whom the process runs as.
    #[serde(default)]
    pub user: User,
    /// Capabilities, as `CAP_CHOWN` or `CHOWN`. See [`default_capabilities`].
    pub capabilities: Vec<String>,
    /// Nothing executed may gain privileges (set-user-id programs, file capabilities).
    #[serde(default)]
    pub no_new_privileges: bool,
    /// Standard streams are a pseudo-terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Initial size of the terminal, (rows, columns).
    #[serde(default)]
    pub terminal_size: Option<(u16, u16)>,
    /// Resource limits.
    #[serde(default)]
    pub rlimits: Vec<Ulimit>,
    /// Out-of-memory score adjustment, -1000 to 1000.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
    /// File mode creation mask; 0o022 when missing.
    #[serde(default)]
    pub umask: Option<u32>,
}

/// Whom a process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// `user`, `user:group`, `uid`, `uid:gid`…, resolved in the container's own /etc/passwd and
    /// /etc/group. Empty means root.
    #[serde(default)]
    pub spec: String,
    /// More groups: names or numbers (`--group-add`).
    #[serde(default)]
    pub additional_groups: Vec<String>,
}

/// One limit as of setrlimit(2): `--ulimit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name without prefix, lower case: `nofile`, `core`…
    pub name: String,
    /// Soft limit; [`u64::MAX`] is "unlimited".
    pub soft: u64,
    /// Hard limit; [`u64::MAX`] is "unlimited".
    pub hard: u64,
}

/// Where one kind of namespace comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// A new one for this container.
    #[default]
    Private,
    /// The one the shim runs in.
    Host,
    /// The one bound or linked at this path.
    Path(PathBuf),
}

/// The namespaces of a container. The mount namespace is always its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Network.
    #[serde(default)]
    pub network: Namespace,
    /// Process ids.
    #[serde(default)]
    pub pid: Namespace,
    /// System V IPC and message queues.
    #[serde(default)]
    pub ipc: Namespace,
    /// Host name.
    #[serde(default)]
    pub uts: Namespace,
    /// Cgroup root.
    #[serde(default)]
    pub cgroup: Namespace,
}

/// A mount asked for by the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the container; created when missing.
    pub target: String,
    /// The container may only read.
    #[serde(default)]
    pub read_only: bool,
    /// What is mounted.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A directory or file of the host, or a volume's directory.
    Bind {
        /// Absolute path on the host; it has to exist.
        source: PathBuf,
        /// Whether later mounts travel between host and container.
        #[serde(default)]
        propagation: Propagation,
        /// Mounts below the source come along.
        #[serde(default = "yes")]
        recursive: bool,
        /// Do not follow set-user-id bits (volumes follow them).
        #[serde(default)]
        nosuid: bool,
        /// No programs can be executed from it.
        #[serde(default)]
        noexec: bool,
    },
    /// A file system in memory.
    Tmpfs {
        /// Comma-separated options as of mount(8) (`size=64m,mode=1777,noexec`).
        #[serde(default)]
        options: String,
    },
}

fn yes() -> bool {
    true
}

/// Mount propagation, as of mount_namespaces(7); the `r` forms hold for what is below, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// Nothing travels.
    Private,
    /// Nothing travels, also for what is mounted below. Docker's default.
    #[default]
    Rprivate,
    /// From the host into the container.
    Slave,
    /// From the host into the container, recursively.
    Rslave,
    /// Both ways.
    Shared,
    /// Both ways, recursively.
    Rshared,
}

/// One file shown inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileBind {
    /// Absolute path on the host; it has to exist.
    pub source: PathBuf,
    /// Absolute path inside the container; created when missing.
    pub target: String,
    /// The container may only read.
    #[serde(default)]
    pub read_only: bool,
}

/// Where `/dev/shm` comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shm {
    /// A tmpfs of its own, of this many bytes.
    Private(u64),
    /// The host's, or another container's directory.
    Path(PathBuf),
}

impl Default for Shm {
    fn default() -> Self {
        Self::Private(64 << 20)
    }
}

/// The system call filter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// Docker's default profile.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile in Docker's JSON format.
    Profile(serde_json::Value),
}

/// A device node of the host shown inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Device node on the host.
    pub source: PathBuf,
    /// Path inside the container, below `/dev`.
    pub target: String,
    /// Any of `r`, `w` and `m` (mknod).
    pub permissions: String,
}

/// What a container's cgroups allow. What is `None` is not limited (or left as it is, in an update).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CgroupLimits {
    /// Memory, bytes.
    pub memory: Option<i64>,
    /// Memory under pressure, bytes (soft limit).
    pub memory_reservation: Option<i64>,
    /// Memory plus swap, bytes; -1 is unlimited swap; `None` is twice the memory.
    pub memory_swap: Option<i64>,
    /// Microseconds of CPU time per period; -1 is unlimited.
    pub cpu_quota: Option<i64>,
    /// Length of a period, microseconds.
    pub cpu_period: Option<u64>,
    /// Relative weight, 2 to 262144; 1024 is the default.
    pub cpu_shares: Option<u64>,
    /// CPUs to run on (`0-2,4`).
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use.
    pub cpuset_mems: Option<String>,
    /// Number of processes and threads; -1 is unlimited.
    pub pids: Option<i64>,
    /// Relative weight for block devices, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Processes wait instead of being killed when memory is short (cgroup v1 only).
    pub oom_kill_disable: bool,
}

/// What a container's cgroups are made with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Limits; they can be changed later.
    #[serde(flatten)]
    pub limits: CgroupLimits,
    /// More device rules as of cgroup v1's `devices.allow` (`c 42:* rwm`).
    pub device_rules: Vec<String>,
}

/// The container's place in every cgroup hierarchy: `PARENT/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPath {
    /// Absolute, `/skep` by default.
    pub parent: String,
    /// One path component, usually the container's id.
    pub name: String,
}

/// The capabilities Docker gives a container.
pub fn default_capabilities() -> Vec<String> {
    [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The paths Docker hides from a container that is not privileged.
pub fn default_masked_paths() -> Vec<String> {
    [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The paths Docker lets a container that is not privileged only read.
pub fn default_read_only_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"].map(str::to_owned).to_vec()
}
