//! Paths inside a container, walked one component at a time from outside.
//!
//! The container may own every file below its root, and may change them while we walk (a volume
//! shared with another container). So no path is ever handed to the kernel as a whole: each
//! component is opened on its own without following links; links are followed here, inside the
//! root; `..` goes back to the directory we came from, not to wherever it may have been moved.
//! The result is a descriptor, and what is mounted is mounted onto that descriptor.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};

/// Symbolic links followed in one walk, as the kernel's own limit.
const LINKS_MAX: usize = 40;

/// What to make when the path is missing. Missing parents become directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Nothing: an error.
    Fail,
    /// A directory, mode 0755.
    MakeDirectory,
    /// An empty file, mode 0644.
    MakeFile,
}

/// Whether symbolic links inside the container are followed (inside the container).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Yes, as the container itself would.
    Follow,
    /// A link anywhere on the path is an error.
    Refuse,
}

/// The root of a container, from outside.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Opens the directory itself (which is the host's, and trusted).
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let fd = open(path, directory_flags(), Mode::empty())?;
        Ok(Self { fd })
    }

    /// A directory that is open already.
    pub(crate) fn of(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Walks to `path` and returns it opened with O_PATH.
    pub(crate) fn walk(&self, path: &str, links: Links, missing: Missing) -> io::Result<OwnedFd> {
        let mut rest: VecDeque<String> = components(path).collect();
        let mut parents: Vec<OwnedFd> = Vec::with_capacity(rest.len());
        let mut links_left = match links {
            Links::Follow => LINKS_MAX,
            Links::Refuse => 0,
        };
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                parents.pop();
                continue;
            }
            let directory = parents.last().unwrap_or(&self.fd).as_fd();
            let last = rest.is_empty();
            match step(directory, &name, last, missing)? {
                Step::Opened(fd) => parents.push(fd),
                Step::Link(target) => {
                    links_left = links_left.checked_sub(1).ok_or(Errno::ELOOP)?;
                    if target.starts_with('/') {
                        parents.clear();
                    }
                    for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(component);
                    }
                }
            }
        }
        match parents.pop() {
            Some(fd) => Ok(fd),
            None => Ok(self.fd.try_clone()?),
        }
    }
}

enum Step {
    Opened(OwnedFd),
    Link(String),
}

fn components(path: &str) -> impl Iterator<Item = String> + '_ {
    path.split('/').filter(|component| !component.is_empty() && *component != ".").map(str::to_owned)
}

fn directory_flags() -> OFlag {
    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// One component. A directory in the middle of a path costs one system call.
fn step(directory: BorrowedFd<'_>, name: &str, last: bool, missing: Missing) -> io::Result<Step> {
    // Several times, because another process may make or remove the entry between our calls.
    for _ in 0..16 {
        let flags = if last { OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC } else { directory_flags() };
        match openat(directory, name, flags, Mode::empty()) {
            Ok(fd) if !last => return Ok(Step::Opened(fd)),
            Ok(fd) => {
                let status = fstat(&fd)?;
                if kind_of(&status) != SFlag::S_IFLNK {
                    return Ok(Step::Opened(fd));
                }
                return Ok(Step::Link(read_link(fd.as_fd(), "")?));
            }
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                let status = match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Ok(status) => status,
                    Err(Errno::ENOENT) => continue,
                    Err(error) => return Err(error.into()),
                };
                return match kind_of(&status) {
                    SFlag::S_IFLNK => Ok(Step::Link(read_link(directory, name)?)),
                    SFlag::S_IFDIR => continue,
                    _ => Err(Errno::ENOTDIR.into()),
                };
            }
            Err(Errno::ENOENT) => match (missing, last) {
                (Missing::Fail, _) => return Err(Errno::ENOENT.into()),
                (Missing::MakeFile, true) => make_file(directory, name)?,
                _ => make_directory(directory, name)?,
            },
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::EAGAIN.into())
}

fn make_directory(directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match mkdirat(directory, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn make_file(directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(directory, name, flags, Mode::from_bits_truncate(0o644)) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn read_link(directory: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    let target = readlinkat(directory, name)?;
    target.into_string().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// What kind of file a status tells of: `S_IFDIR` and its like.
pub(crate) fn kind_of(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

/// The path under which the kernel finds a descriptor of this process again.
pub(crate) fn descriptor_path(fd: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn seen(root: &Root, path: &str, links: Links, missing: Missing) -> io::Result<String> {
        let fd = root.walk(path, links, missing)?;
        Ok(fs::read_link(descriptor_path(&fd))?.display().to_string())
    }

    fn fixture() -> (tempfile::TempDir, Root, String) {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("root");
        fs::create_dir_all(base.join("a/b")).unwrap();
        fs::create_dir(base.join("run")).unwrap();
        fs::create_dir(base.join("var")).unwrap();
        symlink("/run", base.join("var/run")).unwrap();
        symlink("../../../../../..", base.join("a/up")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        fs::write(base.join("file"), "").unwrap();
        let root = Root::open(&base).unwrap();
        let name = base.display().to_string();
        (directory, root, name)
    }

    #[test]
    fn links_and_dots_stay_inside() {
        let (_directory, root, base) = fixture();
        let check = |path: &str, expected: &str| {
            let found = seen(&root, path, Links::Follow, Missing::Fail).unwrap();
            assert_eq!(found, format!("{base}{expected}"), "{path}");
        };
        check("/a/b", "/a/b");
        check("/../../../a", "/a");
        check("/a/up/a/b", "/a/b");
        check("/var/run", "/run");
        check("/a/./b//..", "/a");
        check("/", "");
    }

    #[test]
    fn missing_parts_are_made_behind_links() {
        let (_directory, root, base) = fixture();
        let made = seen(&root, "/var/run/x/y", Links::Follow, Missing::MakeFile).unwrap();
        assert_eq!(made, format!("{base}/run/x/y"));
        assert!(fs::metadata(made).unwrap().is_file());
        let made = seen(&root, "/n/e/w", Links::Follow, Missing::MakeDirectory).unwrap();
        assert!(fs::metadata(made).unwrap().is_dir());
    }

    #[test]
    fn what_cannot_be_walked_is_an_error() {
        let (_directory, root, _) = fixture();
        let kind = |path: &str, links| seen(&root, path, links, Missing::Fail).unwrap_err();
        assert_eq!(kind("/loop", Links::Follow).raw_os_error(), Some(libc::ELOOP));
        assert_eq!(kind("/var/run", Links::Refuse).raw_os_error(), Some(libc::ELOOP));
        assert_eq!(kind("/file/x", Links::Follow).raw_os_error(), Some(libc::ENOTDIR));
        assert_eq!(kind("/none", Links::Follow).raw_os_error(), Some(libc::ENOENT));
    }
}
