//! How much is in a directory that somebody else may be changing all the while.
//!
//! Called for what containers write to: their upper directories and volumes. A container may put a link, or a mount of
//! its own, in the place of anything at any moment. So no path below the directory is ever handed to the kernel: each
//! directory is opened by its name in one that is open, never through a link, and nothing of another file system
//! counts, as with `du -x`. However deep the directories are, few descriptors are open at a time: the way back is `..`,
//! if that still is where the walk came from.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

/// Size of the blocks in which stat(2) counts, whatever the file system's own are.
const STAT_BLOCK_BYTES: u64 = 512;

/// How much is in a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirectorySize {
    /// Bytes that can be read from its regular files, holes included.
    pub content_bytes: u64,
    /// Bytes that its files take on the disk.
    pub disk_bytes: u64,
}

/// How much is in a directory and those below it, on its file system. A file with several names counts once. What
/// cannot be read, or goes away or is moved meanwhile, may count nothing.
pub fn directory_size(directory: &Path) -> DirectorySize {
    let top = open(directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let Ok((top, status)) = top.and_then(|top| fstat(&top).map(|status| (top, status))) else {
        return DirectorySize::default();
    };
    let mut count = Count { device: status.st_dev, linked: HashSet::new(), size: DirectorySize::default() };
    count.all_below(&top, status.st_ino);
    count.size
}

/// A directory on the way to the one that is looked at.
struct Level {
    inode: u64,
    /// Names of directories in it that wait to be looked at.
    waiting: Vec<CString>,
}

struct Count {
    /// The file system that is looked at.
    device: u64,
    /// Files with several names that have been counted.
    linked: HashSet<u64>,
    size: DirectorySize,
}

impl Count {
    fn all_below(&mut self, top: &OwnedFd, inode: u64) {
        let mut levels = vec![Level { inode, waiting: self.files_of(top.as_fd()) }];
        // Below the top.
        let mut current: Option<OwnedFd> = None;
        while let Some(level) = levels.last_mut() {
            let here = current.as_ref().unwrap_or(top).as_fd();
            if let Some(name) = level.waiting.pop() {
                if let Some((below, inode)) = self.enter(here, &name) {
                    levels.push(Level { inode, waiting: self.files_of(below.as_fd()) });
                    current = Some(below);
                }
                continue;
            }
            levels.pop();
            current = match levels.as_slice() {
                [] | [_] => None,
                [.., parent] => match self.enter(here, c"..") {
                    Some((above, inode)) if inode == parent.inode => Some(above),
                    // Moved away under our feet.
                    _ => {
                        levels.truncate(1);
                        None
                    }
                },
            };
        }
    }

    /// Opens a directory on the same file system, by its name in one.
    fn enter(&self, directory: BorrowedFd<'_>, name: &CStr) -> Option<(OwnedFd, u64)> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(directory, name, flags, Mode::empty()).ok()?;
        let status = fstat(&opened).ok()?;
        (status.st_dev == self.device).then_some((opened, status.st_ino))
    }

    /// Counts the files in a directory. Returns the names of the directories in it.
    fn files_of(&mut self, directory: BorrowedFd<'_>) -> Vec<CString> {
        let mut directories = Vec::new();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut listing) = Dir::openat(directory, c".", flags, Mode::empty()) else { return directories };
        for entry in listing.iter().map_while(Result::ok) {
            let name = entry.file_name();
            let Ok(status) = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
                _ if status.st_dev != self.device => {}
                SFlag::S_IFDIR if matches!(name.to_bytes(), b"." | b"..") => {}
                SFlag::S_IFDIR => directories.push(name.to_owned()),
                kind => self.file(&status, kind == SFlag::S_IFREG),
            }
        }
        directories
    }

    fn file(&mut self, status: &FileStat, regular: bool) {
        if status.st_nlink > 1 && !self.linked.insert(status.st_ino) {
            return;
        }
        self.size.disk_bytes += status.st_blocks.unsigned_abs() * STAT_BLOCK_BYTES;
        if regular {
            self.size.content_bytes += status.st_size.unsigned_abs();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::stat::mkdirat;

    use super::*;

    #[test]
    fn a_size_counts_each_file_once_and_no_hole_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("a"), vec![1; 5000]).unwrap();
        fs::hard_link(inner.join("a"), directory.path().join("b")).unwrap();
        File::create(directory.path().join("sparse")).unwrap().set_len(1 << 20).unwrap();
        symlink("/etc", directory.path().join("link")).unwrap();
        let size = directory_size(directory.path());
        assert_eq!(size.content_bytes, 5000 + (1 << 20));
        assert!(size.disk_bytes < 1 << 20, "{size:?}");
        assert_eq!(directory_size(Path::new("/nonexistent")), DirectorySize::default());
    }

    #[test]
    fn a_link_that_takes_a_directorys_place_leads_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let [host, volume] = ["host", "volume"].map(|name| directory.path().join(name));
        fs::create_dir_all(host.join("inner")).unwrap();
        fs::write(host.join("inner/file"), vec![1; 5000]).unwrap();
        fs::create_dir_all(volume.join("sub")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    fs::rename(volume.join("sub"), volume.join("aside")).unwrap();
                    symlink(&host, volume.join("sub")).unwrap();
                    fs::remove_file(volume.join("sub")).unwrap();
                    fs::rename(volume.join("aside"), volume.join("sub")).unwrap();
                }
            });
            let counted = (0..5000).map(|_| directory_size(&volume).content_bytes).max();
            done.store(true, Ordering::Relaxed);
            assert_eq!(counted, Some(0), "files of the host were counted");
        });
    }

    #[test]
    fn what_is_mounted_below_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let counted = std::thread::spawn(move || {
            let none = None::<&str>;
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            fs::create_dir(path.join("mounted")).unwrap();
            mount(Some("tmpfs"), &path.join("mounted"), Some("tmpfs"), MsFlags::empty(), none).unwrap();
            fs::write(path.join("mounted/file"), vec![1; 5000]).unwrap();
            fs::write(path.join("file"), vec![1; 10]).unwrap();
            directory_size(&path).content_bytes
        });
        assert_eq!(counted.join().unwrap(), 10);
    }

    #[test]
    fn no_depth_is_too_deep() {
        const DEPTH: u64 = 300;
        let directory = tempfile::tempdir().unwrap();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut current = open(directory.path(), flags, Mode::empty()).unwrap();
        for _ in 0..DEPTH {
            let name = "a_name_that_makes_the_path_longer_than_the_kernel_takes";
            let make = |name: &str| mkdirat(&current, name, Mode::S_IRWXU).unwrap();
            [name, "beside"].into_iter().for_each(make);
            let beside = openat(&current, "beside", flags, Mode::empty()).unwrap();
            let file = openat(&beside, "file", OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::S_IRUSR);
            File::from(file.unwrap()).set_len(1).unwrap();
            current = openat(&current, name, flags, Mode::empty()).unwrap();
        }
        assert_eq!(directory_size(directory.path()).content_bytes, DEPTH);
    }
}
