//! What `make` needs of a machine: a list of packages that is whole, and a search path that reaches them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use skep_tests::{Finished, program};

fn repository() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize().unwrap()
}

/// The pairs of package and program that `.ci/deps` lists.
fn listed() -> Vec<(String, String)> {
    let script = fs::read_to_string(repository().join(".ci/deps")).unwrap();
    let list = script.split("\nneeded=(\n").nth(1).unwrap().split("\n)\n").next().unwrap();
    let pair = |line: &str| line.trim().split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    list.lines().map(pair).collect()
}

/// Runs `.ci/deps` as somebody who is not root, on a machine where only these packages are installed.
fn deps_where(installed: &[&str]) -> Finished {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, script: &str| {
        let path = directory.path().join(name);
        fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let known = format!("case ${{@: -1}} in {}) printf installed;; *) exit 1;; esac", installed.join("|"));
    put("dpkg-query", &known);
    put("id", "echo 1000");
    put("cargo", "");
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    program::run(Command::new("bash").arg(repository().join(".ci/deps")).env("PATH", path)).unwrap()
}

#[test]
fn each_package_brings_its_program() {
    for (package, program) in listed() {
        let files = program::tool(&["dpkg-query", "--listfiles", &package]).unwrap();
        // The packages that only pull in another are named for what people look for.
        let files = match package.as_str() {
            "nginx-light" => format!("{files}\n{}", program::tool(&["dpkg-query", "--listfiles", "nginx"]).unwrap()),
            _ => files,
        };
        let places = [format!("bin/{program}"), format!("lib/x86_64-linux-gnu/{program}")];
        let brings = files.lines().any(|file| places.iter().any(|place| file.ends_with(place)));
        assert!(brings, "{package} does not bring {program}");
    }
}

#[test]
fn packages_are_looked_for_not_programs() {
    // A Debian with a compiler but without the library to link with, and with the busybox that needs its libraries.
    let said = deps_where(&["gcc", "busybox", "make"]).fails(1);
    let words: Vec<&str> = said.split_whitespace().skip_while(|word| !word.starts_with("--")).collect();
    for package in ["libc6-dev", "busybox-static", "procps", "curl", "nginx-light", "qemu-system-x86"] {
        assert!(words.contains(&package), "{package} is not asked for: {said}");
    }
    assert!(!words.contains(&"gcc") && !words.contains(&"make"), "{said}");
    let all: Vec<(String, String)> = listed();
    let all: Vec<&str> = all.iter().map(|(package, _)| package.as_str()).collect();
    assert!(deps_where(&all).ok().contains("nothing is missing"));
}

#[test]
fn make_finds_the_programs_of_the_administrator() {
    let mut command = Command::new("make");
    command.args(["--silent", "--eval", "path: ; @echo $$PATH", "path"]).current_dir(repository());
    let path = program::run(command.env("PATH", "/usr/local/bin:/usr/bin:/bin")).unwrap().ok();
    let directories: Vec<&str> = path.split(':').collect();
    assert!(directories.contains(&"/usr/sbin") && directories.contains(&"/sbin"), "{path}");
}
