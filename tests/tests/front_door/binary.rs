//! The one file people get: static, small, in need of nothing.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use skep_tests::program::run;
use skep_tests::skep;

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

/// The types of the program headers of a 64-bit little-endian ELF file.
fn program_headers(file: &[u8]) -> Vec<u32> {
    let number = |at: usize, size: usize| {
        let bytes = &file[at..at + size];
        bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let at = |number: u64| usize::try_from(number).unwrap();
    assert_eq!(&file[..5], b"\x7fELF\x02");
    let (start, size, count) = (at(number(32, 8)), at(number(54, 2)), at(number(56, 2)));
    (0..count).map(|index| u32::try_from(number(start + index * size, 4)).unwrap()).collect()
}

#[test]
fn is_truly_static() {
    let binary = skep::binary().unwrap();
    let headers = program_headers(&fs::read(&binary).unwrap());
    assert!(!headers.contains(&PT_INTERP), "it asks for a loader");
    assert!(!headers.contains(&PT_DYNAMIC), "it has a dynamic section");
    let said = run(Command::new("ldd").arg(&binary)).unwrap();
    let said = format!("{}{}", said.stdout, said.stderr);
    assert!(said.contains("not a dynamic executable") || said.contains("statically linked"), "{said}");
}

#[test]
fn is_at_most_25_megabytes() {
    let binary = skep::binary().unwrap();
    if binary.to_string_lossy().contains("/debug/") {
        panic!("{} is a debug build: run `make build`, or set SKEP_BIN", binary.display());
    }
    let size = fs::metadata(&binary).unwrap().len();
    assert!(size <= 25_000_000, "{size} bytes");
}

#[test]
fn says_its_version_with_an_empty_environment() {
    let mut command = Command::new(skep::binary().unwrap());
    let said = run(command.arg("--version").env_clear().env("PATH", "")).unwrap().ok();
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
}

/// Whether an SPDX expression can be met with these licences. A slash is how OR was written before SPDX.
fn fits(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let answer = any_of(&mut rest, allowed);
    answer && rest.is_empty()
}

fn any_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut answer = all_of(words, allowed);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        answer |= all_of(words, allowed);
    }
    answer
}

fn all_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut answer = one(words, allowed);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        answer &= one(words, allowed);
    }
    answer
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let answer = any_of(words, allowed);
            let [")", rest @ ..] = *words else { return false };
            *words = rest;
            answer
        }
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{licence} WITH {exception}"))
        }
        [licence, rest @ ..] => {
            *words = rest;
            allowed.contains(*licence)
        }
        [] => false,
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "ISC"].map(ToOwned::to_owned).into();
    for fit in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-2.0", "(GPL-2.0 OR MIT) AND ISC", "Apache-2.0 WITH LLVM-exception"] {
        assert!(fits(fit, &allowed), "{fit}");
    }
    for unfit in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "AGPL-3.0-only",
        "SSPL-1.0",
        "MIT WITH something",
        "(MIT",
        "MIT GPL-3.0",
        "OR",
    ] {
        assert!(!fits(unfit, &allowed), "{unfit}");
    }
}

/// The list is `deny.toml`'s; this holds to it where cargo-deny is not installed.
#[test]
fn licences_allow_one_apache_binary() {
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let rules: toml::Table = fs::read_to_string(format!("{repository}/deny.toml")).unwrap().parse().unwrap();
    let rules = &rules["licenses"];
    let texts = |list: &toml::Value| -> BTreeSet<String> {
        list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let allowed = texts(&rules["allow"]);
    assert!(allowed.contains("Apache-2.0") && !allowed.iter().any(|licence| licence.contains("GPL")), "{allowed:?}");
    let of_crate = |kind: &str, name: &str| {
        let entries = rules.get(kind)?.as_array().unwrap();
        entries.iter().find(|entry| entry["crate"].as_str() == Some(name)).cloned()
    };
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--locked", "--offline", "--format-version", "1"]);
    command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let metadata = run(command.current_dir(repository)).unwrap().ok();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    for package in packages {
        let name = package["name"].as_str().unwrap();
        // What says nothing has to be looked at by a person, who writes down what it is.
        let clarified = of_crate("clarify", name);
        let licence = match package["license"].as_str() {
            Some(licence) => licence,
            None => clarified.as_ref().map_or("", |entry| entry["expression"].as_str().unwrap()),
        };
        let mut here = allowed.clone();
        here.extend(of_crate("exceptions", name).iter().flat_map(|entry| texts(&entry["allow"])));
        assert!(fits(licence, &here), "{name} is under {licence:?}, which deny.toml does not allow");
    }
}
