//! start, stop, kill, restart, rm, pause, unpause, rename, wait: one call of the runtime for each container.

use anyhow::{Result, bail};
use skep_common::signal;
use skep_engine::ErrorKind;
use skep_engine::containers::RemoveContainer;
use skep_runtime::{Attach, StopOptions, WaitCondition};

use super::run::release;
use crate::args::container::{Kill, Names, Remove, Rename, Start, Stop};
use crate::context::Node;
use crate::failure::{self, each};
use crate::parse::options;
use crate::terminal::{self, End, Forward, Signals};

/// `start`
pub(crate) fn start(node: &Node, args: &Start) -> Result<i32> {
    let runtime = node.runtime()?;
    if !args.attach && !args.interactive {
        return each(&args.containers, |name| {
            warn(&node.engine().start_container(name)?);
            Ok(name.to_owned())
        });
    }
    let [name] = args.containers.as_slice() else {
        bail!("you cannot start and attach multiple containers at once");
    };
    let (record, _) = runtime.record(name)?;
    let attach = Attach { stdin: args.interactive && record.config.stdin_open, stdout: true, stderr: true };
    let signals = Signals::hold()?;
    let session = runtime.start_attached(name, attach)?;
    warn(session.warnings());
    let options = terminal::Options { detach_keys: args.detach_keys.clone(), forward: Forward::UnlessRaw };
    Ok(match terminal::attend(session, signals, &options)? {
        End::Exited(code) => code,
        End::Left => 0,
        End::Signalled(signal) => 128 + signal,
    })
}

/// Tells what the user should know, as docker does.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("WARNING: {warning}");
    }
}

fn stop_options(args: &Stop) -> Result<StopOptions> {
    if let Some(signal) = &args.signal {
        signal::parse(signal)?;
    }
    Ok(StopOptions { signal: args.signal.clone(), timeout: args.timeout })
}

/// `stop`
pub(crate) fn stop(node: &Node, args: &Stop) -> Result<i32> {
    node.runtime()?;
    let options = stop_options(args)?;
    each(&args.containers, |name| {
        node.engine().stop_container(name, &options)?;
        Ok(name.to_owned())
    })
}

/// `restart`
pub(crate) fn restart(node: &Node, args: &Stop) -> Result<i32> {
    node.runtime()?;
    let options = stop_options(args)?;
    each(&args.containers, |name| {
        warn(&node.engine().restart_container(name, &options)?);
        Ok(name.to_owned())
    })
}

/// `kill`
pub(crate) fn kill(node: &Node, args: &Kill) -> Result<i32> {
    node.runtime()?;
    signal::parse(&args.signal)?;
    each(&args.containers, |name| {
        node.engine().kill_container(name, &args.signal)?;
        Ok(name.to_owned())
    })
}

/// `rm`
pub(crate) fn remove(node: &Node, args: &Remove) -> Result<i32> {
    node.runtime()?;
    let how = RemoveContainer { force: args.force, volumes: args.volumes };
    each(&args.containers, |name| match remove_one(node, name, how) {
        Ok(()) => Ok(name.to_owned()),
        Err(error) if args.force && failure::kind(&error) == Some(ErrorKind::NotFound) => {
            // As docker: it is said, but what was asked for is so.
            eprintln!("Error: {error}");
            Ok(String::new())
        }
        Err(error) => Err(error),
    })
}

fn remove_one(node: &Node, name: &str, how: RemoveContainer) -> Result<()> {
    let lent = node.engine().begin_removal(name, how)?;
    release(node, &lent)
}

/// `pause`
pub(crate) fn pause(node: &Node, args: &Names) -> Result<i32> {
    node.runtime()?;
    each(&args.containers, |name| {
        node.engine().pause_container(name)?;
        Ok(name.to_owned())
    })
}

/// `unpause`
pub(crate) fn unpause(node: &Node, args: &Names) -> Result<i32> {
    node.runtime()?;
    each(&args.containers, |name| {
        node.engine().unpause_container(name)?;
        Ok(name.to_owned())
    })
}

/// `rename`
pub(crate) fn rename(node: &Node, args: &Rename) -> Result<i32> {
    if args.name.is_empty() {
        bail!("neither old nor new names may be empty");
    }
    let name = options::container_name(&args.name).map_err(anyhow::Error::msg)?;
    node.engine().rename_container(&args.container, &name)?;
    Ok(0)
}

/// `wait`
pub(crate) fn wait(node: &Node, args: &Names) -> Result<i32> {
    node.runtime()?;
    each(&args.containers, |name| Ok(node.engine().wait_container(name, WaitCondition::NotRunning)?.to_string()))
}
