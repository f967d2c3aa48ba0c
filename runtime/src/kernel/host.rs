//! What a host has to have before it can run containers.

use std::fs;
use std::path::Path;

use super::cgroup::Paths;
use super::config::CgroupPath;
use super::error::{KernelError, Result};

/// Says early and clearly what keeps this host from running containers in `cgroup`.
///
/// # Errors
/// Not root, no cgroup hierarchy (writable), or no overlayfs.
pub fn check_host(cgroup: &CgroupPath) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(KernelError::NotRoot);
    }
    if !has_overlay() {
        return Err(KernelError::NoOverlay);
    }
    Paths::find(cgroup)?.check_writable()
}

/// In the kernel, or a module that mounting will load.
fn has_overlay() -> bool {
    let listed =
        fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.split_whitespace().any(|word| word == "overlay"));
    let module = || {
        let Ok(name) = nix::sys::utsname::uname() else { return false };
        let base = Path::new("/lib/modules").join(name.release()).join("kernel/fs/overlayfs");
        fs::read_dir(base).is_ok_and(|mut entries| entries.next().is_some())
    };
    listed || module()
}
