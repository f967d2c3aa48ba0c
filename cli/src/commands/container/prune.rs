//! `container prune`, and the question that every `prune` asks.

use std::io::Write;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use skep_runtime::RemoveOptions;
use skep_runtime::state::Status;

use super::list::disk_usage;
use super::logs;
use crate::args::container::Prune;
use crate::context::Node;
use crate::format::{human, output};
use crate::parse::filter::Filters;

/// `container prune`
pub fn run(node: &Node, args: &Prune) -> Result<i32> {
    let filters = Filters::new(&args.filter, &["until", "label", "label!"]).map_err(|error| anyhow!(error))?;
    if !args.force && !confirmed("WARNING! This will remove all stopped containers.")? {
        return Ok(0);
    }
    let runtime = node.runtime()?;
    let now = Timestamp::now();
    let until = filters.values("until").first().map(|text| logs::time(text, now)).transpose()?;
    let mut removed = Vec::new();
    let mut bytes = 0;
    for container in runtime.list(true)? {
        let stopped = matches!(container.state.status, Status::Created | Status::Exited | Status::Dead);
        let wanted = stopped
            && until.is_none_or(|until| container.created < until)
            && filters.labels("label", &container.labels)
            && (filters.values("label!").is_empty() || !filters.labels("label!", &container.labels));
        if !wanted {
            continue;
        }
        let size = disk_usage(&runtime.roots().root.join("containers").join(&container.id).join("upper"));
        match runtime.remove(&container.id, &RemoveOptions { force: false, volumes: false }) {
            Ok(()) => {
                bytes += size;
                removed.push(container.id);
            }
            // Somebody started or removed it meanwhile.
            Err(error) => tracing::warn!(container = container.id, %error, "not removed"),
        }
    }
    report("Deleted Containers:", &removed, bytes)?;
    Ok(0)
}

/// Asks, as docker does; no terminal to ask is a no.
pub fn confirmed(warning: &str) -> Result<bool> {
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
pub fn report(title: &str, removed: &[String], bytes: u64) -> Result<()> {
    if !removed.is_empty() {
        output::print(&format!("{title}\n{}\n\n", removed.join("\n")))?;
    }
    output::line(format!("Total reclaimed space: {}", human::size(bytes as f64, 4)))
}
