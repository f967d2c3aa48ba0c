//! Flags of `system …`, `info`, `version`, `inspect`, `agent`, `completion`.

use clap::{Args, Subcommand};

/// `system …`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Display system-wide information
    Info(Info),
}

/// `info`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct Info {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    pub format: Option<String>,
}

/// `version`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct Version {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    pub format: Option<String>,
}

/// `inspect`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] NAME|ID [NAME|ID...]")]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    pub format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    pub size: bool,
    /// Only inspect objects of the given type
    #[arg(long, value_name = "string", value_parser = ["container", "image", "network", "node", "service", "task", "volume"])]
    pub r#type: Option<String>,
    /// The objects
    #[arg(required = true, value_name = "NAME|ID")]
    pub names: Vec<String>,
}

/// `agent`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct Agent {
    /// Log to this file instead of the standard error
    #[arg(long, value_name = "file")]
    pub log_file: Option<std::path::PathBuf>,
    /// End if no swarm is made or joined within 15 seconds
    #[arg(long)]
    pub exit_when_idle: bool,
}

/// `completion`
#[derive(Debug, Args)]
#[command(override_usage = "SHELL")]
pub(crate) struct Completion {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}
