//! `rmi`, `image prune` and `tag`.

use anyhow::Result;
use skep_engine::docker::image::Deleted;
use skep_engine::images::PruneImages;
use skep_image::Reference;

use crate::args::image::{Prune, Remove, Tag};
use crate::commands::container::prune::confirmed;
use crate::context::Node;
use crate::failure::each;
use crate::format::{human, output};
use crate::parse::filter;

/// `rmi`
pub(crate) fn run(node: &Node, args: &Remove) -> Result<i32> {
    node.runtime()?;
    each(&args.images, |name| {
        let line = |removed: &Deleted| match removed {
            Deleted::Untagged(name) => format!("Untagged: {name}"),
            Deleted::Deleted(id) => format!("Deleted: {id}"),
        };
        let removed = node.engine().remove_image(name, args.force)?;
        Ok(removed.iter().map(line).collect::<Vec<_>>().join("\n"))
    })
}

/// `image prune`
pub(crate) fn prune(node: &Node, args: &Prune) -> Result<i32> {
    let mut request = PruneImages { filters: filter::all(&args.filter) };
    if args.all {
        request.filters.set("dangling", "false");
    }
    let warning = match request.all()? {
        true => "WARNING! This will remove all images without at least one container associated to them.",
        false => "WARNING! This will remove all dangling images.",
    };
    if !args.force && !confirmed(warning)? {
        return Ok(0);
    }
    let pruned = node.engine().prune_images(&request)?;
    if !pruned.images_deleted.is_empty() {
        output::line("Deleted Images:")?;
        for one in &pruned.images_deleted {
            output::line(match one {
                Deleted::Untagged(name) => format!("untagged: {name}"),
                Deleted::Deleted(id) => format!("deleted: {id}"),
            })?;
        }
        output::line("")?;
    }
    output::line(format!("Total reclaimed space: {}", human::size(pruned.space_reclaimed as f64, 4)))?;
    Ok(0)
}

/// `tag`
pub(crate) fn tag(node: &Node, args: &Tag) -> Result<i32> {
    node.runtime()?;
    let target: Reference = args.target.parse()?;
    node.engine().tag_image(&args.source, &target)?;
    Ok(0)
}
