//! bpf(2), as far as the device rules of cgroup version 2 need it.
//!
//! Cgroup version 2 has no device controller: a program attached to the cgroup decides.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{check, own};

/// One eBPF instruction.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// What to do.
    pub code: u8,
    /// Destination register in the low half, source register in the high half.
    pub registers: u8,
    /// Offset of a memory access or jump.
    pub offset: i16,
    /// Operand.
    pub operand: i32,
}

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
const FLAG_ALLOW_MULTI: u32 = 2;

/// Loads a program that decides about device access in a cgroup.
pub(crate) fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buffer: u64,
        kernel_version: u32,
        flags: u32,
    }
    let attributes = Attributes {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        ..Attributes::default()
    };
    // SAFETY: the attributes have the layout of the BPF_PROG_LOAD part of union bpf_attr, and
    // everything they point at outlives the call.
    let fd = check(unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attributes, size_of::<Attributes>()) })?;
    Ok(own(fd as i32))
}

/// Attaches a loaded program to the cgroup whose directory is given.
pub(crate) fn attach_device_program(program: &OwnedFd, cgroup: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    let attributes = Attributes {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_TYPE_CGROUP_DEVICE,
        flags: FLAG_ALLOW_MULTI,
    };
    // SAFETY: the attributes have the layout of the BPF_PROG_ATTACH part of union bpf_attr and
    // outlive the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attributes, size_of::<Attributes>()) })?;
    Ok(())
}
