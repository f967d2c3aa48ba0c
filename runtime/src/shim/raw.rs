//! What the shim asks of the C library that no safe wrapper offers.
#![allow(unsafe_code)]

use std::fs;

/// Gives memory that is not in use any more back to the kernel: a shim is paid once per container.
pub(super) fn trim_memory() {
    trim_stack();
    trim_heap();
}

/// What lies below the stack in use: what calls have left that went deeper than the present one.
fn trim_stack() {
    /// More than the functions called from here need.
    const MARGIN: usize = 8 << 10;
    // SAFETY: sysconf(3) has no preconditions.
    let Ok(page) = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }) else { return };
    let here = 0_u8;
    let here = std::ptr::from_ref(&here).addr();
    let end = here.saturating_sub(MARGIN) & !(page - 1);
    let Some(start) = stack_around(here) else { return };
    if start < end {
        // SAFETY: the range is mapped, belongs to the stack of this thread, the only one, and ends below all of its
        // frames; signals are blocked, so that no handler's frame can be there either.
        unsafe {
            libc::madvise(std::ptr::without_provenance_mut(start), end - start, libc::MADV_DONTNEED);
        }
    }
}

/// Where the stack that holds `address` begins: proc_pid_maps(5), "start-end permissions offset device inode [stack]".
fn stack_around(address: usize) -> Option<usize> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let stack = maps.lines().find(|line| line.ends_with("[stack]"))?;
    let (start, rest) = stack.split_once('-')?;
    let (end, _) = rest.split_once(' ')?;
    let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16).ok());
    start.filter(|start| (*start..end.unwrap_or(0)).contains(&address))
}

fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time; the process is single-threaded.
    unsafe {
        libc::malloc_trim(0);
    }
}
