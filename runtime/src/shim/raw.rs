//! What the shim asks of the C library that no safe wrapper offers.
#![allow(unsafe_code)]

use std::io;

/// kill(2) with any signal, real-time ones included.
pub(super) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) takes two integers and touches no memory of this process.
    if unsafe { libc::kill(pid, signal) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives memory that is free back to the kernel: a shim is paid once per container.
pub(super) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time; the process is single-threaded.
    unsafe {
        libc::malloc_trim(0);
    }
}
