//! System call filters: Docker's default profile, or one in Docker's JSON format.
//!
//! A filter depends on the profile and on the container's capabilities only, so it is compiled
//! once for each combination and kept below the live state.

mod cache;
mod compile;
mod profile;

use std::path::Path;

use super::capabilities;
use super::config::Seccomp;
use super::error::{KernelError, Result};
use crate::kernel::sys::FilterInstruction;

/// Docker's default profile, written down as data.
const DEFAULT: &str = include_str!("default.json");

/// The filter for a process with these capabilities; `None` is no filter.
pub(crate) fn filter(
    wanted: &Seccomp,
    capability_names: &[String],
    directory: &Path,
) -> Result<Option<Vec<FilterInstruction>>> {
    let text = match wanted {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default => DEFAULT.to_owned(),
        Seccomp::Profile(profile) => profile.to_string(),
    };
    let mut set = 0u64;
    for name in capability_names {
        if name.eq_ignore_ascii_case("ALL") {
            set = u64::MAX;
        } else {
            set |= 1 << capabilities::number(name)?;
        }
    }
    let key = cache::key(&text, set);
    if let Some(program) = cache::load(directory, &key) {
        return Ok(Some(program));
    }
    let profile = profile::parse(&text)?;
    let program = compile::compile(&profile, set)?;
    cache::store(directory, &key, &program);
    Ok(Some(program))
}

fn invalid(problem: impl Into<String>) -> KernelError {
    KernelError::SeccompProfile(problem.into())
}
