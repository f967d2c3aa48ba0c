//! Real containers, from inside and from outside.
//!
//! This program is its own shim: the library executes it again, so it cannot run under the
//! standard harness. Its own prints the same lines, and takes a name filter.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod bench;
mod confinement;
mod faults;
mod lab;
mod mounts;
mod old_kernel;
mod processes;
mod resources;
mod roles;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use lab::Lab;

type Case = (&'static str, fn(&Lab));

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(code) = roles::dispatch(&arguments) {
        std::process::exit(code);
    }
    let cases: Vec<Case> =
        [confinement::CASES, processes::CASES, mounts::CASES, resources::CASES, faults::CASES, old_kernel::CASES]
            .concat();
    let filters: Vec<&String> = arguments[1..].iter().filter(|text| !text.starts_with('-')).collect();
    let exact = arguments.iter().any(|text| text == "--exact");
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|filter| if exact { name == filter.as_str() } else { name.contains(filter.as_str()) })
    };
    let (chosen, left): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(|(name, _)| wanted(name));
    if arguments.iter().any(|text| text == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    println!("\nrunning {} tests", chosen.len());
    let began = Instant::now();
    let lab = Lab::new();
    let mut failed = Vec::new();
    for (name, case) in &chosen {
        let passed = catch_unwind(AssertUnwindSafe(|| case(&lab))).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(*name);
        }
    }
    let leaks = lab.leaks();
    drop(lab);
    if !leaks.is_empty() {
        println!("left behind: {leaks:#?}");
        failed.push("nothing is left behind");
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        chosen.len() - failed.len().min(chosen.len()),
        failed.len(),
        left.len(),
        began.elapsed().as_secs_f64()
    );
    if !failed.is_empty() {
        println!("failures: {failed:#?}");
        std::process::exit(101);
    }
}
