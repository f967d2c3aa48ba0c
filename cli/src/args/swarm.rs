//! Flags of `swarm …`.

use clap::{Args, Subcommand};
use skep_common::duration;

/// `swarm …`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Initialize a swarm
    Init(Init),
    /// Join a swarm as a node and/or manager
    Join(Join),
    /// Manage join tokens
    JoinToken(JoinToken),
    /// Leave the swarm
    Leave(Leave),
    /// Update the swarm
    Update(Update),
}

/// `swarm init`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct Init {
    /// Advertised address (format: <ip|interface>[:port])
    #[arg(long, value_name = "string")]
    pub advertise_addr: Option<String>,
    /// Availability of the node ("active", "pause", "drain")
    #[arg(long, value_name = "string", default_value = "active")]
    pub availability: String,
    /// Validity period for node certificates (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", default_value = "2160h0m0s", value_parser = duration::parse_positive_nanoseconds)]
    pub cert_expiry: i64,
    /// Address or interface to use for data path traffic (format: <ip|interface>)
    #[arg(long, value_name = "string")]
    pub data_path_addr: Option<String>,
    /// Port number to use for data path traffic (1024 - 49151)
    #[arg(long, value_name = "uint32")]
    pub data_path_port: Option<u32>,
    /// default address pool in CIDR format
    #[arg(long, value_name = "ipNetSlice", value_delimiter = ',')]
    pub default_addr_pool: Vec<ipnet::Ipv4Net>,
    /// default address pool subnet mask length
    #[arg(long, value_name = "uint32", default_value_t = 24)]
    pub default_addr_pool_mask_length: u32,
    /// Dispatcher heartbeat period (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", default_value = "5s", value_parser = duration::parse_positive_nanoseconds)]
    pub dispatcher_heartbeat: i64,
    /// Force create a new cluster from current state
    #[arg(long)]
    pub force_new_cluster: bool,
    /// Listen address (format: <ip|interface>[:port])
    #[arg(long, value_name = "node-addr", default_value = "0.0.0.0:2377")]
    pub listen_addr: String,
    /// Number of additional Raft snapshots to retain
    #[arg(long, value_name = "uint64", default_value_t = 0)]
    pub max_snapshots: u64,
    /// Number of log entries between Raft snapshots
    #[arg(long, value_name = "uint64", default_value_t = 10000)]
    pub snapshot_interval: u64,
    /// Task history retention limit
    #[arg(long, value_name = "int", default_value_t = 5)]
    pub task_history_limit: i64,
}

/// `swarm join`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] HOST:PORT")]
pub(crate) struct Join {
    /// Advertised address (format: <ip|interface>[:port])
    #[arg(long, value_name = "string")]
    pub advertise_addr: Option<String>,
    /// Availability of the node ("active", "pause", "drain")
    #[arg(long, value_name = "string", default_value = "active")]
    pub availability: String,
    /// Address or interface to use for data path traffic (format: <ip|interface>)
    #[arg(long, value_name = "string")]
    pub data_path_addr: Option<String>,
    /// Listen address (format: <ip|interface>[:port])
    #[arg(long, value_name = "node-addr", default_value = "0.0.0.0:2377")]
    pub listen_addr: String,
    /// Token for entry into the swarm
    #[arg(long, value_name = "string")]
    pub token: Option<String>,
    /// A manager
    #[arg(value_name = "HOST:PORT")]
    pub remote: String,
}

/// `swarm join-token`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] (worker|manager)")]
pub(crate) struct JoinToken {
    /// Only display token
    #[arg(short, long)]
    pub quiet: bool,
    /// Rotate join token
    #[arg(long)]
    pub rotate: bool,
    /// worker or manager
    #[arg(value_name = "ROLE")]
    pub role: String,
}

/// `swarm leave`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct Leave {
    /// Force this node to leave the swarm, ignoring warnings
    #[arg(short, long)]
    pub force: bool,
}

/// `swarm update`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct Update {
    /// Validity period for node certificates (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds)]
    pub cert_expiry: Option<i64>,
    /// Dispatcher heartbeat period (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = duration::parse_positive_nanoseconds)]
    pub dispatcher_heartbeat: Option<i64>,
    /// Number of additional Raft snapshots to retain
    #[arg(long, value_name = "uint64")]
    pub max_snapshots: Option<u64>,
    /// Number of log entries between Raft snapshots
    #[arg(long, value_name = "uint64")]
    pub snapshot_interval: Option<u64>,
    /// Task history retention limit
    #[arg(long, value_name = "int")]
    pub task_history_limit: Option<i64>,
}
