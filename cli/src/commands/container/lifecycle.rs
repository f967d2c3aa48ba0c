//! start, stop, kill, restart, rm, pause, unpause, rename, wait: one call of the runtime for each container.

use anyhow::{Result, bail};
use skep_runtime::{Attach, RemoveOptions, StopOptions, WaitCondition};

use super::overlay;
use crate::args::container::{Kill, Names, Remove, Rename, Start, Stop};
use crate::context::Node;
use crate::failure::each;
use crate::parse::options;
use crate::terminal::{self, End, Forward, Signals};

/// `start`
pub fn start(node: &Node, args: &Start) -> Result<i32> {
    let runtime = node.runtime()?;
    if !args.attach && !args.interactive {
        return each(&args.containers, |name| {
            warn(&runtime.start(name)?);
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
pub fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("WARNING: {warning}");
    }
}

fn stop_options(args: &Stop) -> Result<StopOptions> {
    if let Some(signal) = &args.signal {
        options::signal(signal).map_err(anyhow::Error::msg)?;
    }
    Ok(StopOptions { signal: args.signal.clone(), timeout: args.timeout })
}

/// `stop`
pub fn stop(node: &Node, args: &Stop) -> Result<i32> {
    let (runtime, options) = (node.runtime()?, stop_options(args)?);
    each(&args.containers, |name| {
        runtime.stop(name, &options)?;
        Ok(name.to_owned())
    })
}

/// `restart`
pub fn restart(node: &Node, args: &Stop) -> Result<i32> {
    let (runtime, options) = (node.runtime()?, stop_options(args)?);
    each(&args.containers, |name| {
        warn(&runtime.restart(name, &options)?);
        Ok(name.to_owned())
    })
}

/// `kill`
pub fn kill(node: &Node, args: &Kill) -> Result<i32> {
    let runtime = node.runtime()?;
    options::signal(&args.signal).map_err(anyhow::Error::msg)?;
    each(&args.containers, |name| {
        runtime.kill(name, &args.signal)?;
        Ok(name.to_owned())
    })
}

/// `rm`
pub fn remove(node: &Node, args: &Remove) -> Result<i32> {
    let runtime = node.runtime()?;
    let options = RemoveOptions { force: args.force, volumes: args.volumes };
    each(&args.containers, |name| {
        let attached = match runtime.record(name) {
            Ok((record, _)) => overlay::attachments(&record),
            Err(error) if args.force && error.is_not_found() => {
                // As docker: it is said, but what was asked for is so.
                eprintln!("Error: {error}");
                return Ok(String::new());
            }
            Err(_) => Vec::new(),
        };
        match runtime.remove(name, &options) {
            // Somebody else has removed it meanwhile.
            Err(error) if args.force && error.is_not_found() => {}
            removed => removed?,
        }
        overlay::release(node, &attached);
        Ok(name.to_owned())
    })
}

/// `pause`
pub fn pause(node: &Node, args: &Names) -> Result<i32> {
    let runtime = node.runtime()?;
    each(&args.containers, |name| {
        runtime.pause(name)?;
        Ok(name.to_owned())
    })
}

/// `unpause`
pub fn unpause(node: &Node, args: &Names) -> Result<i32> {
    let runtime = node.runtime()?;
    each(&args.containers, |name| {
        runtime.unpause(name)?;
        Ok(name.to_owned())
    })
}

/// `rename`
pub fn rename(node: &Node, args: &Rename) -> Result<i32> {
    if args.name.is_empty() {
        bail!("neither old nor new names may be empty");
    }
    let name = options::container_name(&args.name).map_err(anyhow::Error::msg)?;
    node.runtime()?.rename(&args.container, &name)?;
    Ok(0)
}

/// `wait`
pub fn wait(node: &Node, args: &Names) -> Result<i32> {
    let runtime = node.runtime()?;
    each(&args.containers, |name| Ok(runtime.wait(name, WaitCondition::NotRunning)?.to_string()))
}
