//! Flags of `service …`; those of `service update` are in [`super::update`].

use clap::{Args, Subcommand};
use skep_common::{duration, human, limits};
use skep_engine::docker::create::Ulimit;
use skep_engine::docker::service::PortConfig;
use skep_engine::mount::MountSpec;

use super::update::Update;
use super::{ListFlags, TaskListFlags};
use crate::parse::health::HealthFlags;
use crate::parse::network::{self, NetworkSpec};
use crate::parse::{env, mount, options, port};

/// `service …`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a new service
    Create(Box<Create>),
    /// Display detailed information on one or more services
    Inspect(Inspect),
    /// Fetch the logs of a service or task
    Logs(Logs),
    /// List services
    #[command(visible_alias = "list")]
    Ls(List),
    /// List the tasks of one or more services
    Ps(Tasks),
    /// Remove one or more services
    #[command(visible_alias = "remove")]
    Rm(Remove),
    /// Revert changes to a service's configuration
    Rollback(Rollback),
    /// Scale one or multiple replicated services
    Scale(Scale),
    /// Update a service
    Update(Box<Update>),
}

/// Ports of one `--publish` (clap would take a `Vec` for a list of values).
pub(crate) type Ports = std::vec::Vec<PortConfig>;
/// Words of one command line.
pub(crate) type Words = std::vec::Vec<String>;

/// `service create`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub(crate) struct Create {
    /// Flags that `service update` has as they are.
    #[command(flatten)]
    pub common: Common,
    /// Placement constraints
    #[arg(long, value_name = "list")]
    pub constraint: Vec<String>,
    /// Container labels
    #[arg(long, value_name = "list", value_parser = env::label)]
    pub container_label: Vec<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "list", value_parser = options::address)]
    pub dns: Vec<std::net::IpAddr>,
    /// Set DNS options
    #[arg(long, value_name = "list")]
    pub dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "list")]
    pub dns_search: Vec<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "list", value_parser = env::variable)]
    pub env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "list")]
    pub env_file: Vec<String>,
    /// Set one or more supplementary user groups for the container
    #[arg(long, value_name = "list")]
    pub group: Vec<String>,
    /// Set one or more custom host-to-IP mappings (host:ip)
    #[arg(long, value_name = "list", value_parser = options::host)]
    pub host: Vec<(String, String)>,
    /// Service labels
    #[arg(short, long, value_name = "list", value_parser = env::label)]
    pub label: Vec<String>,
    /// Service mode ("replicated", "global")
    #[arg(long, value_name = "string", default_value = "replicated")]
    pub mode: String,
    /// Attach a filesystem mount to the service
    #[arg(long, value_name = "mount", value_parser = mount::long)]
    pub mount: Vec<MountSpec>,
    /// Service name
    #[arg(long, value_name = "string")]
    pub name: Option<String>,
    /// Network attachments
    #[arg(long, value_name = "network", value_parser = network::network)]
    pub network: Vec<NetworkSpec>,
    /// Add a placement preference
    #[arg(long, value_name = "pref")]
    pub placement_pref: Vec<String>,
    /// Publish a port as a node port
    #[arg(short, long, value_name = "port", value_parser = port::service)]
    pub publish: Vec<Ports>,
    /// Sysctl options
    #[arg(long, value_name = "list", value_parser = env::pair)]
    pub sysctl: Vec<String>,
    /// Ulimit options
    #[arg(long, value_name = "ulimit", value_parser = options::ulimit)]
    pub ulimit: Vec<Ulimit>,
    /// Image, command and arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE")]
    pub words: Vec<String>,
}

/// The flags that `service create` and `service update` share.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Add Linux capabilities
    #[arg(long, value_name = "list")]
    pub cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "list")]
    pub cap_drop: Vec<String>,
    /// Exit immediately instead of waiting for the service to converge
    #[arg(short, long)]
    pub detach: bool,
    /// Endpoint mode (vip or dnsrr)
    #[arg(long, value_name = "string")]
    pub endpoint_mode: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "command", value_parser = options::words)]
    pub entrypoint: Option<Words>,
    /// `--health-*`
    #[command(flatten)]
    pub health: HealthFlags,
    /// Container hostname
    #[arg(long, value_name = "string")]
    pub hostname: Option<String>,
    /// Limit CPUs
    #[arg(long, value_name = "decimal", value_parser = limits::parse_cpus)]
    pub limit_cpu: Option<i64>,
    /// Limit Memory
    #[arg(long, value_name = "bytes", value_parser = human::parse_binary_size)]
    pub limit_memory: Option<i64>,
    /// Limit maximum number of processes (default 0 = unlimited)
    #[arg(long, value_name = "int")]
    pub limit_pids: Option<i64>,
    /// Logging driver for service
    #[arg(long, value_name = "string")]
    pub log_driver: Option<String>,
    /// Logging driver options
    #[arg(long, value_name = "list", value_parser = env::pair)]
    pub log_opt: Vec<String>,
    /// Do not query the registry to resolve image digest and supported platforms
    #[arg(long)]
    pub no_resolve_image: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "int")]
    pub oom_score_adj: Option<i64>,
    /// Suppress progress output
    #[arg(short, long)]
    pub quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub read_only: Option<bool>,
    /// Number of tasks
    #[arg(long, value_name = "uint")]
    pub replicas: Option<u64>,
    /// Maximum number of tasks per node (default 0 = unlimited)
    #[arg(long, value_name = "uint")]
    pub replicas_max_per_node: Option<u64>,
    /// Reserve CPUs
    #[arg(long, value_name = "decimal", value_parser = limits::parse_cpus)]
    pub reserve_cpu: Option<i64>,
    /// Reserve Memory
    #[arg(long, value_name = "bytes", value_parser = human::parse_binary_size)]
    pub reserve_memory: Option<i64>,
    /// Restart when condition is met ("none", "on-failure", "any") (default "any")
    #[arg(long, value_name = "string")]
    pub restart_condition: Option<String>,
    /// Delay between restart attempts (ns|us|ms|s|m|h) (default 5s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds)]
    pub restart_delay: Option<i64>,
    /// Maximum number of restarts before giving up
    #[arg(long, value_name = "uint")]
    pub restart_max_attempts: Option<u64>,
    /// Window used to evaluate the restart policy (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds)]
    pub restart_window: Option<i64>,
    /// `--rollback-*`
    #[command(flatten)]
    pub rollback: RollbackFlags,
    /// Time to wait before force killing a container (ns|us|ms|s|m|h) (default 10s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds)]
    pub stop_grace_period: Option<i64>,
    /// Signal to stop the container
    #[arg(long, value_name = "string", value_parser = options::signal_name)]
    pub stop_signal: Option<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tty: Option<bool>,
    /// `--update-*`
    #[command(flatten)]
    pub update: UpdateFlags,
    /// Use an init inside each service container to forward signals and reap processes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub init: Option<bool>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "string")]
    pub user: Option<String>,
    /// Send registry authentication details to swarm agents
    #[arg(long)]
    pub with_registry_auth: bool,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    pub workdir: Option<String>,
}

/// `--update-*`
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct UpdateFlags {
    /// Delay between updates (ns|us|ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds)]
    pub update_delay: Option<i64>,
    /// Action on update failure ("pause", "continue", "rollback") (default "pause")
    #[arg(long, value_name = "string")]
    pub update_failure_action: Option<String>,
    /// Failure rate to tolerate during an update (default 0)
    #[arg(long, value_name = "float")]
    pub update_max_failure_ratio: Option<f32>,
    /// Duration after each task update to monitor for failure (ns|us|ms|s|m|h) (default 5s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds)]
    pub update_monitor: Option<i64>,
    /// Update order ("start-first", "stop-first") (default "stop-first")
    #[arg(long, value_name = "string")]
    pub update_order: Option<String>,
    /// Maximum number of tasks updated simultaneously (0 to update all at once) (default 1)
    #[arg(long, value_name = "uint")]
    pub update_parallelism: Option<u64>,
}

/// `--rollback-*`
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RollbackFlags {
    /// Delay between task rollbacks (ns|us|ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds)]
    pub rollback_delay: Option<i64>,
    /// Action on rollback failure ("pause", "continue") (default "pause")
    #[arg(long, value_name = "string")]
    pub rollback_failure_action: Option<String>,
    /// Failure rate to tolerate during a rollback (default 0)
    #[arg(long, value_name = "float")]
    pub rollback_max_failure_ratio: Option<f32>,
    /// Duration after each task rollback to monitor for failure (ns|us|ms|s|m|h) (default 5s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds)]
    pub rollback_monitor: Option<i64>,
    /// Rollback order ("start-first", "stop-first") (default "stop-first")
    #[arg(long, value_name = "string")]
    pub rollback_order: Option<String>,
    /// Maximum number of tasks rolled back simultaneously (0 to roll back all at once) (default 1)
    #[arg(long, value_name = "uint")]
    pub rollback_parallelism: Option<u64>,
}

/// `service ls`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct List {
    /// Filter, format, quiet.
    #[command(flatten)]
    pub list: ListFlags,
}

/// `service ps`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] SERVICE [SERVICE...]")]
pub(crate) struct Tasks {
    /// What is shown of them, and how.
    #[command(flatten)]
    pub shown: TaskListFlags,
    /// The services
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,
}

/// `service inspect`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] SERVICE [SERVICE...]")]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    pub format: Option<String>,
    /// Print the information in a human friendly format
    #[arg(long)]
    pub pretty: bool,
    /// The services
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,
}

/// `service logs`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] SERVICE|TASK")]
pub(crate) struct Logs {
    /// Show extra details provided to logs
    #[arg(long)]
    pub details: bool,
    /// Follow log output
    #[arg(short, long)]
    pub follow: bool,
    /// Do not map IDs to Names in output
    #[arg(long)]
    pub no_resolve: bool,
    /// Do not include task IDs in output
    #[arg(long)]
    pub no_task_ids: bool,
    /// Do not truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Do not neatly format logs
    #[arg(long)]
    pub raw: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
    #[arg(long, value_name = "string")]
    pub since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "string", default_value = "all")]
    pub tail: String,
    /// Show timestamps
    #[arg(short, long)]
    pub timestamps: bool,
    /// The service or task
    #[arg(value_name = "SERVICE|TASK")]
    pub service: String,
}

/// `service scale`
#[derive(Debug, Args)]
#[command(override_usage = "SERVICE=REPLICAS [SERVICE=REPLICAS...]")]
pub(crate) struct Scale {
    /// Exit immediately instead of waiting for the service to converge
    #[arg(short, long)]
    pub detach: bool,
    /// The services and how many tasks they are to have
    #[arg(required = true, value_name = "SERVICE=REPLICAS")]
    pub services: Vec<String>,
}

/// `service rollback`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] SERVICE")]
pub(crate) struct Rollback {
    /// Exit immediately instead of waiting for the service to converge
    #[arg(short, long)]
    pub detach: bool,
    /// Suppress progress output
    #[arg(short, long)]
    pub quiet: bool,
    /// The service
    #[arg(value_name = "SERVICE")]
    pub service: String,
}

/// `service rm`
#[derive(Debug, Args)]
#[command(override_usage = "SERVICE [SERVICE...]")]
pub(crate) struct Remove {
    /// The services
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,
}
