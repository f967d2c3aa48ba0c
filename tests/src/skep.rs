//! Where the `skep` binary is.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// The binary under test: `SKEP_BIN`, or else the newest one that cargo built.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SKEP_BIN") {
        let path = PathBuf::from(path);
        if path.is_absolute() && path.exists() {
            return Ok(path);
        }
        bail!("SKEP_BIN is {}, which is not the absolute path of a file", path.display());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")), PathBuf::from);
    let newest = ["release", "debug"]
        .iter()
        .flat_map(|profile| {
            [target.join("x86_64-unknown-linux-gnu").join(profile).join("skep"), target.join(profile).join("skep")]
        })
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max();
    match newest {
        Some((_, path)) => Ok(path.canonicalize()?),
        None => bail!("no skep binary in {}: run `make build`", target.display()),
    }
}
