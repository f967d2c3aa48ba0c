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
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fsetxattr, fstat, ftruncate, futimens, linkat, mkdirat, openat, readlinkat, seek, statat,
    symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::kernel::walk::{Links, Missing, Root, descriptor_path};

/// Longest list of names, and longest value, of extended attributes (the kernel's own limit), bytes.
const ATTRIBUTES_MAX: usize = 64 << 10;

/// Copies what is in the directory `source` into the directory `target`, and then its owner, mode and times onto it.
///
/// # Errors
/// What failed, after the path below `source` at which it did.
pub(super) fn copy(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let (source, target) = (open_directory(source, c".")?, open_directory(target, c".")?);
    let mut tree = Tree { root: Root::of(target.try_clone()?), made: HashMap::new(), path: PathBuf::new() };
    let copied = tree.content(source.as_fd(), target.as_fd()).and_then(|()| Ok(attributes(&source, &target)?));
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
        let names: Vec<CString> = Dir::read_from(source)?
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
        let status = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => self.directory(source, target, name),
            FileType::RegularFile => self.file(source, target, name),
            FileType::Symlink => link(source, target, name, &status),
            _ => Ok(()),
        }
    }

    fn directory(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let from = open_directory(source, name)?;
        // Nobody else's until it has its owner and its mode.
        let made = match mkdirat(target, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
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
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn file(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let from = File::from(openat(source, name, flags, Mode::empty())?);
        let status = fstat(&from)?;
        if status.st_nlink > 1 && self.second_name(&status, target, name)? {
            return Ok(());
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = match openat(target, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(to) => File::from(to),
            Err(Errno::EXIST) => return Ok(()),
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
    fn second_name(&self, status: &Stat, target: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
        let Some((first, copied)) = self.made.get(&identity(status)) else { return Ok(false) };
        let Ok(found) = self.root.walk(first, Links::Refuse, Missing::Fail) else { return Ok(false) };
        if identity(&fstat(&found)?) != *copied {
            return Ok(false);
        }
        let cwd = rustix::fs::CWD;
        match linkat(cwd, descriptor_path(&found), target, name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) | Err(Errno::EXIST) => Ok(true),
            // It has lost its last name meanwhile, or has as many as it can have.
            Err(Errno::NOENT | Errno::MLINK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn identity(status: &Stat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn link(source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr, status: &Stat) -> io::Result<()> {
    match symlinkat(readlinkat(source, name, Vec::new())?, target, name) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let made = match openat(target, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(made) => made,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // Whatever takes the link's place from now on is not given away.
    if FileType::from_raw_mode(fstat(&made)?.st_mode) == FileType::Symlink {
        let (owner, group) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
        chownat(&made, c"", Some(owner), Some(group), AtFlags::EMPTY_PATH)?;
        // By its name, as kernels before 5.8 have no other way: at worst another file of the container's gets a time.
        match utimensat(target, name, &times(status), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Copies what a file holds, and leaves out what it does not.
fn data(mut from: &File, mut to: &File, length: u64) -> io::Result<()> {
    ftruncate(to, length)?;
    let mut position = 0;
    while position < length {
        let (begin, end) = match seek(from, rustix::fs::SeekFrom::Data(position)) {
            Ok(begin) => (begin, seek(from, rustix::fs::SeekFrom::Hole(begin))?.min(length)),
            // Nothing but a hole is left.
            Err(Errno::NXIO) => return Ok(()),
            // The file system does not tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => (position, length),
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

/// Gives a copy the owner, the mode, the extended attributes and the times of what it is a copy of.
fn attributes(from: &impl AsFd, to: &impl AsFd) -> Result<(), Errno> {
    let status = fstat(from)?;
    // Changing the owner clears set-user-id bits and capabilities: those come after it.
    fchown(to, Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))?;
    fchmod(to, Mode::from_raw_mode(status.st_mode & 0o7777))?;
    extended_attributes(from, to)?;
    futimens(to, &times(&status))
}

fn times(status: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: status.st_atime, tv_nsec: status.st_atime_nsec },
        last_modification: Timespec { tv_sec: status.st_mtime, tv_nsec: status.st_mtime_nsec },
    }
}

/// Only those that mean the same in the volume: overlayfs' own, and labels of security modules, do not.
fn extended_attributes(from: &impl AsFd, to: &impl AsFd) -> Result<(), Errno> {
    let mut names = vec![0; ATTRIBUTES_MAX];
    let length = match flistxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error),
    };
    let names = names[..length].split_inclusive(|byte| *byte == 0);
    for name in names.filter_map(|name| CStr::from_bytes_with_nul(name).ok()) {
        if name != c"security.capability" && !name.to_bytes().starts_with(b"user.") {
            continue;
        }
        let mut value = vec![0; ATTRIBUTES_MAX];
        let length = fgetxattr(from, name, &mut value)?;
        match fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // Not every file system has them.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
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
            rustix::fs::setxattr(image.join("sub/ping"), name, value, rustix::fs::XattrFlags::empty()).unwrap();
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
            let mut value = vec![0; 64];
            let length = rustix::fs::getxattr(volume.join("sub/ping"), name, &mut value).unwrap();
            assert_eq!(&value[..length], expected, "{name}");
        }
        for name in ["sub/ping", "sub", "."] {
            assert_eq!(fs::metadata(volume.join(name)).unwrap().modified().unwrap(), past, "{name}");
        }
    }
}
