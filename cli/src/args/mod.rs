//! The tree of commands and their flags, as docker's users know them.
//!
//! Types only: what a command does is in [`crate::commands`], what a value means in [`crate::parse`].
//! [`usage`] turns clap's errors into docker's words and exit codes.

// These comments are the help that users read, brackets and all.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags, rustdoc::bare_urls)]

pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod service;
pub(crate) mod swarm;
pub(crate) mod system;
pub(crate) mod update;
pub(crate) mod usage;
pub(crate) mod volume;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "skep",
    about = "A daemonless container runtime and swarm, in one binary",
    disable_version_flag = true,
    override_usage = "[OPTIONS] COMMAND"
)]
pub(crate) struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// Print version information and quit
    #[arg(short = 'v', long)]
    pub version: bool,
    /// Enable debug mode
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Set the logging level ("debug", "info", "warn", "error", "fatal")
    #[arg(short = 'l', long, value_name = "string")]
    pub log_level: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Where this node keeps its things; accepted before and after the command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Directory of what survives a reboot
    #[arg(long, global = true, env = "SKEP_ROOT", default_value = "/var/lib/skep", value_name = "directory")]
    pub root: PathBuf,
    /// Directory of live state
    #[arg(long, global = true, env = "SKEP_RUN_ROOT", default_value = "/run/skep", value_name = "directory")]
    pub run_root: PathBuf,
    /// Cgroup below which the containers' cgroups are made
    #[arg(long, global = true, env = "SKEP_CGROUP_PARENT", default_value = "/skep", value_name = "string")]
    pub cgroup_parent: String,
}

/// The commands, those under a noun and docker's short cuts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create and run a new container from an image
    Run(Box<container::Run>),
    /// Execute a command in a running container
    Exec(container::Exec),
    /// List containers
    Ps(container::List),
    /// Download an image from a registry
    Pull(image::Pull),
    /// List images
    Images(image::List),
    /// Authenticate to a registry
    Login(image::Login),
    /// Log out from a registry
    Logout(image::Logout),
    /// Show the skep version information
    Version(system::Version),
    /// Display system-wide information
    Info(system::Info),

    /// Manage containers
    #[command(subcommand, override_usage = "COMMAND")]
    Container(container::Command),
    /// Manage images
    #[command(subcommand, override_usage = "COMMAND")]
    Image(image::Command),
    /// Manage networks
    #[command(subcommand, override_usage = "COMMAND")]
    Network(network::Command),
    /// Manage volumes
    #[command(subcommand, override_usage = "COMMAND")]
    Volume(volume::Command),
    /// Manage Swarm
    #[command(subcommand, override_usage = "COMMAND")]
    Swarm(swarm::Command),
    /// Manage Swarm nodes
    #[command(subcommand, override_usage = "COMMAND")]
    Node(node::Command),
    /// Manage Swarm services
    #[command(subcommand, override_usage = "COMMAND")]
    Service(service::Command),
    /// Manage skep
    #[command(subcommand, override_usage = "COMMAND")]
    System(system::Command),

    /// Attach local standard input, output, and error streams to a running container
    Attach(container::Attach),
    /// Create a new container
    Create(Box<container::Create>),
    /// Return low-level information on objects
    Inspect(system::Inspect),
    /// Kill one or more running containers
    Kill(container::Kill),
    /// Fetch the logs of a container
    Logs(container::Logs),
    /// Pause all processes within one or more containers
    Pause(container::Names),
    /// List port mappings or a specific mapping for the container
    Port(container::Port),
    /// Rename a container
    Rename(container::Rename),
    /// Restart one or more containers
    Restart(container::Stop),
    /// Remove one or more containers
    Rm(container::Remove),
    /// Remove one or more images
    Rmi(image::Remove),
    /// Start one or more stopped containers
    Start(container::Start),
    /// Display a live stream of container(s) resource usage statistics
    Stats(container::Stats),
    /// Stop one or more running containers
    Stop(container::Stop),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(image::Tag),
    /// Display the running processes of a container
    Top(container::Top),
    /// Unpause all processes within one or more containers
    Unpause(container::Names),
    /// Update configuration of one or more containers
    Update(container::Update),
    /// Block until one or more containers stop, then print their exit codes
    Wait(container::Names),

    /// Run this node's swarm agent in the foreground
    Agent(system::Agent),
    /// Print a completion script for a shell
    Completion(system::Completion),
}

/// The flags that most lists have.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListFlags {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter", value_parser = crate::parse::filter::filter)]
    pub filter: Vec<crate::parse::filter::Filter>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "string")]
    pub format: Option<String>,
    /// Only display IDs
    #[arg(short, long)]
    pub quiet: bool,
}

/// The flags of `service ps` and `node ps`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TaskListFlags {
    /// Filter, format, quiet.
    #[command(flatten)]
    pub list: ListFlags,
    /// Do not map IDs to Names
    #[arg(long)]
    pub no_resolve: bool,
    /// Do not truncate output
    #[arg(long)]
    pub no_trunc: bool,
}

/// The flags of `container prune` and `network prune`.
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct Prune {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter", value_parser = crate::parse::filter::filter)]
    pub filter: Vec<crate::parse::filter::Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
}
