//! Containers of skep on one machine: made, started, watched over, spoken to, removed.
//!
//! ```text
//! cli, swarm executor ──→ Runtime ── create ─→ files below ROOT and RUN_ROOT
//!                            │                        ▲
//!                            ├── start ─→ shim ───────┘ state.json, log
//!                            │              │ └─ sandbox: kernel side of the container
//!                            └── stop, attach, wait … ─→ shim.sock
//! ```
//!
//! There is no daemon: every method of [`Runtime`] works on the state on disk, under locks, and
//! talks to the one shim of the container. See [`roots`] for what is where, and `heal` for what
//! happens after a kill.
//!
//! Invariants:
//! - **One writer for each file**, and no file is edited in place.
//! - **A container that is said to run has a living shim**; what has not is healed by the next
//!   command that looks.
//! - **A process that touches a container has one thread.**

pub mod attach;
pub mod config;
pub mod create;
pub mod error;
pub mod exec;
mod heal;
pub mod inspect;
pub mod list;
pub mod logs;
mod reexec;
pub mod remove;
pub mod roots;
pub mod runtime;
pub mod sandbox;
mod start;
pub mod state;
pub mod stats;
pub mod stop;
pub mod volumes;
pub mod watch;

mod control;
mod copy_up;
mod descriptors;
mod files;
mod hang_up;
mod health;
mod hold;
mod hosts;
mod launch;
mod merge;
pub mod names;
mod network;
mod process;
mod shim;
mod signal;
mod sys;
mod terminal;

pub use attach::{Attach, AttachEnd, AttachStream, ProxyOptions};
pub use create::Created;
pub use error::{Error, Result};
pub use exec::ExecOptions;
pub use list::ContainerSummary;
pub use logs::{LogEntry, LogOptions, LogReader, LogStream};
pub use reexec::dispatch;
pub use remove::{Pruned, RemoveOptions};
pub use roots::Roots;
pub use runtime::Runtime;
pub use stats::{StatsSample, TopRow};
pub use stop::{StopOptions, Update, WaitCondition};
pub use volumes::{Volume, VolumeInspect, Volumes};
