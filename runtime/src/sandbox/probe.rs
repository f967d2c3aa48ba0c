//! What this host can do.

use serde::{Deserialize, Serialize};

use super::{CgroupPath, Result, SandboxError};

/// What this host can do, for `skep info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// 1 or 2; 1 also for the hybrid layout.
    pub cgroup_version: u8,
    /// Names of the controllers that can be used, sorted.
    pub cgroup_controllers: Vec<String>,
    /// Overlayfs is in the kernel.
    pub overlay: bool,
    /// System call filters can be loaded.
    pub seccomp: bool,
    /// AppArmor is active.
    pub apparmor: bool,
    /// SELinux is active.
    pub selinux: bool,
    /// `uname -r`.
    pub kernel_release: String,
    /// `uname -m`.
    pub architecture: String,
}

/// Looks at this host. Never fails: what cannot be read is not there.
pub fn probe() -> Host {
    Host {
        cgroup_version: 1,
        cgroup_controllers: Vec::new(),
        overlay: false,
        seccomp: false,
        apparmor: false,
        selinux: false,
        kernel_release: String::new(),
        architecture: String::new(),
    }
}

/// Says early and clearly what keeps this host from running containers below `cgroup_parent`.
///
/// # Errors
/// Not root, no cgroup hierarchy (writable), or no overlayfs.
pub fn check_host(cgroup: &CgroupPath) -> Result<()> {
    let _ = cgroup;
    Err(SandboxError::NoCgroup)
}
