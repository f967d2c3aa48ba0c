//! `logs`.

use std::io::Write;

use anyhow::{Result, bail};
use jiff::Timestamp;
use skep_engine::time::moment;
use skep_runtime::{LogOptions, LogStream};

use crate::args::container::Logs;
use crate::context::Node;
use crate::format::human;

/// `logs`
pub(crate) fn run(node: &Node, args: &Logs) -> Result<i32> {
    let runtime = node.runtime()?;
    let now = Timestamp::now();
    let options = LogOptions {
        follow: args.follow,
        since: args.since.as_deref().map(|text| moment(text, now)).transpose()?,
        until: args.until.as_deref().map(|text| moment(text, now)).transpose()?,
        tail: tail(&args.tail)?.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
        stdout: true,
        stderr: true,
    };
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    for entry in runtime.logs(&args.container, options)? {
        let entry = entry?;
        let mut line = Vec::new();
        if args.timestamps {
            line.extend(format!("{} ", human::rfc3339(Some(entry.time))).bytes());
        }
        line.extend(&entry.line);
        let written = match entry.stream {
            LogStream::Stdout => out.write_all(&line).and_then(|()| out.flush()),
            LogStream::Stderr => err.write_all(&line),
        };
        match written {
            Err(failure) if failure.kind() == std::io::ErrorKind::BrokenPipe => return Ok(0),
            result => result?,
        }
    }
    Ok(0)
}

/// `--tail`: a number, or all.
pub(crate) fn tail(text: &str) -> Result<Option<u64>> {
    match text {
        "all" => Ok(None),
        number if number.starts_with('-') => Ok(None),
        number => match number.parse() {
            Ok(lines) => Ok(Some(lines)),
            Err(_) => bail!("invalid tail {text:?}: it is neither a number nor \"all\""),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_tails() {
        assert_eq!(tail("5").unwrap(), Some(5));
        assert_eq!(tail("all").unwrap(), None);
        assert!(tail("x").is_err());
    }
}
