//! `skep container …` and its short cuts.

pub(crate) mod attach;
pub(crate) mod exec;
pub(crate) mod inspect;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod request;
pub(crate) mod run;
pub(crate) mod stats;
pub(crate) mod top;
pub(crate) mod update;

use anyhow::Result;

use crate::args::container::Command;
use crate::context::Node;

/// Runs one of them.
pub(crate) fn dispatch(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Attach(args) => attach::run(node, &args),
        Command::Create(args) => run::create(node, *args),
        Command::Exec(args) => exec::run(node, args),
        Command::Inspect(args) => inspect::run(node, &args),
        Command::Kill(args) => lifecycle::kill(node, &args),
        Command::Logs(args) => logs::run(node, &args),
        Command::Ls(args) => list::run(node, &args),
        Command::Pause(args) => lifecycle::pause(node, &args),
        Command::Port(args) => port::run(node, &args),
        Command::Prune(args) => prune::run(node, &args),
        Command::Rename(args) => lifecycle::rename(node, &args),
        Command::Restart(args) => lifecycle::restart(node, &args),
        Command::Rm(args) => lifecycle::remove(node, &args),
        Command::Run(args) => run::run(node, *args),
        Command::Start(args) => lifecycle::start(node, &args),
        Command::Stats(args) => stats::run(node, &args),
        Command::Stop(args) => lifecycle::stop(node, &args),
        Command::Top(args) => top::run(node, &args),
        Command::Unpause(args) => lifecycle::unpause(node, &args),
        Command::Update(args) => update::run(node, &args),
        Command::Wait(args) => lifecycle::wait(node, &args),
    }
}
