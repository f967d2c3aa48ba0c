//! Who may import whom within this crate, as a test over the sources: the compiler would let the stages of the
//! pipeline lean on each other, and a rule that two of them need would end up in one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What every part may use: the generated types, the model, errors, and time and chance as they are handed in.
const GROUND: [&str; 7] = ["api", "error", "id", "model", "streams", "surroundings", "timing"];

/// What each part may use beyond the ground and itself.
const RULES: [(&str, &[&str]); 10] = [
    ("api", &[]),
    ("model", &[]),
    ("store", &[]),
    ("brain", &["store"]),
    ("orchestrator", &["brain", "store"]),
    ("allocator", &["brain", "store"]),
    ("scheduler", &["brain", "store"]),
    ("dispatcher", &["store", "wire"]),
    ("logs", &["store", "wire"]),
    ("agent", &["executor", "store", "wire"]),
];

/// The control API reaches what it asks or shows: the logs, the certificates, raft's membership.
const CONTROL: [&str; 5] = ["ca", "logs", "raft", "store", "wire"];

fn sources(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(path.to_owned());
    }
}

/// The parts of this crate that a source names after `crate::`.
fn named(text: &str) -> BTreeSet<String> {
    let word = |rest: &str| -> String {
        rest.chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_').collect()
    };
    text.split("crate::").skip(1).map(word).filter(|name| !name.is_empty()).collect()
}

#[test]
fn the_stages_import_the_model_and_never_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut rules: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (part, allowed) in RULES.into_iter().chain([("control", CONTROL.as_slice())]) {
        rules.insert(part, allowed.iter().copied().chain(GROUND).chain([part]).collect());
    }
    // The ground does not lean on what stands on it.
    rules.insert("model", BTreeSet::from(["api", "id", "model"]));
    rules.insert("api", BTreeSet::from(["api"]));
    let mut broken = Vec::new();
    for (part, allowed) in &rules {
        let mut files = Vec::new();
        sources(&root.join(part), &mut files);
        files.extend(Some(root.join(format!("{part}.rs"))).filter(|file| file.is_file()));
        assert!(!files.is_empty(), "{part} is gone: take it out of the rules");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for name in named(&text).into_iter().filter(|name| !allowed.contains(name.as_str())) {
                broken.push(format!("{} imports crate::{name}", file.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
