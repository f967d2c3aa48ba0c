//! What the shim asks of the C library that no safe wrapper offers.
#![allow(unsafe_code)]

/// Gives memory that is free back to the kernel: a shim is paid once per container.
pub(super) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time; the process is single-threaded.
    unsafe {
        libc::malloc_trim(0);
    }
}
