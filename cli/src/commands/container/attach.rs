//! `attach`.

use anyhow::{Result, bail};
use skep_runtime::state::Status;
use skep_runtime::{Attach, AttachEnd, ProxyOptions};

use crate::args::container::Attach as Flags;
use crate::context::Node;

/// `attach`
pub fn run(node: &Node, args: &Flags) -> Result<i32> {
    let runtime = node.runtime()?;
    let (record, state) = runtime.record(&args.container)?;
    match state.status {
        Status::Running => {}
        Status::Paused => bail!("You cannot attach to a paused container, unpause it first"),
        Status::Restarting => bail!("You cannot attach to a restarting container, wait until it is running"),
        _ => bail!("You cannot attach to a stopped container, start it first"),
    }
    let attach = Attach { stdin: record.config.stdin_open && !args.no_stdin, stdout: true, stderr: true };
    let stream = runtime.attach(&args.container, attach)?;
    let options = ProxyOptions { detach_keys: args.detach_keys.clone(), sig_proxy: args.sig_proxy };
    match stream.run(&options)? {
        AttachEnd::Exited(code) => Ok(code),
        AttachEnd::Detached => {
            eprintln!("read escape sequence");
            Ok(0)
        }
    }
}
