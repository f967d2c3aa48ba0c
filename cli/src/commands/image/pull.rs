//! `pull`, and the pull that `run` makes when the image is missing.

use anyhow::Result;
use skep_engine::images::PlatformChoice;
use skep_image::{NoProgress, Progress, PullOptions, Pulled, Reference};

use crate::args::image::Pull;
use crate::context::{self, Node};
use crate::format::output;
use crate::format::progress::PullProgress;

/// `pull`
pub(crate) fn run(node: &Node, args: &Pull) -> Result<i32> {
    node.runtime()?;
    let reference = reference(&args.image)?;
    let platform = PlatformChoice::read(args.platform.as_deref())?;
    if !args.image.contains('@') && !args.quiet && !tagged(&args.image) {
        output::line("Using default tag: latest")?;
    }
    let progress = PullProgress::new(std::io::IsTerminal::is_terminal(&std::io::stdout()), false);
    if !args.quiet {
        progress.heading(&heading(&reference));
    }
    let shown: &dyn Progress = if args.quiet { &NoProgress } else { &progress };
    let pulled = pull(node, &reference, &platform, shown)?;
    progress.finish();
    if !args.quiet {
        output::line(format!("Digest: {}", pulled.digest))?;
        output::line(status(&reference, &pulled))?;
    }
    output::line(canonical(&reference))?;
    Ok(0)
}

/// Whether a tag was given; a colon before a slash is a registry's port.
fn tagged(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

fn reference(name: &str) -> Result<Reference> {
    name.parse::<Reference>().map_err(anyhow::Error::from)
}

/// `latest: Pulling from library/nginx`
fn heading(reference: &Reference) -> String {
    let version = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    };
    let path = match reference.domain() {
        "docker.io" => reference.path().to_owned(),
        _ => reference.familiar_name(),
    };
    format!("{version}: Pulling from {path}")
}

fn status(reference: &Reference, pulled: &Pulled) -> String {
    let state = if pulled.up_to_date { "Image is up to date" } else { "Downloaded newer image" };
    format!("Status: {state} for {}", reference.familiar())
}

fn canonical(reference: &Reference) -> String {
    reference.canonical()
}

/// The image of `run` and `create`: as docker, what is said goes to the standard error.
pub(crate) fn for_container(node: &Node, image: &str, platform: &PlatformChoice, quiet: bool) -> Result<()> {
    let reference = reference(image)?;
    if quiet {
        pull(node, &reference, platform, &NoProgress)?;
        return Ok(());
    }
    let progress = PullProgress::new(std::io::IsTerminal::is_terminal(&std::io::stderr()), true);
    progress.heading(&heading(&reference));
    let pulled = pull(node, &reference, platform, &progress)?;
    progress.finish();
    eprintln!("Digest: {}\n{}", pulled.digest, status(&reference, &pulled));
    Ok(())
}

fn pull(node: &Node, reference: &Reference, platform: &PlatformChoice, progress: &dyn Progress) -> Result<Pulled> {
    context::install_crypto();
    let mut options = PullOptions::for_environment(&context::environment())?;
    platform.apply(&mut options);
    context::block_on(async { Ok(node.engine().pull_image(reference, &options, progress).await?) })
}
