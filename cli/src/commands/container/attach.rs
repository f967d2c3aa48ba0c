//! `attach`.

use anyhow::{Result, bail};
use skep_runtime::Attach;
use skep_runtime::state::Status;

use crate::args::container::Attach as Flags;
use crate::context::Node;
use crate::terminal::{self, End, Forward, Signals};

/// `attach`
pub(crate) fn run(node: &Node, args: &Flags) -> Result<i32> {
    let runtime = node.runtime()?;
    let (record, state) = runtime.record(&args.container)?;
    match state.status {
        Status::Running => {}
        Status::Paused => bail!("You cannot attach to a paused container, unpause it first"),
        Status::Restarting => bail!("You cannot attach to a restarting container, wait until it is running"),
        _ => bail!("You cannot attach to a stopped container, start it first"),
    }
    let attach = Attach { stdin: record.config.stdin_open && !args.no_stdin, stdout: true, stderr: true };
    let signals = Signals::hold()?;
    let session = runtime.attach(&args.container, attach)?;
    let forward = if args.sig_proxy { Forward::UnlessRaw } else { Forward::Never };
    let options = terminal::Options { detach_keys: args.detach_keys.clone(), forward };
    match terminal::attend(session, signals, &options)? {
        End::Exited(code) => Ok(code),
        End::Left => {
            eprintln!("read escape sequence");
            Ok(0)
        }
        End::Signalled(signal) => Ok(128 + signal),
    }
}
