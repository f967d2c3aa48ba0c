//! `exec`. Single-threaded throughout: the runtime forks from here into the container.

use anyhow::Result;
use skep_runtime::ExecOptions;

use crate::args::container::Exec;
use crate::context::Node;
use crate::failure::{self, Failure};
use crate::parse::env;

/// `exec`
pub fn run(node: &Node, args: Exec) -> Result<i32> {
    let mut words = args.words.into_iter();
    let container = words.next().unwrap_or_default();
    let options = ExecOptions {
        args: words.collect(),
        env: env::merged(&args.env_file, &args.env).map_err(anyhow::Error::msg)?,
        user: args.user,
        working_dir: args.workdir,
        tty: args.tty,
        stdin: args.interactive && !args.detach,
        detach: args.detach,
        privileged: args.privileged,
        detach_keys: args.detach_keys,
    };
    if options.tty && options.stdin && !nix::unistd::isatty(std::io::stdin()).unwrap_or(false) {
        return Err(Failure { message: "the input device is not a TTY".to_owned(), code: 1 }.into());
    }
    match node.runtime()?.exec(&container, &options) {
        Ok(code) => Ok(code),
        Err(error) => {
            let code = match error.exit_code() {
                // Docker's client ends with 1 for what the engine refuses, such as an unknown container.
                125 => 1,
                code => code,
            };
            let error = anyhow::Error::from(error);
            Err(Failure { message: format!("Error: {}", failure::chain(&error)), code }.into())
        }
    }
}
