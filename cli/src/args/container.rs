//! Flags of `container …` and its short cuts.

use clap::{Args, Subcommand};
use skep_common::{human, limits};
use skep_engine::docker::create::Ulimit;
use skep_engine::mount::MountSpec;

use super::{ListFlags, Prune};
use crate::parse::health::HealthFlags;
use crate::parse::network::{self, NetworkSpec};
use crate::parse::{env, mount, options};

/// `container …`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Attach local standard input, output, and error streams to a running container
    Attach(Attach),
    /// Create a new container
    Create(Box<Create>),
    /// Execute a command in a running container
    Exec(Exec),
    /// Display detailed information on one or more containers
    Inspect(Inspect),
    /// Kill one or more running containers
    Kill(Kill),
    /// Fetch the logs of a container
    Logs(Logs),
    /// List containers
    #[command(visible_aliases = ["ps", "list"])]
    Ls(List),
    /// Pause all processes within one or more containers
    Pause(Names),
    /// List port mappings or a specific mapping for the container
    Port(Port),
    /// Remove all stopped containers
    Prune(Prune),
    /// Rename a container
    Rename(Rename),
    /// Restart one or more containers
    Restart(Stop),
    /// Remove one or more containers
    #[command(visible_alias = "remove")]
    Rm(Remove),
    /// Create and run a new container from an image
    Run(Box<Run>),
    /// Start one or more stopped containers
    Start(Start),
    /// Display a live stream of container(s) resource usage statistics
    Stats(Stats),
    /// Stop one or more running containers
    Stop(Stop),
    /// Display the running processes of a container
    Top(Top),
    /// Unpause all processes within one or more containers
    Unpause(Names),
    /// Update configuration of one or more containers
    Update(Update),
    /// Block until one or more containers stop, then print their exit codes
    Wait(Names),
}

/// `run`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub(crate) struct Run {
    /// What `create` has, too.
    #[command(flatten)]
    pub create: ContainerFlags,
    /// Run container in background and print container ID
    #[arg(short, long)]
    pub detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", value_parser = options::detach_keys)]
    pub detach_keys: Option<Bytes>,
    /// Proxy received signals to the process
    #[arg(long, default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub sig_proxy: bool,
    /// Image, command and arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE")]
    pub words: Vec<String>,
}

/// Bytes of one flag (clap would take a `Vec` for a list of values).
pub(crate) type Bytes = std::vec::Vec<u8>;

/// `create`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub(crate) struct Create {
    /// What `run` has, too.
    #[command(flatten)]
    pub create: ContainerFlags,
    /// Image, command and arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE")]
    pub words: Vec<String>,
}

/// The flags of `create` and `run`.
#[derive(Debug, Args)]
pub(crate) struct ContainerFlags {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "list", value_parser = options::host)]
    pub add_host: Vec<(String, String)>,
    /// Add an annotation to the container
    #[arg(long, value_name = "map", value_parser = env::pair)]
    pub annotation: Vec<String>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "list", value_parser = ["stdin", "stdout", "stderr", "STDIN", "STDOUT", "STDERR"])]
    pub attach: Vec<String>,
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
    #[arg(long, value_name = "uint16")]
    pub blkio_weight: Option<u16>,
    /// Add Linux capabilities
    #[arg(long, value_name = "list")]
    pub cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "list")]
    pub cap_drop: Vec<String>,
    /// Cgroup namespace to use (host|private)
    #[arg(long, value_name = "string", value_parser = ["host", "private", ""])]
    pub cgroupns: Option<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "string")]
    pub cidfile: Option<String>,
    /// `--cpu…`
    #[command(flatten)]
    pub processors: CpuFlags,
    /// Add a host device to the container
    #[arg(long, value_name = "list")]
    pub device: Vec<String>,
    /// Add a rule to the cgroup allowed devices list
    #[arg(long, value_name = "list")]
    pub device_cgroup_rule: Vec<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "list", value_parser = options::address)]
    pub dns: Vec<std::net::IpAddr>,
    /// Set DNS options
    #[arg(long, value_name = "list", alias = "dns-opt")]
    pub dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "list")]
    pub dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "string")]
    pub domainname: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "string")]
    pub entrypoint: Option<String>,
    /// `--env` and its like.
    #[command(flatten)]
    pub environment: EnvFlags,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "list")]
    pub expose: Vec<String>,
    /// Add additional groups to join
    #[arg(long, value_name = "list")]
    pub group_add: Vec<String>,
    /// `--health-*`
    #[command(flatten)]
    pub health: HealthFlags,
    /// Container host name
    #[arg(short = 'h', long, value_name = "string")]
    pub hostname: Option<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(long, value_name = "ip", value_parser = network::address)]
    pub ip: Option<std::net::Ipv4Addr>,
    /// IPC mode to use
    #[arg(long, value_name = "string")]
    pub ipc: Option<String>,
    /// Set meta data on a container
    #[arg(short, long, value_name = "list", value_parser = env::label)]
    pub label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "list")]
    pub label_file: Vec<String>,
    /// Logging driver for the container
    #[arg(long, value_name = "string")]
    pub log_driver: Option<String>,
    /// Log driver options
    #[arg(long, value_name = "list", value_parser = env::pair)]
    pub log_opt: Vec<String>,
    /// Container MAC address (e.g., 92:d0:c6:0a:29:33)
    #[arg(long, value_name = "string")]
    pub mac_address: Option<String>,
    /// `--memory…`
    #[command(flatten)]
    pub memory: MemoryFlags,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "mount", value_parser = mount::long)]
    pub mount: Vec<MountSpec>,
    /// Assign a name to the container
    #[arg(long, value_name = "string")]
    pub name: Option<String>,
    /// Connect a container to a network
    #[arg(long, value_name = "network", alias = "net", value_parser = network::network)]
    pub network: Vec<NetworkSpec>,
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "list", alias = "net-alias")]
    pub network_alias: Vec<String>,
    /// Whether to disable OOM Killer for the container or not
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Tune the host's OOM preferences for containers (from -1000 to 1000)
    #[arg(long, value_name = "int")]
    pub oom_score_adj: Option<i32>,
    /// PID namespace to use
    #[arg(long, value_name = "string")]
    pub pid: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int")]
    pub pids_limit: Option<i64>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    pub platform: Option<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    pub privileged: bool,
    /// Publish a container's port(s) to the host
    #[arg(short, long, value_name = "list")]
    pub publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Pull image before running ("always", "missing", "never")
    #[arg(long, value_name = "string", default_value = "missing")]
    pub pull: String,
    /// Suppress the pull output
    #[arg(short, long)]
    pub quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    pub read_only: bool,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "string")]
    pub restart: Option<String>,
    /// Automatically remove the container and its associated anonymous volumes when it exits
    #[arg(long)]
    pub rm: bool,
    /// Security Options
    #[arg(long, value_name = "list")]
    pub security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = human::parse_binary_size)]
    pub shm_size: Option<i64>,
    /// Signal to stop the container
    #[arg(long, value_name = "string", value_parser = options::signal_name)]
    pub stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "int")]
    pub stop_timeout: Option<i64>,
    /// Sysctl options
    #[arg(long, value_name = "map", value_parser = env::pair)]
    pub sysctl: Vec<String>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "list", value_parser = mount::tmpfs)]
    pub tmpfs: Vec<MountSpec>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    /// Ulimit options
    #[arg(long, value_name = "ulimit", value_parser = options::ulimit)]
    pub ulimit: Vec<Ulimit>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "string")]
    pub user: Option<String>,
    /// UTS namespace to use
    #[arg(long, value_name = "string")]
    pub uts: Option<String>,
    /// Bind mount a volume
    #[arg(short, long, value_name = "list")]
    pub volume: Vec<String>,
    /// Mount volumes from the specified container(s)
    #[arg(long, value_name = "list")]
    pub volumes_from: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    pub workdir: Option<String>,
}

/// Which environment variables a program gets.
#[derive(Debug, Clone, Args)]
pub(crate) struct EnvFlags {
    /// Set environment variables
    #[arg(short, long, value_name = "list", value_parser = env::variable)]
    pub env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "list")]
    pub env_file: Vec<String>,
}

/// How much of the processors a container may use.
#[derive(Debug, Clone, Args)]
pub(crate) struct CpuFlags {
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int")]
    pub cpu_period: Option<u64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int")]
    pub cpu_quota: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int")]
    pub cpu_shares: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal", value_parser = limits::parse_cpus)]
    pub cpus: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    pub cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    pub cpuset_mems: Option<String>,
}

/// How much memory a container may use.
#[derive(Debug, Clone, Args)]
pub(crate) struct MemoryFlags {
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = human::parse_binary_size)]
    pub memory: Option<i64>,
    /// Memory soft limit
    #[arg(long, value_name = "bytes", value_parser = human::parse_binary_size)]
    pub memory_reservation: Option<i64>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "bytes", value_parser = options::bytes_or_unlimited)]
    pub memory_swap: Option<i64>,
}

/// `exec`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] CONTAINER COMMAND [ARG...]")]
pub(crate) struct Exec {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", value_parser = options::detach_keys)]
    pub detach_keys: Option<Bytes>,
    /// `--env` and its like.
    #[command(flatten)]
    pub environment: EnvFlags,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    pub privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "string")]
    pub user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    pub workdir: Option<String>,
    /// Container, command and arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_name = "CONTAINER")]
    pub words: Vec<String>,
}

/// `ps`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct List {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub all: bool,
    /// Filter, format, quiet.
    #[command(flatten)]
    pub list: ListFlags,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "int")]
    pub last: Option<i64>,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    pub latest: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Display total file sizes
    #[arg(short, long)]
    pub size: bool,
}

/// `logs`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] CONTAINER")]
pub(crate) struct Logs {
    /// Show extra details provided to logs
    #[arg(long)]
    pub details: bool,
    /// Follow log output
    #[arg(short, long)]
    pub follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
    #[arg(long, value_name = "string")]
    pub since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "string", default_value = "all")]
    pub tail: String,
    /// Show timestamps
    #[arg(short, long)]
    pub timestamps: bool,
    /// Show logs before a timestamp or relative
    #[arg(long, value_name = "string")]
    pub until: Option<String>,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// `inspect`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] CONTAINER [CONTAINER...]")]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    pub format: Option<String>,
    /// Display total file sizes
    #[arg(short, long)]
    pub size: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `pause`, `unpause`, `wait`
#[derive(Debug, Args)]
#[command(override_usage = "CONTAINER [CONTAINER...]")]
pub(crate) struct Names {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `attach`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] CONTAINER")]
pub(crate) struct Attach {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", value_parser = options::detach_keys)]
    pub detach_keys: Option<Bytes>,
    /// Do not attach STDIN
    #[arg(long)]
    pub no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub sig_proxy: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// `kill`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] CONTAINER [CONTAINER...]")]
pub(crate) struct Kill {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string", default_value = "KILL")]
    pub signal: String,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `stop` and `restart`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] CONTAINER [CONTAINER...]")]
pub(crate) struct Stop {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string")]
    pub signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, value_name = "int", alias = "time")]
    pub timeout: Option<i64>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `start`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] CONTAINER [CONTAINER...]")]
pub(crate) struct Start {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    pub attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", value_parser = options::detach_keys)]
    pub detach_keys: Option<Bytes>,
    /// Attach container's STDIN
    #[arg(short, long)]
    pub interactive: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `rm`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] CONTAINER [CONTAINER...]")]
pub(crate) struct Remove {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    pub force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    pub volumes: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `rename`
#[derive(Debug, Args)]
#[command(override_usage = "CONTAINER NEW_NAME")]
pub(crate) struct Rename {
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Its new name
    #[arg(value_name = "NEW_NAME")]
    pub name: String,
}

/// `port`
#[derive(Debug, Args)]
#[command(override_usage = "CONTAINER [PRIVATE_PORT[/PROTO]]")]
pub(crate) struct Port {
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Only this port
    #[arg(value_name = "PRIVATE_PORT")]
    pub port: Option<String>,
}

/// `top`
#[derive(Debug, Args)]
#[command(override_usage = "CONTAINER [ps OPTIONS]")]
pub(crate) struct Top {
    /// The container, and options as of ps (only the columns shown by `-o` are understood)
    #[arg(required = true, trailing_var_arg = true, value_name = "CONTAINER")]
    pub words: Vec<String>,
}

/// `stats`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] [CONTAINER...]")]
pub(crate) struct Stats {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub all: bool,
    /// Format output using a custom template
    #[arg(long, value_name = "string")]
    pub format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    pub no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// The containers
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `update`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] CONTAINER [CONTAINER...]")]
pub(crate) struct Update {
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
    #[arg(long, value_name = "uint16")]
    pub blkio_weight: Option<u16>,
    /// `--cpu…`
    #[command(flatten)]
    pub processors: CpuFlags,
    /// `--memory…`
    #[command(flatten)]
    pub memory: MemoryFlags,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int")]
    pub pids_limit: Option<i64>,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "string")]
    pub restart: Option<String>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
