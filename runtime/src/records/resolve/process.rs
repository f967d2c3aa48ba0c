//! The container's first process.
//!
//! Called by `create` (to check) and at each start; what `exec` runs later is made from its answer.

use super::{environment, security};
use crate::error::Result;
use crate::kernel::{Process, User};
use crate::records::config::{ContainerConfig, ResolvedConfig};

/// The container's first process.
///
/// # Errors
/// A capability or security option is unknown.
pub(crate) fn process(config: &ContainerConfig, resolved: &ResolvedConfig, hostname: &str) -> Result<Process> {
    Ok(Process {
        args: resolved.entrypoint.iter().chain(&resolved.cmd).cloned().collect(),
        env: environment::with_defaults(&resolved.env, hostname, config.tty),
        cwd: resolved.working_dir.clone(),
        user: User { spec: resolved.user.clone(), additional_groups: config.group_add.clone() },
        capabilities: security::capabilities(&config.cap_add, &config.cap_drop)?,
        no_new_privileges: security::security(config)?.no_new_privileges,
        terminal: config.tty,
        terminal_size: config.terminal_size,
        rlimits: config.ulimits.clone(),
        oom_score_adj: config.oom_score_adj,
        umask: None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::process;
    use crate::records::config::{ContainerConfig, Ulimit};
    use crate::records::resolve::fixtures::{image, strings};
    use crate::records::resolve::resolve;

    #[test]
    fn rlimits_and_user_reach_the_process() {
        let config = ContainerConfig {
            ulimits: vec![Ulimit { name: "nofile".to_owned(), soft: 10, hard: 20 }],
            user: Some("1000:1000".to_owned()),
            group_add: strings(&["audio"]),
            ..Default::default()
        };
        let process = process(&config, &resolve(&config, &image()).unwrap(), "h").unwrap();
        assert_eq!((process.rlimits[0].soft, process.rlimits[0].hard), (10, 20));
        assert_eq!((process.user.spec.as_str(), process.user.additional_groups[0].as_str()), ("1000:1000", "audio"));
    }
}
