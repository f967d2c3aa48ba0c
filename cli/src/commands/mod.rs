//! The commands, a directory for each noun, a file for each verb (or for a few small ones).
//!
//! A command returns its exit code, or an error which `main` prints.

mod agent;
pub mod container;
mod image;
mod info;
mod inspect;
mod network;
pub mod node;
pub mod service;
mod swarm;
pub mod version;
mod volume;

use anyhow::Result;

use crate::args::{Cli, Command, system, usage};
use crate::context::Node;
use crate::logging;

/// Runs the command that was asked for.
pub fn dispatch(cli: Cli) -> Result<i32> {
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
    use container::{attach, exec, lifecycle, list, logs, port, run, stats, top, update};
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

        Command::Run(args) => run::run(node, *args),
        Command::Create(args) => run::create(node, *args),
        Command::Exec(args) => exec::run(node, args),
        Command::Ps(args) => list::run(node, &args),
        Command::Attach(args) => attach::run(node, &args),
        Command::Inspect(args) => inspect::run(node, &args),
        Command::Kill(args) => lifecycle::kill(node, &args),
        Command::Logs(args) => logs::run(node, &args),
        Command::Pause(args) => lifecycle::pause(node, &args),
        Command::Port(args) => port::run(node, &args),
        Command::Rename(args) => lifecycle::rename(node, &args),
        Command::Restart(args) => lifecycle::restart(node, &args),
        Command::Rm(args) => lifecycle::remove(node, &args),
        Command::Start(args) => lifecycle::start(node, &args),
        Command::Stats(args) => stats::run(node, &args),
        Command::Stop(args) => lifecycle::stop(node, &args),
        Command::Top(args) => top::run(node, &args),
        Command::Unpause(args) => lifecycle::unpause(node, &args),
        Command::Update(args) => update::run(node, &args),
        Command::Wait(args) => lifecycle::wait(node, &args),

        Command::Pull(args) => image::pull::run(node, &args),
        Command::Images(args) => image::list::run(node, &args),
        Command::Login(args) => image::login::login(&args),
        Command::Logout(args) => image::login::logout(&args),
        Command::Rmi(args) => image::remove::run(node, &args),
        Command::Tag(args) => image::remove::tag(node, &args),
    }
}

fn completion(args: &system::Completion) -> Result<i32> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut usage::command(), "skep", &mut script);
    crate::format::output::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
