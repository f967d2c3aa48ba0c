//! `exec`.

use anyhow::Result;
use skep_runtime::ExecOptions;

use crate::args::container::Exec;
use crate::context::Node;
use crate::failure::{self, Failure};
use crate::parse::env;
use crate::terminal::{self, End, Forward, Signals};

/// `exec`
pub(crate) fn run(node: &Node, args: Exec) -> Result<i32> {
    let mut words = args.words.into_iter();
    let container = words.next().unwrap_or_default();
    let options = ExecOptions {
        args: words.collect(),
        env: env::merged(&args.environment.env_file, &args.environment.env).map_err(anyhow::Error::msg)?,
        user: args.user,
        working_dir: args.workdir,
        tty: args.tty,
        terminal_size: args.tty.then(terminal::size).flatten(),
        stdin: args.interactive && !args.detach,
        privileged: args.privileged,
    };
    if options.tty && options.stdin && !nix::unistd::isatty(std::io::stdin()).unwrap_or(false) {
        return Err(Failure { message: "the input device is not a TTY".to_owned(), code: 1 }.into());
    }
    let outcome = match args.detach {
        true => node.runtime()?.exec_detached(&container, &options).map(|()| 0).map_err(anyhow::Error::from),
        false => attended(node, &container, &options, args.detach_keys),
    };
    outcome.map_err(|error| {
        let code = match error.downcast_ref::<skep_runtime::Error>().map(skep_runtime::Error::exit_code) {
            // Docker's client ends with 1 for what the engine refuses, such as an unknown container.
            None | Some(125) => 1,
            Some(code) => code,
        };
        Failure { message: format!("Error: {}", failure::chain(&error)), code }.into()
    })
}

fn attended(node: &Node, container: &str, options: &ExecOptions, detach_keys: Option<Vec<u8>>) -> Result<i32> {
    let runtime = node.runtime()?;
    let signals = Signals::hold()?;
    let session = runtime.exec(container, options)?;
    let options = terminal::Options { detach_keys, forward: Forward::Always };
    Ok(match terminal::attend(session, signals, &options)? {
        End::Exited(code) => code,
        End::Left => 0,
        End::Signalled(signal) => 128 + signal,
    })
}
