//! `top`: the container's processes, as `ps -ef` would show them.

use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::args::container::Top;
use crate::context::Node;
use crate::format::{output, table};

/// `top`
pub(crate) fn run(node: &Node, args: &Top) -> Result<i32> {
    let name = args.words.first().map_or("", String::as_str);
    let mut rows = vec![["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(str::to_owned).to_vec()];
    let now = Timestamp::now();
    for process in node.engine().top_container(name)? {
        let age = (now.as_second() - process.start.as_second()).max(1) as u64;
        let started = process.start.to_zoned(TimeZone::system());
        let shown = if age < 86_400 { started.strftime("%H:%M") } else { started.strftime("%b%d") };
        let seconds = process.cpu_seconds;
        rows.push(vec![
            process.uid.to_string(),
            process.pid.to_string(),
            process.ppid.to_string(),
            (seconds * 100 / age).to_string(),
            shown.to_string(),
            process.terminal,
            format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
            process.command,
        ]);
    }
    output::print(&table::aligned(&rows))?;
    Ok(0)
}
