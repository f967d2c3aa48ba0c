//! What flows in and out of containers that run: attach, exec, logs, statistics.
//!
//! Each is a value that its holder drives and may drop at any time. Nothing here touches the standard streams, the
//! terminal or the signals of the calling process.

pub(crate) mod attach;
pub(crate) mod codec;
pub(crate) mod control;
pub(crate) mod ends;
pub(crate) mod exec;
pub(crate) mod framed;
pub(crate) mod hang_up;
pub(crate) mod logs;
pub(crate) mod session;
pub(crate) mod stats;
pub(crate) mod terminal;
pub(crate) mod watch;
