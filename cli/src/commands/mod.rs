//! The commands, a directory for each noun, a file for each verb (or for a few small ones).
//!
//! A command returns its exit code, or an error which `main` prints.

mod agent;
pub(crate) mod container;
mod image;
mod info;
mod inspect;
mod network;
pub(crate) mod node;
pub(crate) mod service;
mod swarm;
pub(crate) mod version;
mod volume;

use anyhow::Result;

use crate::args::container::Command as OfContainer;
use crate::args::image::Command as OfImage;
use crate::args::{Cli, Command, system, usage};
use crate::context::Node;
use crate::logging;

/// Runs the command that was asked for.
pub(crate) fn dispatch(cli: Cli) -> Result<i32> {
    if cli.version {
        return version::short();
    }
    let Some(command) = cli.command else {
        crate::format::output::print(&usage::command().render_help().to_string())?;
        return Ok(0);
    };
    let is_agent = matches!(command, Command::Agent(_));
    let level = logging::level(cli.log_level.as_deref(), cli.debug, if is_agent { "info" } else { "error" });
    let node = Node::new(&cli.global, level.clone())?;
    if let Command::Agent(agent) = &command {
        logging::start(&level, agent.log_file.as_deref())?;
        return agent::run(&node, agent);
    }
    logging::start(&level, None)?;
    verb(&node, command)
}

fn verb(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Container(command) => container::dispatch(node, command),
        Command::Image(command) => image::dispatch(node, command),
        Command::Network(command) => network::dispatch(node, command),
        Command::Volume(command) => volume::dispatch(node, command),
        Command::Swarm(command) => swarm::dispatch(node, command),
        Command::Node(command) => node::dispatch(node, command),
        Command::Service(command) => service::dispatch(node, command),
        Command::System(system::Command::Info(args)) | Command::Info(args) => info::run(node, &args),
        Command::Version(args) => version::run(&args),
        Command::Completion(args) => completion(&args),
        Command::Agent(args) => agent::run(node, &args),

        Command::Inspect(args) => inspect::run(node, &args),

        Command::Attach(args) => container::dispatch(node, OfContainer::Attach(args)),
        Command::Create(args) => container::dispatch(node, OfContainer::Create(args)),
        Command::Exec(args) => container::dispatch(node, OfContainer::Exec(args)),
        Command::Kill(args) => container::dispatch(node, OfContainer::Kill(args)),
        Command::Logs(args) => container::dispatch(node, OfContainer::Logs(args)),
        Command::Pause(args) => container::dispatch(node, OfContainer::Pause(args)),
        Command::Port(args) => container::dispatch(node, OfContainer::Port(args)),
        Command::Rename(args) => container::dispatch(node, OfContainer::Rename(args)),
        Command::Restart(args) => container::dispatch(node, OfContainer::Restart(args)),
        Command::Rm(args) => container::dispatch(node, OfContainer::Rm(args)),
        Command::Run(args) => container::dispatch(node, OfContainer::Run(args)),
        Command::Start(args) => container::dispatch(node, OfContainer::Start(args)),
        Command::Stats(args) => container::dispatch(node, OfContainer::Stats(args)),
        Command::Stop(args) => container::dispatch(node, OfContainer::Stop(args)),
        Command::Top(args) => container::dispatch(node, OfContainer::Top(args)),
        Command::Unpause(args) => container::dispatch(node, OfContainer::Unpause(args)),
        Command::Update(args) => container::dispatch(node, OfContainer::Update(args)),
        Command::Wait(args) => container::dispatch(node, OfContainer::Wait(args)),
        Command::Ps(args) => container::dispatch(node, OfContainer::Ls(args)),

        Command::Images(args) => image::dispatch(node, OfImage::Ls(args)),
        Command::Pull(args) => image::dispatch(node, OfImage::Pull(args)),
        Command::Rmi(args) => image::dispatch(node, OfImage::Rm(args)),
        Command::Tag(args) => image::dispatch(node, OfImage::Tag(args)),
        Command::Login(args) => image::login::login(&args),
        Command::Logout(args) => image::login::logout(&args),
    }
}

fn completion(args: &system::Completion) -> Result<i32> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut usage::command(), "skep", &mut script);
    crate::format::output::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
