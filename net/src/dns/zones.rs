//! The record files of one container's networks, re-read when they change. Used by the server.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::records::{self, Answer, RecordFile};

/// The names that one container can see, in the order of its networks.
#[derive(Debug, Default)]
pub(super) struct Zones {
    files: Vec<CachedFile>,
}

#[derive(Debug)]
struct CachedFile {
    path: PathBuf,
    stamp: Option<Stamp>,
    records: Option<RecordFile>,
}

/// A file that was replaced by rename has another inode; size and time guard against a reused one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Zones {
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        Self { files: paths.into_iter().map(|path| CachedFile { path, stamp: None, records: None }).collect() }
    }

    /// Reads again the files that have changed. A file that cannot be read keeps its last good content.
    pub(super) fn refresh(&mut self) {
        for file in &mut self.files {
            let stamp = std::fs::metadata(&file.path).ok().map(|m| Stamp {
                inode: m.ino(),
                size: m.size(),
                modified_s: m.mtime(),
                modified_ns: m.mtime_nsec(),
            });
            if stamp == file.stamp {
                continue;
            }
            match records::load(&file.path) {
                Ok(records) => {
                    file.records = records;
                    file.stamp = stamp;
                }
                Err(error) => tracing::warn!(path = %file.path.display(), %error, "cannot read DNS records"),
            }
        }
    }

    /// The answer for a name without final dot: as it stands on any network, then as NAME.NETWORK.
    pub(super) fn lookup(&self, name: &str) -> Option<&Answer> {
        let zones = || self.files.iter().filter_map(|f| f.records.as_ref());
        zones().find_map(|zone| zone.get(name)).or_else(|| {
            zones().find_map(|zone| {
                let at = name.len().checked_sub(zone.network.len() + 1)?;
                let (host, network) = (name.get(..at)?, name.get(at..)?.strip_prefix('.')?);
                if network.eq_ignore_ascii_case(&zone.network) { zone.get(host) } else { None }
            })
        })
    }

    /// NAME.NETWORK of an address that is the only one of a name.
    pub(super) fn reverse(&self, address: Ipv4Addr) -> Option<String> {
        self.files.iter().filter_map(|f| f.records.as_ref()).find_map(|zone| {
            zone.records
                .iter()
                .filter(|(name, answer)| answer.addresses == [address] && !name.starts_with("tasks."))
                .map(|(name, _)| name)
                // A task has its full container name and shorter ones: the longest says most.
                .max_by_key(|name| name.len())
                .map(|name| format!("{name}.{}", zone.network))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_seen_and_networks_qualify_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("n.json");
        let mut zones = Zones::new(vec![path.clone()]);
        zones.refresh();
        assert!(zones.lookup("web").is_none());

        let mut file = RecordFile::new("app");
        file.add("web", Ipv4Addr::new(10, 0, 1, 2));
        records::store(&path, &file).unwrap();
        zones.refresh();
        assert_eq!(zones.lookup("WEB").unwrap().addresses, [Ipv4Addr::new(10, 0, 1, 2)]);
        assert!(zones.lookup("web.App").is_some());
        assert!(zones.lookup("web.other").is_none() && zones.lookup("app").is_none() && zones.lookup(".app").is_none());
        assert_eq!(zones.reverse(Ipv4Addr::new(10, 0, 1, 2)).unwrap(), "web.app");

        std::fs::write(&path, "{ torn").unwrap();
        zones.refresh();
        assert!(zones.lookup("web").is_some(), "a broken file must not take the names away");
        std::fs::remove_file(&path).unwrap();
        zones.refresh();
        assert!(zones.lookup("web").is_none());
    }
}
