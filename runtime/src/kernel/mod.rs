//! The kernel's side of one container: namespaces, mounts, cgroups, the system call filter, and
//! the last steps before a program runs in it.
//!
//! Called by the shim, which is single-threaded, and by the process behind `exec`; what only
//! looks at or changes cgroups ([`cgroup`], [`delete`], [`kill_all`]) may be called by
//! anyone.
//!
//! libcontainer keeps the life cycle, the namespaces and the pivot into the root. What it does
//! unsafely, slowly, or only on recent kernels is ours: the mount tree, cgroups,
//! the last mile (capabilities, user, filter, execve) and joining a running container.
//!
//! Invariants:
//! - **One path on every kernel** from 4.18 up: classic mount(2), no system call without a
//!   fallback.
//! - **A process executed later is confined exactly as the first one**: both go through the same
//!   last mile.
//! - **No path inside the container is followed through a symbolic link on the host's side.**
//! - **The process that forks is single-threaded.**

mod capabilities;
pub mod cgroup;
mod config;
mod container;
pub(crate) mod descriptors;
mod error;
pub mod exec;
mod host;
mod inside;
mod lastmile;
mod mounts;
pub(crate) mod process;
mod pty;
pub(crate) mod seal;
mod seccomp;
mod spec;
mod status;
pub(crate) mod sys;
mod user;
pub(crate) mod walk;

pub use config::*;
pub use container::{Created, Stdio, create, delete, kill_all, start};
pub use error::{KernelError, ProcessError, ProcessErrorKind, Result};
pub use host::check_host;
pub use seal::prepare_process;
pub use skep_common::procfs::start_ticks as start_time;
