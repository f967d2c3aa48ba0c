//! Runs a program as if under Linux 4.18: every system call that is newer answers ENOSYS.
//!
//! `skep-old-kernel PROGRAM [ARGUMENT...]`. The filter is inherited by everything the program starts.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use seccompiler::{apply_filter, sock_filter};

/// `rseq`, the last one of 4.18 on x86_64. From 5.1 on numbers are the same everywhere and begin at 424.
const LAST_KNOWN: u32 = 334;
/// Below the numbers of the x32 interface.
const LAST_POSSIBLE: u32 = 0x3fff_ffff;

const LOAD_WORD: u16 = 0x20;
const JUMP_IF_GREATER: u16 = 0x25;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        bail!("usage: skep-old-kernel PROGRAM [ARGUMENT...]");
    };
    let step = |code, jump_true, jump_false, value| sock_filter { code, jt: jump_true, jf: jump_false, k: value };
    let enosys = ERRNO | u32::from(u16::try_from(Errno::ENOSYS as i32)?);
    let filter = [
        step(LOAD_WORD, 0, 0, 0),
        step(JUMP_IF_GREATER, 0, 2, LAST_KNOWN),
        step(JUMP_IF_GREATER, 1, 0, LAST_POSSIBLE),
        step(RETURN, 0, 0, enosys),
        step(RETURN, 0, 0, ALLOW),
    ];
    apply_filter(&filter).context("cannot install the filter")?;
    Err(Command::new(program).args(words).exec()).context("cannot run the program")
}
