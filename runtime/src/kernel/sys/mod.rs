//! The only place in this crate that talks to the kernel without the compiler's help.
//!
//! Thin: one function for one system call (or one C library call) that no safe wrapper offers.
//! Called by [`crate::kernel`]. Every return code becomes an [`io::Result`].
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

pub(crate) mod bpf;
pub(crate) mod detach;
pub(crate) mod terminal;

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    /// The process that called; the child's id as the caller sees it.
    Parent(i32),
    /// The new process.
    Child,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// fork(2). The caller has to be single-threaded, so that the child can go on using the
/// allocator and everything else.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the process is single-threaded (a rule of every caller), so no lock can be held by
    // a thread that does not exist in the child.
    match check(unsafe { libc::fork() }.into())? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid as i32)),
    }
}

/// Forks a sibling: a child of this process' parent. Same rule as for [`fork`].
pub(crate) fn fork_sibling() -> io::Result<Fork> {
    let flags = (libc::CLONE_PARENT | libc::SIGCHLD) as libc::c_ulong;
    // SAFETY: without CLONE_VM and with a null stack, clone(2) behaves as fork(2): the child runs
    // on a copy of this stack. The argument order of the last two differs between architectures,
    // both are zero. The process is single-threaded.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize) };
    match check(result)? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid as i32)),
    }
}

/// Ends this process at once: no destructor, no buffer is flushed twice after a fork.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) does not return and touches no memory of this process.
    unsafe { libc::_exit(code) }
}

/// kill(2) with any signal, real-time ones included.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) takes two integers and touches no memory of this process.
    check(unsafe { libc::kill(pid, signal) }.into())?;
    Ok(())
}

/// A child that has ended, any or the one with this number, and how; waits for none.
///
/// Not by way of an enumeration of signals: the real-time ones, by which a child may have ended, are in none.
pub(crate) fn ended_child(pid: Option<i32>) -> io::Result<Option<(i32, ExitStatus)>> {
    let mut status = 0;
    // SAFETY: waitpid(2) writes one int, which outlives the call.
    let child = check(unsafe { libc::waitpid(pid.unwrap_or(-1), &raw mut status, libc::WNOHANG) }.into())? as i32;
    Ok((child > 0).then(|| (child, ExitStatus::from_raw(status))))
}

/// Marks every descriptor from `first` on close-on-exec.
pub(crate) fn set_close_on_exec_from(first: RawFd) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: close_range(2) with this flag changes descriptor flags only; no memory is passed.
    let result = check(unsafe {
        libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC)
    });
    if result.is_ok() {
        return Ok(());
    }
    // Kernels before 5.11 do not know the call or the flag.
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(fd) = number.filter(|fd: &RawFd| *fd >= first) {
            // SAFETY: F_SETFD takes an integer; a descriptor closed meanwhile gives EBADF.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Closes every descriptor above the standard streams but those in `kept`: they are gone while a program is looked up,
/// too, and where none is executed.
///
/// What owns one of them must be gone already, or never be dropped.
pub(crate) fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<RawFd> = kept.iter().map(AsRawFd::as_raw_fd).filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for next in kept.iter().copied().chain([RawFd::MAX]) {
        if first < next {
            // SAFETY: close_range(2) takes three integers; nothing uses these descriptors any more (a rule of every
            // caller).
            let closed = unsafe { libc::syscall(libc::SYS_close_range, first, next - 1, 0) };
            if closed < 0 {
                // Kernels before 5.9 do not know the call.
                return close_listed(&kept);
            }
        }
        first = next.saturating_add(1);
    }
    Ok(())
}

fn close_listed(kept: &[RawFd]) -> io::Result<()> {
    let numbers = std::fs::read_dir("/proc/self/fd")?
        .map(|entry| Ok(entry?.file_name().to_str().and_then(|name| name.parse().ok())))
        .collect::<io::Result<Vec<Option<RawFd>>>>()?;
    for fd in numbers.into_iter().flatten().filter(|fd| *fd > 2 && !kept.contains(fd)) {
        // SAFETY: close(2) takes an integer; as above. The list's own descriptor is closed already: EBADF.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Whether close_range(2) can mark descriptors close-on-exec (Linux 5.11).
pub(crate) fn has_close_range() -> bool {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    let none = libc::c_uint::MAX;
    // SAFETY: the range holds no descriptor that can exist; no memory is passed.
    unsafe { libc::syscall(libc::SYS_close_range, none, none, CLOSE_RANGE_CLOEXEC) == 0 }
}

/// Makes descriptor `to` a copy of `from`, open across exec, whatever it was before.
pub(crate) fn dup_onto(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    if from.as_raw_fd() == to {
        // dup2 onto itself would leave close-on-exec set.
        // SAFETY: F_SETFD takes an integer.
        check(unsafe { libc::fcntl(to, libc::F_SETFD, 0) }.into())?;
        return Ok(());
    }
    // SAFETY: dup2(2) takes two integers; `to` is one of the standard streams, which no owner in
    // this program closes.
    check(unsafe { libc::dup2(from.as_raw_fd(), to) }.into())?;
    Ok(())
}

/// Borrows a descriptor that another part of this process keeps open for its whole life.
pub(crate) fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: callers pass descriptors kept open until exec or exit: the standard streams, and
    // those the parent opened before the fork and never closes in the child.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Takes over a descriptor received from the kernel.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass numbers the kernel has just made for this process (SCM_RIGHTS,
    // bpf(2)), which nothing else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Back to what a fresh process has: no blocked signal, every disposition the default. The Rust
/// runtime ignores SIGPIPE, and exec hands an ignored signal on.
pub(crate) fn reset_signals() {
    // The kernel's struct sigaction, zeroed: SIG_DFL, no flags, an empty mask. By the raw calls,
    // as the C library keeps its own two signals to itself. SIGKILL and SIGSTOP refuse.
    let default = [0u64; 4];
    let set_len: usize = 8;
    for signal in 1..=64 {
        // SAFETY: the kernel reads a struct sigaction, which is no longer than this array, and
        // writes nothing.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), set_len)
        };
    }
    let empty = 0u64;
    // SAFETY: the kernel reads a set of 64 signals and writes nothing.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const empty,
            std::ptr::null_mut::<u64>(),
            set_len,
        )
    };
}

/// Removes one capability from the bounding set.
pub(crate) fn drop_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: PR_CAPBSET_DROP takes integers.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) }.into())?;
    Ok(())
}

/// Whether a capability is in the bounding set; an error for one the kernel does not know.
pub(crate) fn in_bounding(capability: u32) -> io::Result<bool> {
    // SAFETY: PR_CAPBSET_READ takes integers.
    let result = check(unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability as libc::c_ulong, 0, 0, 0) }.into())?;
    Ok(result == 1)
}

/// Empties the ambient set.
pub(crate) fn clear_ambient() -> io::Result<()> {
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong;
    // SAFETY: PR_CAP_AMBIENT takes integers.
    let result = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear, 0, 0, 0) };
    check(result.into())?;
    Ok(())
}

/// Sets effective and permitted capabilities (bit N is capability N); inheritable becomes empty.
pub(crate) fn set_capabilities(effective: u64, permitted: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let data = [0, 32].map(|shift| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: 0,
    });
    // SAFETY: header and the two data words have the layout of capset(2), version 3, and outlive
    // the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

/// setgroups(2), setresgid(2) and setresuid(2), by the raw calls: this thread is the only one.
pub(crate) fn set_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the list of groups outlives the call and its length is its own; the other two take
    // integers.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// One instruction of a classic BPF program, as the kernel reads it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilterInstruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip when true.
    pub jump_true: u8,
    /// How many instructions to skip when false.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// Loads a system call filter for this process and all it will execute.
pub(crate) fn load_filter(program: &[FilterInstruction]) -> io::Result<()> {
    #[repr(C)]
    struct Program {
        length: libc::c_ushort,
        instructions: *const FilterInstruction,
    }
    const SET_MODE_FILTER: libc::c_ulong = 1;
    // Without it, kernels before 5.16 slow the whole process down for speculation's sake.
    const FLAG_SPEC_ALLOW: libc::c_ulong = 4;
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = Program { length, instructions: program.as_ptr() };
    let load = |flags: libc::c_ulong| {
        // SAFETY: the structure has the layout of struct sock_fprog and points at `length`
        // instructions of the layout of struct sock_filter; both outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) };
        check(result)
    };
    match load(FLAG_SPEC_ALLOW) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => load(0)?,
        other => other?,
    };
    Ok(())
}

/// execve(2). Returns only on failure.
pub(crate) fn execve(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: all strings are NUL-terminated, both lists end with a null pointer, and everything
    // outlives the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}
