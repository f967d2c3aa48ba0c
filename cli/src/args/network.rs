//! Flags of `network …`.

use clap::{Args, Subcommand};

use super::{ListFlags, Prune};
use crate::parse::env;

/// `network …`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a network
    Create(Create),
    /// Display detailed information on one or more networks
    Inspect(Inspect),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(List),
    /// Remove all unused networks
    Prune(Prune),
    /// Remove one or more networks
    #[command(visible_alias = "remove")]
    Rm(Remove),
}

/// `network create`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] NETWORK")]
pub(crate) struct Create {
    /// Enable manual container attachment
    #[arg(long)]
    pub attachable: bool,
    /// Driver to manage the Network
    #[arg(short, long, value_name = "string", default_value = "bridge")]
    pub driver: String,
    /// IPv4 Gateway for the master subnet
    #[arg(long, value_name = "ip")]
    pub gateway: Vec<std::net::Ipv4Addr>,
    /// Create swarm routing-mesh network
    #[arg(long)]
    pub ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    pub internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "CIDR")]
    pub ip_range: Vec<ipnet::Ipv4Net>,
    /// IP Address Management Driver
    #[arg(long, value_name = "string", default_value = "default", value_parser = ["default"])]
    pub ipam_driver: String,
    /// Set metadata on a network
    #[arg(long, value_name = "list", value_parser = env::label)]
    pub label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "map")]
    pub opt: Vec<String>,
    /// Control the network's scope
    #[arg(long, value_name = "string")]
    pub scope: Option<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "CIDR")]
    pub subnet: Vec<ipnet::Ipv4Net>,
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub network: String,
}

/// `network ls`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct List {
    /// Filter, format, quiet.
    #[command(flatten)]
    pub list: ListFlags,
    /// Do not truncate the output
    #[arg(long)]
    pub no_trunc: bool,
}

/// `network inspect`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] NETWORK [NETWORK...]")]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    pub format: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short, long)]
    pub verbose: bool,
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    pub networks: Vec<String>,
}

/// `network rm`
#[derive(Debug, Args)]
#[command(override_usage = "NETWORK [NETWORK...]")]
pub(crate) struct Remove {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    pub force: bool,
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    pub networks: Vec<String>,
}
