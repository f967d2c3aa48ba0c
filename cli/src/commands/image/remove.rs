//! `rmi`, `image prune` and `tag`.

use anyhow::Result;
use skep_image::{Reference, Removed};

use crate::args::image::{Prune, Remove, Tag};
use crate::commands::container::prune::confirmed;
use crate::context::Node;
use crate::failure::each;
use crate::format::{human, output};
use crate::parse::filter;

/// `rmi`
pub fn run(node: &Node, args: &Remove) -> Result<i32> {
    let runtime = node.runtime()?;
    each(&args.images, |name| {
        let removed = runtime.images().remove(name, args.force, &|image| runtime.image_users(image))?;
        Ok(removed.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// `image prune`
pub fn prune(node: &Node, args: &Prune) -> Result<i32> {
    filter::known(&args.filter, &["dangling"])?;
    let warning = match args.all {
        true => "WARNING! This will remove all images without at least one container associated to them.",
        false => "WARNING! This will remove all dangling images.",
    };
    if !args.force && !confirmed(warning)? {
        return Ok(0);
    }
    let runtime = node.runtime()?;
    let sizes: Vec<(String, u64)> =
        runtime.images().list()?.iter().map(|image| (image.id.to_string(), image.size)).collect();
    let removed = runtime.images().prune(args.all, &|image| runtime.image_users(image))?;
    let gone = |removed: &&Removed| matches!(removed, Removed::Deleted(_));
    let bytes: u64 = removed
        .iter()
        .filter(gone)
        .filter_map(|removed| sizes.iter().find(|(id, _)| removed.to_string().ends_with(id.as_str())))
        .map(|(_, size)| size)
        .sum();
    if !removed.is_empty() {
        output::line("Deleted Images:")?;
        for one in &removed {
            output::line(one.to_string().replace("Untagged", "untagged").replace("Deleted", "deleted"))?;
        }
        output::line("")?;
    }
    output::line(format!("Total reclaimed space: {}", human::size(bytes as f64, 4)))?;
    Ok(0)
}

/// `tag`
pub fn tag(node: &Node, args: &Tag) -> Result<i32> {
    let runtime = node.runtime()?;
    let target: Reference = args.target.parse()?;
    runtime.images().tag(&args.source, &target)?;
    Ok(0)
}
