//! `skep network …`: this machine's networks and, where there is one, the swarm's.

pub(super) mod create;
pub(super) mod inspect;
pub(super) mod list;
pub(super) mod remove;

use anyhow::Result;

use crate::args::network::Command;
use crate::context::Node;

/// Runs one of them.
pub(super) fn dispatch(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Create(args) => create::run(node, &args),
        Command::Inspect(args) => inspect::run(node, &args),
        Command::Ls(args) => list::run(node, &args),
        Command::Prune(args) => remove::prune(node, &args),
        Command::Rm(args) => remove::run(node, &args),
    }
}
