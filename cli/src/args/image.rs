//! Flags of `image …`, `login`, `logout` and their short cuts.

use clap::{Args, Subcommand};

use super::ListFlags;
use crate::parse::filter::{self, Filter};

/// `image …`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Display detailed information on one or more images
    Inspect(Inspect),
    /// List images
    #[command(visible_alias = "list")]
    Ls(List),
    /// Remove unused images
    Prune(Prune),
    /// Download an image from a registry
    Pull(Pull),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(Remove),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(Tag),
}

/// `pull`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] NAME[:TAG|@DIGEST]")]
pub(crate) struct Pull {
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    pub platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    /// The image
    #[arg(value_name = "NAME")]
    pub image: String,
}

/// `images`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] [REPOSITORY[:TAG]]")]
pub(crate) struct List {
    /// Show all images
    #[arg(short, long)]
    pub all: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Filter, format, quiet.
    #[command(flatten)]
    pub list: ListFlags,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Only images of this repository
    #[arg(value_name = "REPOSITORY")]
    pub repository: Option<String>,
}

/// `rmi`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] IMAGE [IMAGE...]")]
pub(crate) struct Remove {
    /// Force removal of the image
    #[arg(short, long)]
    pub force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    pub no_prune: bool,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// `image inspect`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] IMAGE [IMAGE...]")]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    pub format: Option<String>,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// `tag`
#[derive(Debug, Args)]
#[command(override_usage = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]")]
pub(crate) struct Tag {
    /// The image
    #[arg(value_name = "SOURCE_IMAGE")]
    pub source: String,
    /// Its new name
    #[arg(value_name = "TARGET_IMAGE")]
    pub target: String,
}

/// `image prune`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS]")]
pub(crate) struct Prune {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    pub all: bool,
    /// Provide filter values
    #[arg(long, value_name = "filter", value_parser = filter::filter)]
    pub filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
}

/// `login`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] [SERVER]")]
pub(crate) struct Login {
    /// Password or Personal Access Token (PAT)
    #[arg(short, long, value_name = "string")]
    pub password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    pub password_stdin: bool,
    /// Username
    #[arg(short, long, value_name = "string")]
    pub username: Option<String>,
    /// The registry
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// `logout`
#[derive(Debug, Args)]
#[command(override_usage = "[SERVER]")]
pub(crate) struct Logout {
    /// The registry
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}
