//! Copies what a directory holds into another one that a running container may be changing all the while.
//!
//! Called by [`super::copy_up`]. The container may plant, move and remove whatever it likes in the target at any moment.
//! So no path is ever handed to the kernel: each entry is made by its name in a directory that is held open, never
//! through a link, never over anything, and owner, mode, attributes and times are set on the descriptor of what was
//! made. What is there already stays as it is; a directory that is there is filled.
//!
//! Copied are directories, regular files (their holes stay holes, their second names names of one file) and symbolic
//! links, with owner, mode, times, file capabilities and the user's extended attributes; nothing else is.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, Whence, fchown, fchownat, linkat, lseek, symlinkat};
use xattr::FileExt;

use crate::kernel::walk::{Links, Missing, Root, descriptor_path, kind_of};

/// Copies what is in the directory `source` into the directory `target`, and then its owner, mode and times onto it.
///
/// # Errors
/// What failed, after the path below `source` at which it did.
pub(super) fn copy(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let (source, target) = (open_directory(source, c".")?, open_directory(target, c".")?);
    let mut tree = Tree { root: Root::of(target.try_clone()?.into()), made: HashMap::new(), path: PathBuf::new() };
    let copied = tree.content(source.as_fd(), target.as_fd()).and_then(|()| attributes(&source, &target));
    copied.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", tree.path.display())))
}

/// A copy under way.
struct Tree {
    /// The target.
    root: Root,
    /// Where the first name of a file with several was made, and which file it was; by the file in the source.
    made: HashMap<(u64, u64), (String, (u64, u64))>,
    /// Where the copy is, below both directories; where it stopped after an error.
    path: PathBuf,
}

impl Tree {
    fn content(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
        // All names first: each open listing would cost a descriptor on every level.
        let names: Vec<CString> = Dir::from_fd(open_directory(source, c".")?.into())?
            .iter()
            .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
            .filter(|name| name.as_ref().is_ok_and(|name| !matches!(name.to_bytes(), b"." | b"..")) || name.is_err())
            .collect::<Result<_, Errno>>()?;
        for name in names {
            self.path.push(std::ffi::OsStr::from_bytes(name.to_bytes()));
            self.entry(source, target, &name)?;
            self.path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let status = fstatat(source, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        match kind_of(&status) {
            SFlag::S_IFDIR => self.directory(source, target, name),
            SFlag::S_IFREG => self.file(source, target, name),
            SFlag::S_IFLNK => link(source, target, name, &status),
            _ => Ok(()),
        }
    }

    fn directory(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let from = open_directory(source, name)?;
        // Nobody else's until it has its owner and its mode.
        let made = match mkdirat(target, name, Mode::S_IRWXU) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(error) => return Err(error.into()),
        };
        match open_directory(target, name) {
            Ok(to) => {
                self.content(from.as_fd(), to.as_fd())?;
                if made {
                    attributes(&from, &to)?;
                }
                Ok(())
            }
            // Somebody's file or link, or gone again.
            Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn file(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let from = File::from(openat(source, name, flags, Mode::empty())?);
        let status = fstat(&from)?;
        if status.st_nlink > 1 && self.second_name(&status, target, name)? {
            return Ok(());
        }
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let to = match openat(target, name, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(to) => File::from(to),
            Err(Errno::EEXIST) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        data(&from, &to, u64::try_from(status.st_size).unwrap_or(0))?;
        attributes(&from, &to)?;
        if let (true, Some(path)) = (status.st_nlink > 1, self.path.to_str()) {
            self.made.insert(identity(&status), (path.to_owned(), identity(&fstat(&to)?)));
        }
        Ok(())
    }

    /// Makes a second name for a file that was copied under another one; false if it was not, or is not there any more.
    fn second_name(&self, status: &FileStat, target: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
        let Some((first, copied)) = self.made.get(&identity(status)) else { return Ok(false) };
        let Ok(found) = self.root.walk(first, Links::Refuse, Missing::Fail) else { return Ok(false) };
        if identity(&fstat(&found)?) != *copied {
            return Ok(false);
        }
        match linkat(AT_FDCWD, descriptor_path(&found).as_str(), target, name, AtFlags::AT_SYMLINK_FOLLOW) {
            Ok(()) | Err(Errno::EEXIST) => Ok(true),
            // It has lost its last name meanwhile, or has as many as it can have.
            Err(Errno::ENOENT | Errno::EMLINK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn identity(status: &FileStat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<File, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map(File::from)
}

fn link(source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr, status: &FileStat) -> io::Result<()> {
    match symlinkat(readlinkat(source, name)?.as_os_str(), target, name) {
        Ok(()) => {}
        Err(Errno::EEXIST) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let made = match openat(target, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(made) => made,
        Err(Errno::ENOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // Whatever takes the link's place from now on is not given away.
    if kind_of(&fstat(&made)?) == SFlag::S_IFLNK {
        let (owner, group) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
        fchownat(&made, c"", Some(owner), Some(group), AtFlags::AT_EMPTY_PATH)?;
        // By its name, as kernels before 5.8 have no other way: at worst another file of the container's gets a time.
        let [read, written] = times(status);
        match utimensat(target, name, &read, &written, UtimensatFlags::NoFollowSymlink) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Copies what a file holds, and leaves out what it does not.
fn data(mut from: &File, mut to: &File, length: u64) -> io::Result<()> {
    to.set_len(length)?;
    let mut position = 0;
    while position < length {
        let (begin, end) = match seek(from, position, Whence::SeekData) {
            Ok(begin) => (begin, seek(from, begin, Whence::SeekHole)?.min(length)),
            // Nothing but a hole is left.
            Err(Errno::ENXIO) => return Ok(()),
            // The file system does not tell.
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => (position, length),
            Err(error) => return Err(error.into()),
        };
        from.seek(SeekFrom::Start(begin))?;
        to.seek(SeekFrom::Start(begin))?;
        if io::copy(&mut from.take(end.saturating_sub(begin)), &mut to)? == 0 {
            // Cut short under our eyes.
            return Ok(());
        }
        position = end;
    }
    Ok(())
}

fn seek(file: &File, position: u64, whence: Whence) -> Result<u64, Errno> {
    let position = i64::try_from(position).map_err(|_| Errno::EINVAL)?;
    lseek(file, position, whence).map(|found| found.unsigned_abs())
}

/// Gives a copy the owner, the mode, the extended attributes and the times of what it is a copy of.
fn attributes(from: &File, to: &File) -> io::Result<()> {
    let status = fstat(from)?;
    // Changing the owner clears set-user-id bits and capabilities: those come after it.
    fchown(to, Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))?;
    fchmod(to, Mode::from_bits_truncate(status.st_mode & 0o7777))?;
    extended_attributes(from, to)?;
    let [read, written] = times(&status);
    Ok(futimens(to, &read, &written)?)
}

/// When a file was last read, and last written.
fn times(status: &FileStat) -> [TimeSpec; 2] {
    [TimeSpec::new(status.st_atime, status.st_atime_nsec), TimeSpec::new(status.st_mtime, status.st_mtime_nsec)]
}

/// Only those that mean the same in the volume: overlayfs' own, and labels of security modules, do not.
fn extended_attributes(from: &File, to: &File) -> io::Result<()> {
    // Not every file system has them.
    let unknown = |error: &io::Error| error.raw_os_error() == Some(libc::EOPNOTSUPP);
    let names = match from.list_xattr() {
        Err(error) if unknown(&error) => return Ok(()),
        names => names?,
    };
    for name in names.filter(|name| name == "security.capability" || name.as_bytes().starts_with(b"user.")) {
        let Some(value) = from.get_xattr(&name)? else { continue };
        match to.set_xattr(&name, &value) {
            Err(error) if unknown(&error) => {}
            set => set?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
    use std::path::Path;

    use super::*;

    fn copied(source: &Path, target: &Path) -> io::Result<()> {
        copy(File::open(source)?.as_fd(), File::open(target)?.as_fd())
    }

    /// An image's directory, an empty volume, and what neither has to do with.
    fn fixture() -> (tempfile::TempDir, [PathBuf; 3]) {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["image", "volume", "host"].map(|name| directory.path().join(name));
        for path in &paths {
            fs::create_dir(path).unwrap();
        }
        (directory, paths)
    }

    #[test]
    fn what_a_container_plants_is_neither_followed_nor_changed() {
        let (_directory, [image, volume, host]) = fixture();
        for name in ["file", "dangling", "there", "last"] {
            fs::write(image.join(name), "image").unwrap();
            fs::set_permissions(image.join(name), fs::Permissions::from_mode(0o4777)).unwrap();
        }
        symlink("image", image.join("link")).unwrap();
        for name in ["directory", "kept"] {
            fs::create_dir(image.join(name)).unwrap();
            fs::write(image.join(name).join("inside"), "image").unwrap();
        }
        fs::write(host.join("victim"), "host").unwrap();
        fs::set_permissions(host.join("victim"), fs::Permissions::from_mode(0o600)).unwrap();
        // Between the look whether the volume is empty and the copy.
        symlink(host.join("victim"), volume.join("file")).unwrap();
        symlink(host.join("new"), volume.join("dangling")).unwrap();
        symlink(&host, volume.join("directory")).unwrap();
        symlink("container", volume.join("link")).unwrap();
        fs::write(volume.join("there"), "container").unwrap();
        fs::create_dir(volume.join("kept")).unwrap();
        let outcome = copied(&image, &volume);
        assert_eq!(fs::read_to_string(host.join("victim")).unwrap(), "host");
        assert_eq!(fs::metadata(host.join("victim")).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(&host).unwrap().count(), 1, "something was made outside of the volume");
        outcome.unwrap();
        assert_eq!(fs::read_to_string(volume.join("there")).unwrap(), "container");
        assert_eq!(fs::read_link(volume.join("link")).unwrap(), Path::new("container"));
        assert_eq!(fs::read_to_string(volume.join("kept/inside")).unwrap(), "image");
        assert_eq!(fs::read_to_string(volume.join("last")).unwrap(), "image");
    }

    #[test]
    fn holes_stay_holes() {
        let (_directory, [image, volume, _]) = fixture();
        let sparse = File::create(image.join("sparse")).unwrap();
        sparse.set_len(8 << 30).unwrap();
        sparse.write_all_at(b"middle", 4 << 30).unwrap();
        copied(&image, &volume).unwrap();
        let copy = File::open(volume.join("sparse")).unwrap();
        let status = copy.metadata().unwrap();
        assert_eq!(status.len(), 8 << 30);
        assert!(status.blocks() * 512 < 1 << 20, "{} blocks", status.blocks());
        let mut middle = [0; 8];
        copy.read_exact_at(&mut middle, (4 << 30) - 1).unwrap();
        assert_eq!(&middle, b"\0middle\0");
    }

    #[test]
    fn times_attributes_and_second_names_come_along() {
        let (_directory, [image, volume, _]) = fixture();
        let past = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_234_567_890_123_456_789);
        // CAP_NET_RAW, effective: struct vfs_cap_data, version 2.
        let capability: Vec<u8> = [0x0200_0001_u32, 1 << 13, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes).collect();
        fs::create_dir(image.join("sub")).unwrap();
        fs::write(image.join("sub/ping"), "ping").unwrap();
        fs::set_permissions(image.join("sub/ping"), fs::Permissions::from_mode(0o2751)).unwrap();
        lchown(image.join("sub/ping"), Some(12), Some(34)).unwrap();
        fs::set_permissions(image.join("sub/ping"), fs::Permissions::from_mode(0o2751)).unwrap();
        let set = |name: &str, value: &[u8]| {
            xattr::set(image.join("sub/ping"), name, value).unwrap();
        };
        set("security.capability", &capability);
        set("user.colour", b"blue");
        fs::hard_link(image.join("sub/ping"), image.join("ping6")).unwrap();
        for name in ["sub/ping", "sub", "."] {
            File::open(image.join(name)).unwrap().set_modified(past).unwrap();
        }
        copied(&image, &volume).unwrap();
        let status = fs::metadata(volume.join("sub/ping")).unwrap();
        assert_eq!((status.uid(), status.gid(), status.mode() & 0o7777), (12, 34, 0o2751));
        assert_eq!(status.ino(), fs::metadata(volume.join("ping6")).unwrap().ino());
        for (name, expected) in [("security.capability", capability.as_slice()), ("user.colour", b"blue")] {
            let value = xattr::get(volume.join("sub/ping"), name).unwrap();
            assert_eq!(value.as_deref(), Some(expected), "{name}");
        }
        for name in ["sub/ping", "sub", "."] {
            assert_eq!(fs::metadata(volume.join(name)).unwrap().modified().unwrap(), past, "{name}");
        }
    }
}
