//! Where in a container something is mounted, and when two mounts meet.

use std::collections::BTreeSet;

/// An absolute path without `.`, `..` and doubled slashes, as the kernel would walk it if nothing on it were a link;
/// `..` stays below the root.
pub fn normalised(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The [normalised] place at which something can be mounted: an absolute path that is not the root itself.
pub fn target(path: &str) -> Option<String> {
    let target = path.starts_with('/').then(|| normalised(path))?;
    (target != "/").then_some(target)
}

/// Whether two paths name one place.
pub fn same_place(one: &str, other: &str) -> bool {
    normalised(one) == normalised(other)
}

/// The first place that comes twice, as the later one writes it.
pub fn duplicate<'a>(targets: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    targets.into_iter().find(|target| !seen.insert(normalised(target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_below_the_root() {
        assert_eq!(target("/a//b/./../c/").as_deref(), Some("/a/c"));
        assert_eq!(target("/../../etc").as_deref(), Some("/etc"));
        for none in ["/..", "/", "//", "relative", "", "./a"] {
            assert_eq!(target(none), None, "{none}");
        }
    }

    #[test]
    fn one_place_has_many_spellings() {
        assert!(same_place("/data", "/data/"));
        assert!(same_place("/data", "//x/../data/."));
        assert!(!same_place("/data", "/data/x"));
        assert_eq!(duplicate(["/a", "/b", "/a/"]), Some("/a/"));
        assert_eq!(duplicate(["/a", "/a/b", "/b"]), None);
        assert_eq!(duplicate([]), None);
    }
}
