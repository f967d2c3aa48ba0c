//! What flows in and out of containers that run: attach, exec, logs, statistics.

pub mod attach;
pub(crate) mod control;
pub mod exec;
pub(crate) mod hang_up;
pub(crate) mod hold;
pub mod logs;
pub mod stats;
pub(crate) mod terminal;
pub mod watch;
