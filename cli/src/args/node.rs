//! Flags of `node …`.

use clap::{Args, Subcommand};

use super::{ListFlags, TaskListFlags};
use crate::parse::env;

/// `node …`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Demote one or more nodes from manager in the swarm
    Demote(Names),
    /// Display detailed information on one or more nodes
    Inspect(Inspect),
    /// List nodes in the swarm
    #[command(visible_alias = "list")]
    Ls(List),
    /// Promote one or more nodes to manager in the swarm
    Promote(Names),
    /// List tasks running on one or more nodes, defaults to current node
    Ps(Tasks),
    /// Remove one or more nodes from the swarm
    #[command(visible_alias = "remove")]
    Rm(Remove),
    /// Update a node
    Update(Update),
}

/// `node promote` and `node demote`
#[derive(Debug, Args)]
#[command(override_usage = "NODE [NODE...]")]
pub(crate) struct Names {
    /// The nodes
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
}

/// `node ls`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct List {
    /// Filter, format, quiet.
    #[command(flatten)]
    pub list: ListFlags,
}

/// `node inspect`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] self|NODE [NODE...]")]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    pub format: Option<String>,
    /// Print the information in a human friendly format
    #[arg(long)]
    pub pretty: bool,
    /// The nodes
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
}

/// `node ps`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] [NODE...]")]
pub(crate) struct Tasks {
    /// What is shown of them, and how.
    #[command(flatten)]
    pub shown: TaskListFlags,
    /// The nodes
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
}

/// `node rm`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] NODE [NODE...]")]
pub(crate) struct Remove {
    /// Force remove a node from the swarm
    #[arg(short, long)]
    pub force: bool,
    /// The nodes
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
}

/// `node update`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] NODE")]
pub(crate) struct Update {
    /// Availability of the node ("active", "pause", "drain")
    #[arg(long, value_name = "string")]
    pub availability: Option<String>,
    /// Add or update a node label (key=value)
    #[arg(long, value_name = "list", value_parser = env::label)]
    pub label_add: Vec<String>,
    /// Remove a node label if exists
    #[arg(long, value_name = "list")]
    pub label_rm: Vec<String>,
    /// Role of the node ("worker", "manager")
    #[arg(long, value_name = "string")]
    pub role: Option<String>,
    /// The node
    #[arg(value_name = "NODE")]
    pub node: String,
}
