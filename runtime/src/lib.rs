//! Containers of skep on one machine: made, started, watched over, spoken to, removed.
//!
//! ```text
//! cli, swarm executor ──→ Runtime ── create ─→ files below ROOT and RUN_ROOT
//!                            │                        ▲
//!                            ├── start ─→ shim ───────┘ state.json, log
//!                            │              │ └─ kernel: namespaces, mounts, cgroups, last mile
//!                            └── stop, attach, wait … ─→ shim.sock
//! ```
//!
//! There is no daemon: every method of [`Runtime`] works on the state on disk, under locks, and
//! talks to the one shim of the container. See [`Roots`] for what is where, and `heal` for what
//! happens after a kill.
//!
//! What `cli` and its engine use is named at this level, in [`config`] and in [`state`]. [`kernel`] is public for who
//! wants a container without records or shim, as the kernel's own tests do.
//!
//! Invariants:
//! - **One writer for each file**, and no file is edited in place.
//! - **A container that is said to run has a living shim**; what has not is healed by the next
//!   command that looks.
//! - **A process that touches a container has one thread.**

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests are programs"))]

mod error;
mod files;
pub mod kernel;
mod lifecycle;
mod records;
mod reexec;
mod runtime;
mod shim;
mod streams;

pub use error::{Error, Result};
pub use lifecycle::create::Created;
pub use lifecycle::remove::RemoveOptions;
pub use lifecycle::stop::{StopOptions, Update, WaitCondition};
pub use records::details::{ContainerDetails, ContainerFiles};
pub use records::list::ContainerSummary;
pub use records::made_up_names::made_up_name;
pub use records::roots::Roots;
pub use records::volumes::{Volume, Volumes};
pub use records::{config, state};
pub use reexec::dispatch;
pub use runtime::Runtime;
pub use streams::attach::Attach;
pub use streams::codec::{Input, Output, OutputDecoder};
pub use streams::exec::ExecOptions;
pub use streams::logs::{LOOK_AGAIN, LogEntry, LogOptions, LogRead, LogReader, LogStream};
pub use streams::session::{Peer, Session};
pub use streams::stats::{StatsSample, TopRow};
