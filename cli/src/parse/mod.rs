//! The value syntaxes of the command line: pure functions from text to values, in docker's error words.
//!
//! Called by the argument types in [`crate::args`] (as clap value parsers) and by the commands.
//! Invariant: nothing here touches the system but [`mod@env`], which reads files that the user names.

pub(crate) mod csv;
pub(crate) mod env;
pub(crate) mod filter;
pub(crate) mod health;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod options;
pub(crate) mod port;
