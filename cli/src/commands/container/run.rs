//! `run` and `create`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use skep_image::{Image, Platform, StoreError};
use skep_runtime::{Attach, Created, RemoveOptions, Runtime};

use super::config;
use super::lifecycle::warn;
use super::overlay::{self, Lease};
use crate::args::container::{ContainerFlags, Create, Run};
use crate::commands::image::pull;
use crate::context::Node;
use crate::failure::{self, Failure};
use crate::format::output;
use crate::terminal::{self, End, Forward, Signals};

/// `run`
pub fn run(node: &Node, args: Run) -> Result<i32> {
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
pub fn create(node: &Node, args: Create) -> Result<i32> {
    let streams = streams(&args.create, false);
    let made = made(node, &args.create, &args.words, streams).map_err(|error| failure::of_run("create", &error))?;
    output::line(&made.created.id)?;
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
    created: Created,
    /// What the swarm lent it.
    leases: Vec<Lease>,
}

/// The container, made, with its image pulled if it has to be.
fn made(node: &Node, flags: &ContainerFlags, words: &[String], streams: Attach) -> Result<Made> {
    if !matches!(flags.pull.as_str(), "always" | "missing" | "never" | "") {
        bail!("invalid pull option: '{}': must be one of \"always\", \"missing\" or \"never\"", flags.pull);
    }
    let runtime = node.runtime()?;
    let mut config = config::from_flags(&runtime, flags, words)?;
    config.attach_stdin = streams.stdin;
    config.attach_stdout = streams.stdout;
    config.attach_stderr = streams.stderr;
    config.stdin_once = config.stdin_open && streams.stdin;
    config.terminal_size = config.tty.then(terminal::size).flatten();
    if let Some(path) = &flags.cidfile
        && Path::new(path).exists()
    {
        bail!("container ID file found, make sure the other container isn't running or delete {path}");
    }
    have_image(&runtime, flags, &config.image)?;
    let leases = overlay::resolve(node, &runtime, &mut config)?;
    let created = match runtime.create(&config) {
        Ok(created) => created,
        Err(error) => {
            overlay::release(node, &leases);
            return Err(error.into());
        }
    };
    warn(&created.warnings);
    if let Some(path) = &flags.cidfile {
        let mut file = std::fs::File::create_new(path)
            .with_context(|| format!("failed to create the container ID file {path}"))?;
        file.write_all(created.id.as_bytes()).with_context(|| format!("failed to write the container ID to {path}"))?;
    }
    Ok(Made { runtime, created, leases })
}

/// Sees to it that the image is here, and that it is one for the platform that was asked for.
fn have_image(runtime: &Runtime, flags: &ContainerFlags, image: &str) -> Result<()> {
    let asked_for = flags.platform.as_deref().filter(|text| !text.is_empty());
    let wanted = asked_for.map(str::parse::<Platform>).transpose().context("invalid platform")?;
    if flags.pull != "always" {
        match runtime.images().resolve(image) {
            Ok(found) => match fits(image, &found, wanted.as_ref()) {
                Err(error) if flags.pull == "never" => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(()),
            },
            Err(StoreError::NotFound { .. }) if flags.pull != "never" => {}
            Err(error) => return Err(error.into()),
        }
        if !flags.quiet {
            let shown =
                image.parse::<skep_image::Reference>().map_or_else(|_| image.to_owned(), |name| name.familiar());
            eprintln!("Unable to find image '{shown}' locally");
        }
    }
    pull::for_container(runtime, image, asked_for, flags.quiet)?;
    fits(image, &runtime.images().resolve(image)?, wanted.as_ref())
}

/// Refuses an image for another platform than was asked for; where none was, one for another than this machine's is
/// only spoken of.
fn fits(name: &str, image: &Image, wanted: Option<&Platform>) -> Result<()> {
    let (architecture, os) = (image.architecture.clone(), image.os.clone());
    let made_for = Platform { os, architecture, variant: image.variant.clone().filter(|variant| !variant.is_empty()) };
    match wanted {
        Some(wanted) if !wanted.runs(&made_for) => bail!(
            "image with reference {name} was found but its platform ({made_for}) does not match the specified platform \
             ({wanted})"
        ),
        None if !Platform::host().runs(&made_for) => {
            let host = Platform::host();
            warn(&[format!(
                "The requested image's platform ({made_for}) does not match the detected host platform ({host}) and no \
                 specific platform was requested"
            )]);
        }
        _ => {}
    }
    Ok(())
}

fn in_background(node: &Node, made: &Made) -> Result<i32> {
    match made.runtime.start(&made.created.id) {
        Ok(warnings) => warn(&warnings),
        Err(error) => {
            // As docker: the container stays (unless --rm) and says why it did not start.
            forget_if_transient(node, made);
            return Err(error.into());
        }
    }
    output::line(&made.created.id)?;
    Ok(0)
}

fn in_foreground(node: &Node, made: &Made, args: &Run, streams: Attach) -> Result<i32> {
    let signals = Signals::hold()?;
    let session = match made.runtime.start_attached(&made.created.id, streams) {
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
                overlay::release(node, &made.leases);
            }
            Ok(code)
        }
        End::Left => Ok(0),
        End::Signalled(signal) => Ok(128 + signal),
    }
}

/// A `--rm` container that could not be started goes at once.
fn forget_if_transient(node: &Node, made: &Made) {
    let transient = match made.runtime.record(&made.created.id) {
        Ok((record, _)) => record.config.auto_remove,
        Err(error) => error.is_not_found(),
    };
    if transient {
        made.runtime.remove(&made.created.id, &RemoveOptions { force: true, volumes: true }).ok();
        overlay::release(node, &made.leases);
    }
}
