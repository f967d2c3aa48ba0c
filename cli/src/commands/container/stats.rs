//! `stats`.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use skep_runtime::{Runtime, StatsSample};

use crate::args::container::Stats;
use crate::context::Node;
use crate::format::human;
use crate::format::output::{self, List};

const INTERVAL: Duration = Duration::from_secs(1);

/// `stats`
pub(crate) fn run(node: &Node, args: &Stats) -> Result<i32> {
    let runtime = node.runtime()?;
    for name in &args.containers {
        runtime.resolve(name)?;
    }
    let mut before = samples(&runtime, args)?;
    loop {
        std::thread::sleep(INTERVAL);
        let now = samples(&runtime, args)?;
        let rows = now.iter().map(|sample| row(sample, before.iter().find(|old| old.id == sample.id), args)).collect();
        if !args.no_stream && output::given(args.format.as_deref()).is_none() {
            // As docker: the table is drawn over the last one.
            output::print("\x1b[H\x1b[2J")?;
        }
        let list = List {
            columns: &[
                ("CONTAINER ID", "ID"),
                ("NAME", "Name"),
                ("CPU %", "CPUPerc"),
                ("MEM USAGE / LIMIT", "MemUsage"),
                ("MEM %", "MemPerc"),
                ("NET I/O", "NetIO"),
                ("BLOCK I/O", "BlockIO"),
                ("PIDS", "PIDs"),
            ],
            more: &[("CONTAINER", "Container")],
            rows,
        };
        list.print(args.format.as_deref(), None)?;
        if args.no_stream {
            return Ok(0);
        }
        before = now;
    }
}

fn samples(runtime: &Runtime, args: &Stats) -> Result<Vec<StatsSample>> {
    let names: Vec<String> = match args.containers.is_empty() {
        true => runtime.list(args.all)?.into_iter().map(|container| container.id).collect(),
        false => args.containers.clone(),
    };
    // A container that has ended meanwhile is not in the table.
    Ok(names.iter().filter_map(|name| runtime.stats(name).ok()).collect())
}

fn row(sample: &StatsSample, before: Option<&StatsSample>, args: &Stats) -> Value {
    let (stats, host) = (sample.cgroup.clone().unwrap_or_default(), sample.memory_total);
    let cpu = before.map_or(0.0, |old| {
        let used_before = old.cgroup.as_ref().map_or(0, |old| old.cpu_usage_ns);
        let elapsed = (sample.read.as_nanosecond() - old.read.as_nanosecond()) as f64;
        let used = stats.cpu_usage_ns.saturating_sub(used_before) as f64;
        if elapsed > 0.0 { used / elapsed * 100.0 } else { 0.0 }
    });
    let memory = stats.memory_usage.saturating_sub(stats.memory_inactive_file) as f64;
    let limit = stats.memory_limit.min(host) as f64;
    let pair =
        |first: u64, second: u64| format!("{} / {}", human::size(first as f64, 3), human::size(second as f64, 3));
    let id = if args.no_trunc { sample.id.as_str() } else { human::short_id(&sample.id) };
    json!({
        "ID": id,
        "Container": id,
        "Name": sample.name,
        "CPUPerc": format!("{cpu:.2}%"),
        "MemUsage": format!("{} / {}", human::binary_size(memory), human::binary_size(limit)),
        "MemPerc": format!("{:.2}%", if limit > 0.0 { memory / limit * 100.0 } else { 0.0 }),
        "NetIO": pair(sample.net_rx_bytes, sample.net_tx_bytes),
        "BlockIO": pair(stats.block_read_bytes, stats.block_write_bytes),
        "PIDs": stats.pids.to_string(),
    })
}
