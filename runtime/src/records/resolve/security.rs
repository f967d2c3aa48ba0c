//! Capabilities and `--security-opt`.
//!
//! Called by `create`, which refuses what is wrong before anything is written, and at each start.

use crate::error::{Error, Result};
use crate::kernel::{self, Seccomp};
use crate::records::config::ContainerConfig;

/// Docker's default set, with `add` and without `drop`; `ALL` in either is every one there is.
///
/// # Errors
/// A name is unknown.
pub(super) fn capabilities(add: &[String], drop: &[String]) -> Result<Vec<String>> {
    let mut every: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    every.sort();
    let normal = |field: &str, name: &String| {
        let upper = name.to_ascii_uppercase();
        let full = if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if full == "ALL" || every.contains(&full) {
            Ok(full)
        } else {
            Err(Error::InvalidConfig(format!("invalid {field}: unknown capability: {full:?}")))
        }
    };
    let add = add.iter().map(|name| normal("CapAdd", name)).collect::<Result<Vec<_>>>()?;
    let drop = drop.iter().map(|name| normal("CapDrop", name)).collect::<Result<Vec<_>>>()?;
    let all = "ALL".to_owned();
    let mut chosen = match (add.contains(&all), drop.contains(&all)) {
        (true, _) => every.clone(),
        (false, true) => Vec::new(),
        (false, false) => kernel::default_capabilities(),
    };
    chosen.retain(|name| !drop.contains(name));
    for name in add.into_iter().filter(|name| *name != all) {
        if !chosen.contains(&name) {
            chosen.push(name);
        }
    }
    Ok(chosen)
}

/// What `--security-opt` says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Security {
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Seccomp,
    pub(crate) system_paths_unconfined: bool,
}

/// Reads `--security-opt`.
///
/// # Errors
/// An option is unknown, or its value is not what it has to be.
pub(crate) fn security(config: &ContainerConfig) -> Result<Security> {
    let mut security = Security::default();
    for option in &config.security_opt {
        let invalid = || Error::InvalidConfig(format!("invalid --security-opt: {option:?}"));
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (name, value) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin") => security.seccomp = Seccomp::Default,
            ("seccomp", profile) => {
                let profile = serde_json::from_str(profile)
                    .map_err(|error| Error::InvalidConfig(format!("Decoding seccomp profile failed: {error}")))?;
                security.seccomp = Seccomp::Profile(profile);
            }
            ("systempaths", "unconfined") => security.system_paths_unconfined = true,
            ("apparmor", "unconfined" | "docker-default") | ("label", "disable") => {}
            _ => return Err(invalid()),
        }
    }
    Ok(security)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::{capabilities, security};
    use crate::kernel::Seccomp;
    use crate::records::config::ContainerConfig;
    use crate::records::resolve::fixtures::strings;

    #[test]
    fn capabilities_are_added_and_taken() {
        let default = capabilities(&[], &[]).unwrap();
        assert_eq!(default.len(), 14);
        let changed = capabilities(&strings(&["net_admin"]), &strings(&["CAP_CHOWN"])).unwrap();
        assert!(changed.contains(&"CAP_NET_ADMIN".to_owned()) && !changed.contains(&"CAP_CHOWN".to_owned()));
        assert_eq!(capabilities(&strings(&["KILL"]), &strings(&["all"])).unwrap(), ["CAP_KILL"]);
        let all = capabilities(&strings(&["ALL"]), &strings(&["SYS_ADMIN"])).unwrap();
        assert!(all.len() > 30 && !all.contains(&"CAP_SYS_ADMIN".to_owned()));
        let error = capabilities(&strings(&["nope"]), &[]).unwrap_err().to_string();
        assert_eq!(error, "invalid CapAdd: unknown capability: \"CAP_NOPE\"");
    }

    #[test]
    fn security_options_are_read() {
        let read =
            |options: &[&str]| security(&ContainerConfig { security_opt: strings(options), ..Default::default() });
        assert!(read(&["no-new-privileges"]).unwrap().no_new_privileges);
        assert!(!read(&["no-new-privileges=false"]).unwrap().no_new_privileges);
        assert_eq!(read(&["seccomp=unconfined"]).unwrap().seccomp, Seccomp::Unconfined);
        assert!(matches!(
            read(&["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]).unwrap().seccomp,
            Seccomp::Profile(_)
        ));
        assert!(read(&["seccomp=/no/json"]).is_err());
        assert!(read(&["systempaths=unconfined"]).unwrap().system_paths_unconfined);
        assert!(read(&["nonsense"]).is_err());
    }
}
