//! `skep image …`, `pull`, `images`, `rmi`, `tag`, `login`, `logout`.

pub(super) mod inspect;
pub(super) mod list;
pub(super) mod login;
pub(super) mod pull;
pub(super) mod remove;

use anyhow::Result;

use crate::args::image::Command;
use crate::context::Node;

/// Runs one of them.
pub(super) fn dispatch(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Inspect(args) => inspect::run(node, &args),
        Command::Ls(args) => list::run(node, &args),
        Command::Prune(args) => remove::prune(node, &args),
        Command::Pull(args) => pull::run(node, &args),
        Command::Rm(args) => remove::run(node, &args),
        Command::Tag(args) => remove::tag(node, &args),
    }
}
