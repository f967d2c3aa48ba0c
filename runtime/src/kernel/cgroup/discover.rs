//! Which cgroup hierarchies this host has, and where.

use std::fs;
use std::io;
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

use super::{KernelError, Result, cgroup_error};

const ROOT: &str = "/sys/fs/cgroup";

/// The controllers of version 1, in the order in which their combinations are named.
const KNOWN: [&str; 14] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "net_cls",
    "net_prio",
    "blkio",
    "perf_event",
    "hugetlb",
    "pids",
    "rdma",
    "misc",
];

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Its root directory, as this process reaches it.
    pub(crate) base: PathBuf,
    /// Version 2.
    pub(crate) unified: bool,
    /// Controllers that are set in it; none for a named hierarchy.
    pub(crate) controllers: Vec<String>,
    /// Name of a hierarchy of version 1 without controllers.
    pub(crate) name: Option<String>,
    /// Nobody manages processes by it, so that containers need no place in it: a version 2
    /// hierarchy beside those of version 1, in whose root this process is. Joining it is slow.
    pub(crate) optional: bool,
    /// Directory name of the mount point.
    directory: String,
}

/// A hierarchy of version 1 as it is mounted inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LegacyHierarchy {
    /// Directory below /sys/fs/cgroup.
    pub(crate) directory: String,
    /// Mount options.
    pub(crate) options: String,
}

/// What is mounted on /sys/fs/cgroup inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Version 2.
    Unified,
    /// Version 1.
    Legacy(Vec<LegacyHierarchy>),
}

impl Hierarchy {
    pub(crate) fn legacy(&self) -> Option<LegacyHierarchy> {
        if self.unified {
            return None;
        }
        let options = match &self.name {
            Some(name) => format!("none,name={name}"),
            None => self.controllers.join(","),
        };
        Some(LegacyHierarchy { directory: self.directory.clone(), options })
    }
}

/// Set once this process has hidden the host's hierarchies from its mount namespace.
static HIDDEN: OnceLock<Vec<Hierarchy>> = OnceLock::new();

/// All hierarchies of this host.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    if let Some(hidden) = HIDDEN.get() {
        return Ok(hidden.clone());
    }
    let table = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(table).map_err(cgroup_error("look for", table))?;
    let mut found = parse(&text);
    for hierarchy in found.iter_mut().filter(|hierarchy| hierarchy.unified) {
        let path = hierarchy.base.join("cgroup.controllers");
        let list = fs::read_to_string(&path).unwrap_or_default();
        hierarchy.controllers = list.split_whitespace().map(str::to_owned).collect();
    }
    if found.is_empty() {
        return Err(KernelError::NoCgroup);
    }
    if found.iter().any(|hierarchy| !hierarchy.unified && !hierarchy.controllers.is_empty()) {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let unmanaged = own.lines().any(|line| line == "0::/");
        for hierarchy in found.iter_mut().filter(|hierarchy| hierarchy.unified) {
            hierarchy.optional = unmanaged;
        }
    }
    Ok(found)
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((front, back)) = line.split_once(" - ") else {
            continue;
        };
        let mut back = back.split(' ');
        let (kind, options) = (back.next(), back.nth(1).unwrap_or_default());
        let base = PathBuf::from(unescape(front.split(' ').nth(4).unwrap_or_default()));
        if !matches!(kind, Some("cgroup" | "cgroup2")) || !base.starts_with(ROOT) {
            continue;
        }
        let options: Vec<&str> = options.split(',').collect();
        let known = KNOWN.iter().filter(|known| options.contains(known));
        let hierarchy = Hierarchy {
            unified: kind == Some("cgroup2"),
            optional: false,
            controllers: known.map(|known| (*known).to_owned()).collect(),
            name: options.iter().find_map(|option| option.strip_prefix("name=")).map(str::to_owned),
            directory: base.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            base,
        };
        let same = |other: &Hierarchy| {
            other.unified == hierarchy.unified
                && other.controllers == hierarchy.controllers
                && other.name == hierarchy.name
        };
        if !found.iter().any(same) {
            found.push(hierarchy);
        }
    }
    found
}

/// Mount points are written with octal escapes for blanks.
pub(crate) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Takes the host's hierarchies out of this process' mount namespace, which has to be its own.
///
/// The container's namespace starts as a copy of it, and libcontainer, finding none, leaves
/// cgroups to us. This process goes on by descriptors of their roots.
pub(crate) fn hide() -> Result<()> {
    if HIDDEN.get().is_some() {
        return Ok(());
    }
    let mut found = hierarchies()?;
    let mut mount_points = Vec::new();
    for hierarchy in &mut found {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(&hierarchy.base, flags, Mode::empty())
            .map_err(|error| cgroup_error("open", &hierarchy.base)(error.into()))?;
        // Open until this process ends.
        let kept = PathBuf::from(format!("/proc/self/fd/{}", root.into_raw_fd()));
        mount_points.push(std::mem::replace(&mut hierarchy.base, kept));
    }
    let unmount = |path: &Path| match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL) => Ok(()),
        Err(error) => Err(cgroup_error("hide", path)(error.into())),
    };
    unmount(Path::new(ROOT))?;
    for path in mount_points.iter().filter(|path| path.as_path() != Path::new(ROOT)) {
        // Gone with the directory that held all of them, as a rule.
        if path.exists() {
            unmount(path)?;
        }
    }
    mount(Some("tmpfs"), ROOT, Some("tmpfs"), MsFlags::MS_RDONLY, Some("size=0k,nr_inodes=2"))
        .map_err(|error| cgroup_error("hide", Path::new(ROOT))(io::Error::from(error)))?;
    HIDDEN.set(found).map_err(|_| KernelError::NoCgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEGACY: &str = "\
25 30 0:23 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
26 25 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
27 25 0:25 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
29 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct
30 25 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 99 0:28 / /somewhere/else rw - cgroup cgroup rw,pids
32 25 0:28 / /sys/fs/cgroup/again rw - cgroup cgroup rw,memory
";

    #[test]
    fn controllers_mounted_together_are_one_hierarchy() {
        let found = parse(LEGACY);
        let inside: Vec<_> = found.iter().filter_map(Hierarchy::legacy).collect();
        let expected = |directory: &str, options: &str| LegacyHierarchy {
            directory: directory.to_owned(),
            options: options.to_owned(),
        };
        assert_eq!(
            inside,
            [
                expected("systemd", "none,name=systemd"),
                expected("cpu,cpuacct", "cpu,cpuacct"),
                expected("memory", "memory"),
            ]
        );
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn escapes_in_mount_points_are_undone() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
        assert_eq!(unescape("/trailing\\04"), "/trailing\\04");
    }
}
