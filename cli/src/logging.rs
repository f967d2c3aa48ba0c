//! Where the libraries' log goes: the standard error, or the agent's file.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// The level of `-l` and `-D`, or else `default`.
pub(crate) fn level(asked: Option<&str>, debug: bool, default: &str) -> String {
    match asked {
        _ if debug => "debug".to_owned(),
        Some("fatal") => "error".to_owned(),
        Some(level) => level.to_owned(),
        None => default.to_owned(),
    }
}

/// Starts logging, to `file` or to the standard error. `SKEP_LOG` refines the level, as `RUST_LOG` does elsewhere.
pub(crate) fn start(level: &str, file: Option<&Path>) -> Result<()> {
    let filter = match std::env::var("SKEP_LOG") {
        Ok(directives) => EnvFilter::try_new(directives).context("SKEP_LOG is not a log filter")?,
        Err(_) => EnvFilter::try_new(format!("{level},h2=warn,hyper=warn,tower=warn,rustls=warn,openraft=off"))
            .with_context(|| format!("unable to parse logging level: {level}"))?,
    };
    let writer = match file {
        Some(path) => {
            let log = File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot open the log {}", path.display()))?;
            BoxMakeWriter::new(std::sync::Arc::new(log))
        }
        None => BoxMakeWriter::new(std::io::stderr),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer).init();
    Ok(())
}
