//! Flags of `volume …`.

use clap::{Args, Subcommand};

use super::ListFlags;
use crate::parse::env;
use crate::parse::filter::{self, Filter};

/// `volume …`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a volume
    Create(Create),
    /// Display detailed information on one or more volumes
    Inspect(Inspect),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(List),
    /// Remove unused local volumes
    Prune(Prune),
    /// Remove one or more volumes
    #[command(visible_alias = "remove")]
    Rm(Remove),
}

/// `volume create`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] [VOLUME]")]
pub(crate) struct Create {
    /// Specify volume driver name
    #[arg(short, long, value_name = "string", default_value = "local")]
    pub driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "list", value_parser = env::label)]
    pub label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "map")]
    pub opt: Vec<String>,
    /// The volume's name
    #[arg(value_name = "VOLUME")]
    pub name: Option<String>,
}

/// `volume ls`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct List {
    /// Filter, format, quiet.
    #[command(flatten)]
    pub list: ListFlags,
}

/// `volume inspect`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] VOLUME [VOLUME...]")]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    pub format: Option<String>,
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    pub volumes: Vec<String>,
}

/// `volume rm`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] VOLUME [VOLUME...]")]
pub(crate) struct Remove {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    pub force: bool,
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    pub volumes: Vec<String>,
}

/// `volume prune`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct Prune {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    pub all: bool,
    /// Provide filter values (e.g. "label=<label>")
    #[arg(long, value_name = "filter", value_parser = filter::filter)]
    pub filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
}
