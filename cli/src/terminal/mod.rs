//! The user's end of a session with a program in a container: descriptors 0, 1 and 2 of this process.
//!
//! Called by `run`, `start -a`, `attach` and `exec`. A terminal is raw meanwhile, its size is passed on, the keys that
//! leave the program running are looked for, and this process stands for the program: the signals that it gets are the
//! program's.
//!
//! Invariants:
//! - **The terminal is as it was before on every way out** but SIGKILL: the end, an error, leaving, a signal, a window
//!   that was closed; and while this process is stopped.
//! - **Keys are read however slow the screen is**: nothing in the loop blocks, and what waits is bounded.

mod client;
mod keys;
mod raw;
mod signals;
mod sink;

pub(crate) use client::{End, Forward, Options, attend};
pub(crate) use raw::size;
pub(crate) use signals::Signals;
