//! The value syntaxes of the command line: pure functions from text to values, in docker's error words.
//!
//! Called by the argument types in [`crate::args`] (as clap value parsers) and by the commands.
//! Invariant: nothing here touches the system but [`mod@env`], which reads files that the user names.

pub mod csv;
pub mod env;
pub mod filter;
pub mod health;
pub mod mount;
pub mod network;
pub mod options;
pub mod port;
