//! `container prune`, and the question that every `prune` asks.

use std::io::Write;

use anyhow::Result;
use skep_engine::containers::PruneContainers;

use crate::args::Prune;
use crate::context::Node;
use crate::format::{human, output};
use crate::parse::filter;

/// `container prune`
pub(crate) fn run(node: &Node, args: &Prune) -> Result<i32> {
    let request = PruneContainers { filters: filter::all(&args.filter) };
    request.check()?;
    if !args.force && !confirmed("WARNING! This will remove all stopped containers.")? {
        return Ok(0);
    }
    let pruned = node.engine().prune_containers(&request)?;
    report("Deleted Containers:", &pruned.containers_deleted, pruned.space_reclaimed)?;
    Ok(0)
}

/// Asks, as docker does; no terminal to ask is a no.
pub(crate) fn confirmed(warning: &str) -> Result<bool> {
    print!("{warning}\nAre you sure you want to continue? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !yes {
        output::line("")?;
    }
    Ok(yes)
}

/// What was removed, and how much was gained.
pub(crate) fn report(title: &str, removed: &[String], bytes: u64) -> Result<()> {
    if !removed.is_empty() {
        output::print(&format!("{title}\n{}\n\n", removed.join("\n")))?;
    }
    output::line(format!("Total reclaimed space: {}", human::size(bytes as f64, 4)))
}
