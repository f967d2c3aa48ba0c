//! What this host can do.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cgroup::{Paths, hierarchies};
use super::config::CgroupPath;
use super::error::{KernelError, Result};
use crate::kernel::sys;

/// What this host can do, for `skep info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// 1 or 2; 1 also for the hybrid layout; 0 if there is none.
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
    let hierarchies = hierarchies().unwrap_or_default();
    let legacy = hierarchies.iter().any(|h| !h.unified && !h.controllers.is_empty());
    let mut controllers: Vec<String> = hierarchies.iter().flat_map(|hierarchy| hierarchy.controllers.clone()).collect();
    controllers.sort();
    controllers.dedup();
    let (kernel_release, architecture) = kernel_name();
    Host {
        cgroup_version: match (hierarchies.is_empty(), legacy) {
            (true, _) => 0,
            (_, true) => 1,
            (_, false) => 2,
        },
        cgroup_controllers: controllers,
        overlay: has_overlay(),
        seccomp: sys::has_filters(),
        apparmor: fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y')),
        selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        kernel_release,
        architecture,
    }
}

/// Release and machine, as uname(1) prints them.
fn kernel_name() -> (String, String) {
    let Ok(name) = nix::sys::utsname::uname() else {
        return (String::new(), String::new());
    };
    let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    (text(name.release()), text(name.machine()))
}

/// In the kernel, or a module that mounting will load.
fn has_overlay() -> bool {
    let listed =
        fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.split_whitespace().any(|word| word == "overlay"));
    let module = || {
        let release = kernel_name().0;
        let base = Path::new("/lib/modules").join(release).join("kernel/fs/overlayfs");
        fs::read_dir(base).is_ok_and(|mut entries| entries.next().is_some())
    };
    listed || module()
}

/// Says early and clearly what keeps this host from running containers in `cgroup`.
///
/// # Errors
/// Not root, no cgroup hierarchy (writable), or no overlayfs.
pub fn check_host(cgroup: &CgroupPath) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(KernelError::NotRoot);
    }
    if !has_overlay() {
        return Err(KernelError::NoOverlay);
    }
    Paths::find(cgroup)?.check_writable()
}
