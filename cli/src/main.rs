//! `skep`: the command line, and the place where the crates are plugged together.
//!
//! The only crate that prints. Every command's logic is in the libraries; here are flags, words and tables.
//!
//! Invariant: nothing comes before [`skep_runtime::dispatch`], which turns this process into a shim or another helper
//! while it is single-threaded; and commands that touch this machine only never start an async runtime.

mod args;
mod commands;
mod context;
mod failure;
mod format;
mod logging;
mod parse;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = skep_runtime::dispatch() {
        return exit_code(code);
    }
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let cli = match args::usage::parse(&words) {
        Ok(cli) => cli,
        Err(refusal) if refusal.asked_for => {
            format::output::print(&refusal.message).ok();
            return exit_code(refusal.code);
        }
        Err(refusal) => {
            eprint!("{}", refusal.message);
            return exit_code(refusal.code);
        }
    };
    match commands::dispatch(cli) {
        Ok(code) => exit_code(code),
        Err(error) => {
            let failure = failure::describe(&error);
            if !failure.message.is_empty() {
                eprintln!("{}", failure.message);
            }
            exit_code(failure.code)
        }
    }
}

fn exit_code(code: i32) -> ExitCode {
    // As the shell has it: the low eight bits.
    ExitCode::from((code & 0xff) as u8)
}
