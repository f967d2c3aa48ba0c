//! The one file people get: static, small, in need of nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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

#[test]
fn licences_allow_one_apache_binary() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--locked", "--offline", "--format-version", "1"]);
    command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let metadata = run(command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))).unwrap().ok();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    for package in packages {
        let licence = package["license"].as_str().unwrap_or_default();
        // What may be had under several licences is taken under the one that fits.
        let fits = licence.split(" OR ").any(|choice| !choice.contains("GPL"));
        assert!(fits, "{} is under {licence}", package["name"]);
    }
}
