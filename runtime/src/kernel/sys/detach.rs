//! What a program that this one starts does between fork and execve.
//!
//! The caller may have any number of threads (an async server does): after the fork only system calls are made, nothing
//! is allocated, no lock is taken.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::check;

/// Makes a process of its own of what `command` starts: nobody's child whose end would have to be waited for, in a
/// session of its own. What the caller waits for is a process in between, which ends at once.
///
/// With `program`, it is also in a mount namespace of its own, in which that path is mounted read-only over itself;
/// `command` should execute just that path.
pub(crate) fn detach(command: &mut Command, program: Option<CString>) {
    // SAFETY: the closure makes system calls only, on strings that were allocated before the fork.
    unsafe { command.pre_exec(move || enter(program.as_deref())) };
}

fn enter(program: Option<&CStr>) -> io::Result<()> {
    // The raw call: the C library's fork takes locks that another thread may have held.
    // SAFETY: without CLONE_VM and with a null stack, clone(2) behaves as fork(2). The argument order of the last two
    // differs between architectures, both are zero. The child goes on with system calls only.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0usize, 0usize, 0usize, 0usize) };
    if check(child)? > 0 {
        super::exit_now(0);
    }
    // SAFETY: setsid(2) takes nothing.
    check(unsafe { libc::setsid() }.into())?;
    let Some(program) = program else { return Ok(()) };
    // SAFETY: unshare(2) takes an integer.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into())?;
    mount(c"none", c"/", libc::MS_REC | libc::MS_SLAVE)?;
    mount(program, program, libc::MS_BIND)?;
    mount(program, program, libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID)
}

fn mount(source: &CStr, target: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: both strings are NUL-terminated and outlive the call; type and data may be null with these flags.
    let result = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), std::ptr::null(), flags, std::ptr::null()) };
    check(result.into())?;
    Ok(())
}
