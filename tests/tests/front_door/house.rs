//! The rules of the house that no compiler knows: who may use whom, what is written nowhere, what the documents promise.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The crates of the workspace: where they are.
fn members() -> Vec<String> {
    let workspace: toml::Value = toml::from_str(&read("Cargo.toml")).unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members.iter().map(|member| member.as_str().unwrap().to_owned()).collect()
}

/// The sources below `directory`, paths within the repository.
fn sources(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![repository().join(directory)];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            // A crate inside another one is its own.
            if path.is_dir() && !path.join("Cargo.toml").exists() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(repository()).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{directory}");
    found
}

/// A source without its tests, which come last, and without comments.
fn code(path: &str) -> String {
    let text = read(path);
    let code = text.split("#[cfg(test)]\n").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.contains("tests.rs") || path.contains("/examples/") || path.contains("/sim/")
}

#[test]
fn crates_use_only_what_is_below_them() {
    let allowed: &[(&str, &[&str])] = &[
        ("runtime/common", &[]),
        ("image", &["skep-common"]),
        ("net", &["skep-common"]),
        ("runtime", &["skep-common", "skep-image", "skep-net"]),
        ("cluster", &["skep-common"]),
        ("cli/engine", &["skep-cluster", "skep-common", "skep-image", "skep-net", "skep-runtime"]),
        ("cli", &["skep-common", "skep-engine", "skep-image", "skep-net", "skep-runtime"]),
        ("tests", &[]),
    ];
    for member in members() {
        let manifest: toml::Value = toml::from_str(&read(&format!("{member}/Cargo.toml"))).unwrap();
        let used = manifest.get("dependencies").and_then(toml::Value::as_table).into_iter().flatten();
        let used: BTreeSet<&str> =
            used.map(|(name, _)| name.as_str()).filter(|name| name.starts_with("skep-")).collect();
        let (_, may) =
            allowed.iter().find(|(name, _)| *name == member).unwrap_or_else(|| panic!("no rule for {member}"));
        let more: Vec<&&str> = used.iter().filter(|name| !may.contains(name)).collect();
        assert!(more.is_empty(), "{member} must not use {more:?}");
    }
}

#[test]
fn every_file_says_what_it_is() {
    for member in members() {
        for path in sources(&member) {
            let text = read(&path);
            assert!(text.starts_with("//!"), "{path} does not begin with what it is");
        }
    }
}

#[test]
fn the_platform_is_the_machines() {
    for member in members().iter().filter(|member| *member != "tests") {
        for path in sources(member).iter().filter(|path| !is_test(path)) {
            let code = code(path);
            for written in ["linux/amd64", "\"amd64\"", "x86_64-unknown"] {
                // Names of architectures are translated in one place.
                let translates = path.starts_with("runtime/common/src/architecture")
                    || path == "image/src/platform.rs"
                    || path.contains("seccomp/");
                assert!(translates || !code.contains(written), "{path} has {written}");
            }
        }
    }
}

#[test]
fn no_error_is_told_by_its_words() {
    for member in members().iter().filter(|member| *member != "tests") {
        for path in sources(member).iter().filter(|path| !is_test(path)) {
            let code = code(path);
            for habit in
                ["contains(\"not found", "contains(\"out of sequence", "contains(\"No such", "message().contains("]
            {
                assert!(!code.contains(habit), "{path} reads an error's text: {habit}");
            }
        }
    }
}

#[test]
fn the_command_line_does_not_know_the_wire() {
    for path in sources("cli") {
        for name in ["tonic", "skep_cluster"] {
            assert!(!read(&path).contains(name), "{path} knows {name}: the engine's requests and answers are docker's");
        }
    }
}

/// The table of invariants names the test that holds each.
#[test]
fn every_invariant_has_its_test() {
    let text = read("ARCHITECTURE.md");
    let section = text.split("## What must stay true").nth(1).expect("a section").split("\n## ").next().unwrap();
    let rows: Vec<&str> =
        section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what")).collect();
    assert!(rows.len() > 10, "{rows:?}");
    let everything: String = members().iter().flat_map(|member| sources(member)).map(|path| read(&path)).collect();
    for row in rows {
        let held = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let names: Vec<&str> = held.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing holds: {row}");
        for name in names {
            let test = format!("fn {}(", name.rsplit("::").next().unwrap());
            let lint = format!("{name} = ");
            let listed =
                everything.contains(&test) || read("Cargo.toml").contains(&lint) || repository().join(name).exists();
            assert!(listed, "there is no {name}, which is to hold: {row}");
        }
    }
}

#[test]
fn readme_and_architecture_name_what_exists() {
    let makefile = read("Makefile");
    let readme = read("README.md");
    for line in readme.lines().filter(|line| line.starts_with("| `make ")) {
        let target = line.trim_start_matches("| `make ").split('`').next().unwrap();
        assert!(makefile.contains(&format!("\n{target}:")), "make {target} is in README only");
    }
    let text = read("ARCHITECTURE.md");
    for quoted in text.split('`').skip(1).step_by(2) {
        let first = quoted.split('/').next().unwrap();
        let is_path = quoted.contains('/') && members().iter().any(|member| member.split('/').next() == Some(first));
        if !is_path || quoted.contains([' ', '<', '*', '…']) {
            continue;
        }
        for path in alternatives(quoted) {
            assert!(repository().join(path.trim_end_matches('*')).exists(), "ARCHITECTURE.md names {path}");
        }
    }
}

/// `a/{b,c}/d` → `a/b/d`, `a/c/d`.
fn alternatives(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (inside, after) = rest.split_once('}').unwrap();
    inside.split(',').map(|one| format!("{before}{one}{after}")).collect()
}
