//! `run` and `create`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use skep_engine::containers::leases::Lease;
use skep_engine::containers::{Begun, CreateContainer, RemoveContainer};
use skep_engine::images::{PlatformChoice, PullPolicy};
use skep_image::Reference;
use skep_runtime::{Attach, Runtime};

use super::lifecycle::warn;
use super::request;
use crate::args::container::{ContainerFlags, Create, Run};
use crate::commands::image::pull;
use crate::context::{self, Node};
use crate::failure::{self, Failure};
use crate::format::output;
use crate::terminal::{self, End, Forward, Signals};

/// `run`
pub(crate) fn run(node: &Node, args: Run) -> Result<i32> {
    let detach = args.detach;
    if detach && !args.create.attach.is_empty() {
        return Err(failure::of_run("run", &anyhow!("conflicting options: cannot specify both --attach and --detach")));
    }
    if !detach && args.create.tty && args.create.interactive && !nix::unistd::isatty(std::io::stdin()).unwrap_or(false)
    {
        return Err(Failure { message: "the input device is not a TTY".to_owned(), code: 1 }.into());
    }
    let streams = streams(&args.create, detach);
    let result = made(node, &args.create, &args.words, streams).and_then(|made| match detach {
        true => in_background(node, &made),
        false => in_foreground(node, &made, &args, streams),
    });
    result.map_err(|error| failure::of_run("run", &error))
}

/// `create`
pub(crate) fn create(node: &Node, args: Create) -> Result<i32> {
    let streams = streams(&args.create, false);
    let made = made(node, &args.create, &args.words, streams).map_err(|error| failure::of_run("create", &error))?;
    output::line(&made.id)?;
    Ok(0)
}

/// Which streams the command is attached to.
fn streams(flags: &ContainerFlags, detach: bool) -> Attach {
    let named = |name: &str| flags.attach.iter().any(|stream| stream.eq_ignore_ascii_case(name));
    match (detach, flags.attach.is_empty()) {
        (true, _) => Attach { stdin: false, stdout: false, stderr: false },
        (false, true) => Attach { stdin: flags.interactive, stdout: true, stderr: true },
        (false, false) => {
            Attach { stdin: flags.interactive && named("stdin"), stdout: named("stdout"), stderr: named("stderr") }
        }
    }
}

/// A container that was made.
struct Made {
    runtime: Runtime,
    id: String,
    /// What the swarm lent it.
    leases: Vec<Lease>,
}

/// The container, made, with its image pulled if it has to be.
fn made(node: &Node, flags: &ContainerFlags, words: &[String], streams: Attach) -> Result<Made> {
    let policy = PullPolicy::read(&flags.pull)?;
    let (engine, runtime) = (node.engine(), node.runtime()?);
    let size = flags.tty.then(terminal::size).flatten();
    let request = request::from_flags(flags, words, streams, size)?;
    engine.check_container(&request)?;
    if let Some(path) = &flags.cidfile
        && Path::new(path).exists()
    {
        bail!("container ID file found, make sure the other container isn't running or delete {path}");
    }
    have_image(node, flags, policy, &request)?;
    let created = match engine.begin_container(&request)? {
        Begun::Made(created) => created,
        Begun::OnOverlays(unfinished) => context::block_on(async { Ok(engine.finish_container(*unfinished).await?) })?,
    };
    warn(&created.warnings);
    let leases = engine.leases(&created.id)?;
    if let Some(path) = &flags.cidfile {
        let mut file = std::fs::File::create_new(path)
            .with_context(|| format!("failed to create the container ID file {path}"))?;
        file.write_all(created.id.as_bytes()).with_context(|| format!("failed to write the container ID to {path}"))?;
    }
    Ok(Made { runtime, id: created.id, leases })
}

/// Sees to it that the image is here.
fn have_image(node: &Node, flags: &ContainerFlags, policy: PullPolicy, request: &CreateContainer) -> Result<()> {
    let image = &request.body.config.image;
    let platform = PlatformChoice::read(flags.platform.as_deref())?;
    if node.engine().has_image(image, &platform, policy)? {
        return Ok(());
    }
    if policy == PullPolicy::Missing && !flags.quiet {
        let shown = image.parse::<Reference>().map_or_else(|_| image.clone(), |name| name.familiar());
        eprintln!("Unable to find image '{shown}' locally");
    }
    pull::for_container(node, image, &platform, flags.quiet)
}

fn in_background(node: &Node, made: &Made) -> Result<i32> {
    match made.runtime.start(&made.id) {
        Ok(warnings) => warn(&warnings),
        Err(error) => {
            // As docker: the container stays (unless --rm) and says why it did not start.
            forget_if_transient(node, made);
            return Err(error.into());
        }
    }
    output::line(&made.id)?;
    Ok(0)
}

fn in_foreground(node: &Node, made: &Made, args: &Run, streams: Attach) -> Result<i32> {
    let signals = Signals::hold()?;
    let session = match made.runtime.start_attached(&made.id, streams) {
        Ok(session) => session,
        Err(error) => {
            forget_if_transient(node, made);
            return Err(error.into());
        }
    };
    warn(session.warnings());
    let forward = if args.sig_proxy { Forward::Always } else { Forward::Never };
    let options = terminal::Options { detach_keys: args.detach_keys.clone(), forward };
    match terminal::attend(session, signals, &options)? {
        End::Exited(code) => {
            if args.create.rm {
                release(node, &made.leases)?;
            }
            Ok(code)
        }
        End::Left => Ok(0),
        End::Signalled(signal) => Ok(128 + signal),
    }
}

/// A `--rm` container that could not be started goes at once.
fn forget_if_transient(node: &Node, made: &Made) {
    let transient = match made.runtime.record(&made.id) {
        Ok((record, _)) => record.config.auto_remove,
        Err(error) => error.is_not_found(),
    };
    if transient {
        node.engine().begin_removal(&made.id, RemoveContainer { force: true, volumes: true }).ok();
        release(node, &made.leases).ok();
    }
}

/// Gives back what was lent to a container that is gone.
pub(crate) fn release(node: &Node, leases: &[Lease]) -> Result<()> {
    match leases.is_empty() {
        true => Ok(()),
        false => context::block_on(async {
            node.engine().release(leases).await;
            Ok(())
        }),
    }
}
