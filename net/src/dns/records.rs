//! DNS record files: which names a network knows, one file per network.
//!
//! Written by `connect`, `disconnect` and `apply_node`, below RUN_ROOT/dns; read by each
//! container's resolver. Invariants: replaced by rename, so a reader sees a whole file always; names
//! are lower case; answers outlive every agent, since they are a file.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use skep_common::files::load as load_file;

use crate::error::Result;
use crate::files;

/// Version of the format that this module writes.
pub const VERSION: u32 = 1;

/// The names of one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFile {
    /// Version of this format: [`VERSION`].
    pub version: u32,
    /// The network's name: `NAME.NETWORK` is answered too.
    #[serde(default)]
    pub network: String,
    /// Answers by name, which is lower case and without a final dot.
    pub records: BTreeMap<String, Answer>,
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The addresses, in order. Empty: the name exists and has none at the moment.
    pub addresses: Vec<Ipv4Addr>,
    /// Whether a resolver answers them in a random order.
    #[serde(default)]
    pub shuffled: bool,
}

impl RecordFile {
    /// A file without names.
    pub fn new(network: impl Into<String>) -> Self {
        Self { version: VERSION, network: network.into(), records: BTreeMap::new() }
    }

    /// Adds an address to a name, in lower case. More than one address makes the answer shuffled.
    pub fn add(&mut self, name: &str, address: Ipv4Addr) {
        let answer = self.records.entry(name.to_ascii_lowercase()).or_default();
        if !answer.addresses.contains(&address) {
            answer.addresses.push(address);
            answer.addresses.sort_unstable();
        }
        answer.shuffled = answer.addresses.len() > 1;
    }

    /// Makes a name known that has no address at the moment.
    pub(crate) fn add_empty(&mut self, name: &str) {
        self.records.entry(name.to_ascii_lowercase()).or_default();
    }

    /// The answer for a name, in any case.
    pub fn get(&self, name: &str) -> Option<&Answer> {
        self.records.get(&name.to_ascii_lowercase())
    }
}

/// Reads a record file; `None` when there is none.
///
/// # Errors
/// When it cannot be read, or is not a record file.
pub fn load(path: &Path) -> Result<Option<RecordFile>> {
    Ok(load_file(path)?)
}

/// Replaces a record file, unless it holds the same already.
///
/// # Errors
/// When it cannot be written.
pub fn store(path: &Path, file: &RecordFile) -> Result<()> {
    if load(path).ok().flatten().as_ref() == Some(file) {
        return Ok(());
    }
    files::store_volatile(path, file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_survive_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dns/n.json");
        let mut file = RecordFile::new("app");
        file.add("Web", Ipv4Addr::new(10, 0, 0, 3));
        file.add("web", Ipv4Addr::new(10, 0, 0, 2));
        file.add("one", Ipv4Addr::new(10, 0, 0, 9));
        file.add_empty("tasks.none");
        store(&path, &file).unwrap();
        let read = load(&path).unwrap().unwrap();
        assert_eq!(read, file);
        assert_eq!(read.get("WEB").unwrap().addresses, [Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)]);
        assert!(read.get("web").unwrap().shuffled && !read.get("one").unwrap().shuffled);
        assert_eq!(read.get("tasks.none"), Some(&Answer::default()));
        assert_eq!(load(&directory.path().join("absent.json")).unwrap(), None);
    }
}
