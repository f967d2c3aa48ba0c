//! Containers for real: made from a busybox image that is put together here, run by the shim that
//! this very program becomes when it executes itself.
//!
//! No harness: shims, and the processes behind `exec`, must be able to start from `main` with one
//! thread. Works in a network namespace of its own, below a temporary directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, clippy::disallowed_methods)]

mod cases;
mod drive;
mod faults;
mod fixture;
mod networks;
mod sessions;

use std::panic::{AssertUnwindSafe, catch_unwind};

use skep_runtime::{Attach, ExecOptions, RemoveOptions, Runtime, StopOptions};

fn main() {
    if let Some(code) = skep_runtime::dispatch() {
        std::process::exit(code);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = helper(&arguments) {
        std::process::exit(code);
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-')).cloned().unwrap_or_default();
    fixture::isolate();
    let mut failed = 0;
    let all = [cases::ALL, faults::ALL, networks::ALL, sessions::ALL].concat();
    for (name, case) in all.iter().filter(|(name, _)| name.contains(&filter)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let node = fixture::Node::new();
            case(&node);
            node.finish();
        }));
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(outcome.is_err());
    }
    std::process::exit(i32::from(failed > 0));
}

/// What has to be a process of its own: `start -a`, `attach`, `exec`, and what is to be killed.
fn helper(arguments: &[String]) -> Option<i32> {
    let [verb, root, id, rest @ ..] = arguments else { return None };
    let node = || Runtime::open(fixture::roots(root.as_ref())).unwrap();
    match verb.as_str() {
        "__start" | "__attach" => {
            let attach = Attach { stdin: verb == "__start", stdout: true, stderr: true };
            let session = match attach.stdin {
                true => node().start_attached(id, attach),
                false => node().attach(id, attach),
            };
            Some(session.and_then(drive::drive).unwrap_or_else(|error| {
                eprintln!("{error}");
                error.exit_code()
            }))
        }
        "__execute" => {
            let (options, args) = rest.split_first().unwrap();
            let options = ExecOptions {
                args: args.to_vec(),
                stdin: options.contains('i'),
                tty: options.contains('t'),
                ..ExecOptions::default()
            };
            let detached = rest[0].contains('d');
            let done = match detached {
                true => node().exec_detached(id, &options).map(|()| 0),
                false => node().exec(id, &options).and_then(drive::drive),
            };
            Some(done.unwrap_or_else(|error| {
                eprintln!("{error}");
                error.exit_code()
            }))
        }
        "__remove" => Some(code(node().remove(id, &RemoveOptions { force: true, volumes: false }))),
        "__stop" => Some(code(node().stop(id, &StopOptions { signal: None, timeout: Some(0) }))),
        "__rename" => Some(code(node().rename(id, rest.first().unwrap()))),
        _ => None,
    }
}

fn code(outcome: skep_runtime::Result<()>) -> i32 {
    i32::from(outcome.is_err())
}
