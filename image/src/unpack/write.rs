//! Writes the entries of an archive into a tree.
//!
//! What the entries mean is decided as moby's `pkg/archive` does. Ownership, then attributes, then mode:
//! each clears what follows it otherwise. Times of directories come last, when nothing is put into them.

use std::io::{self, BufRead};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::archive::{Archive, Entry, Kind};
use super::error::{UnpackError, display_name};
use super::tree::{self, DEPTH_MAX, Tree, WalkError};

const ENTRIES_MAX: u64 = 4_000_000;
const PATH_BYTES_MAX: usize = 4095;
/// All directory names together, which are kept until the end, in bytes.
const DIRECTORY_NAMES_BYTES_MAX: usize = 128 << 20;
/// What is left free for the rest of the system: this part of the file system, and at most so many bytes.
const RESERVE_PART: u64 = 64;
const RESERVE_BYTES_MAX: u64 = 32 << 20;
/// How much is written between two looks at the free space, in bytes.
const SPACE_CHECK_BYTES: u64 = 16 << 20;
/// Zeros after the end of the archive: writers pad to their block size.
const PADDING_BYTES_MAX: u64 = 16 << 20;

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
const AUFS_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";

/// Unpacks an archive into an empty directory, and returns the size of its files in bytes.
pub(crate) fn unpack(reader: impl BufRead, root: &Path) -> Result<u64, UnpackError> {
    let opening = |source| UnpackError::Write { operation: "open the root for", entry: "/".into(), source };
    let tree = Tree::open(root).map_err(opening)?;
    let mut writer = Writer { tree, directories: Vec::new(), names_bytes: 0, written: 0, next_check: 0 };
    let mut archive = Archive::new(reader);
    let mut entries = 0;
    while let Some(entry) = archive.next()? {
        entries += 1;
        if entries > ENTRIES_MAX {
            return Err(UnpackError::Limit { reason: format!("it has more than {ENTRIES_MAX} entries") });
        }
        writer.entry(&mut archive, &entry)?;
    }
    archive.finish(PADDING_BYTES_MAX)?;
    writer.finish()
}

struct Writer {
    tree: Tree,
    /// Directories and when they were changed, by path from the root.
    directories: Vec<(Vec<u8>, (i64, u32))>,
    names_bytes: usize,
    written: u64,
    next_check: u64,
}

/// Splits a name into steps; `..` is taken by name, and not above the root.
fn steps(name: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if name.contains(&0) {
        return Err("its name contains a zero byte");
    }
    if name.len() > PATH_BYTES_MAX {
        return Err("its name is too long");
    }
    let mut steps = Vec::new();
    for step in name.split(|byte| *byte == b'/') {
        match step {
            b"" | b"." => {}
            b".." => drop(steps.pop().ok_or("its name leads above the root")?),
            step => steps.push(step),
        }
    }
    if steps.len() > DEPTH_MAX {
        return Err("it is nested too deeply");
    }
    Ok(steps)
}

fn escape(name: &[u8], reason: impl Into<String>) -> UnpackError {
    UnpackError::Escape { entry: display_name(name), reason: reason.into() }
}

fn refused(name: &[u8], reason: impl Into<String>) -> UnpackError {
    UnpackError::Refused { entry: display_name(name), reason: reason.into() }
}

fn walk_error(name: &[u8], error: WalkError) -> UnpackError {
    match error {
        WalkError::Escape(reason) => escape(name, reason),
        WalkError::NotDirectory(step) => refused(name, format!("{step:?} on its way is not a directory")),
        WalkError::Missing => refused(name, "a directory on its way is missing"),
        WalkError::Io(source) => UnpackError::Write { operation: "walk to", entry: display_name(name), source },
    }
}

impl Writer {
    fn entry(&mut self, archive: &mut Archive<impl BufRead>, entry: &Entry) -> Result<(), UnpackError> {
        let path = steps(&entry.path).map_err(|reason| escape(&entry.path, reason))?;
        let Some((name, parents)) = path.split_last() else {
            return self.root(entry);
        };
        if name.starts_with(WHITEOUT_PREFIX) {
            return self.whiteout(entry, parents, name);
        }
        if parents.iter().any(|step| step.starts_with(AUFS_PREFIX)) {
            return Ok(());
        }
        match entry.kind {
            Kind::Directory => self.directory(entry, parents, name),
            Kind::File => self.file(archive, entry, parents, name),
            Kind::HardLink => self.hard_link(entry, parents, name),
            Kind::Symlink => self.symlink(entry, parents, name),
            Kind::CharacterDevice | Kind::BlockDevice | Kind::Fifo => self.special(entry, parents, name),
        }
    }

    /// The entry `./`: attributes of the root itself.
    fn root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(escape(&entry.path, "it would replace the root"));
        }
        apply(self.tree.root(), entry)?;
        self.remember(Vec::new(), entry)
    }

    fn walk(&mut self, entry: &Entry, parents: &[&[u8]]) -> Result<BorrowedFd<'_>, UnpackError> {
        self.tree.walk(parents, true).map_err(|error| walk_error(&entry.path, error))
    }

    fn whiteout(&mut self, entry: &Entry, parents: &[&[u8]], name: &[u8]) -> Result<(), UnpackError> {
        if name == OPAQUE_MARKER {
            let parent = self.walk(entry, parents)?;
            return set_opaque(parent, entry);
        }
        let hidden = &name[WHITEOUT_PREFIX.len()..];
        if hidden.starts_with(WHITEOUT_PREFIX) {
            // Bookkeeping of aufs, which means nothing here.
            return Ok(());
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(escape(&entry.path, "it would remove what is not an entry of its directory"));
        }
        let parent = self.walk(entry, parents)?;
        match fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            // The layer has a new one in its place, which hides the old anyway, unless both are directories.
            Err(Errno::EXIST) => match open_directory(parent, hidden) {
                Ok(directory) => set_opaque(directory.as_fd(), entry),
                Err(_) => Ok(()),
            },
            Err(errno) => Err(self.failed("create the whiteout of", entry, errno)),
        }
    }

    fn directory(&mut self, entry: &Entry, parents: &[&[u8]], name: &[u8]) -> Result<(), UnpackError> {
        let parent = self.walk(entry, parents)?;
        let directory = match make_directory(parent, name) {
            Ok((directory, opaque)) => {
                if opaque {
                    set_opaque(directory.as_fd(), entry)?;
                }
                directory
            }
            Err(errno) => return Err(self.failed("create", entry, errno)),
        };
        apply(directory.as_fd(), entry)?;
        let mut path = self.tree.position();
        path.extend_from_slice(name);
        self.remember(path, entry)
    }

    fn remember(&mut self, path: Vec<u8>, entry: &Entry) -> Result<(), UnpackError> {
        self.names_bytes += path.len() + 1;
        if self.names_bytes > DIRECTORY_NAMES_BYTES_MAX {
            return Err(UnpackError::Limit { reason: "it has too many directories".into() });
        }
        self.directories.push((path, entry.mtime));
        Ok(())
    }

    fn file(
        &mut self,
        archive: &mut Archive<impl BufRead>,
        entry: &Entry,
        parents: &[&[u8]],
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let parent = self.walk(entry, parents)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || fs::openat(parent, name, flags, Mode::from_raw_mode(0o600));
        let file = match replacing(parent, name, create) {
            Ok(file) => file,
            Err(errno) => return Err(self.failed("create", entry, errno)),
        };
        match &entry.sparse {
            None => self.copy(archive, entry, &file, entry.size)?,
            Some(runs) => {
                for (offset, length) in runs {
                    let sought = fs::seek(&file, fs::SeekFrom::Start(*offset));
                    sought.map_err(|errno| self.failed("write", entry, errno))?;
                    self.copy(archive, entry, &file, *length)?;
                }
                fs::ftruncate(&file, entry.size).map_err(|errno| self.failed("write", entry, errno))?;
            }
        }
        apply(file.as_fd(), entry)?;
        fs::futimens(&file, &times(entry.mtime)).map_err(|errno| write_error("set the times of", entry, errno))
    }

    fn copy(
        &mut self,
        archive: &mut Archive<impl BufRead>,
        entry: &Entry,
        file: &OwnedFd,
        length: u64,
    ) -> Result<(), UnpackError> {
        archive.read_data(length, |mut piece| {
            if self.written >= self.next_check {
                self.next_check = self.written + SPACE_CHECK_BYTES;
                self.check_space(entry)?;
            }
            self.written += piece.len() as u64;
            while !piece.is_empty() {
                match rustix::io::write(file, piece) {
                    Ok(count) => piece = &piece[count..],
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(self.failed("write", entry, errno)),
                }
            }
            Ok(())
        })
    }

    fn check_space(&self, entry: &Entry) -> Result<(), UnpackError> {
        let Some((available, total)) = self.space() else { return Ok(()) };
        if available < (total / RESERVE_PART).min(RESERVE_BYTES_MAX) {
            return Err(UnpackError::DiskFull { entry: display_name(&entry.path), available });
        }
        Ok(())
    }

    /// Free and total space, in bytes. File systems without a size of their own report none.
    fn space(&self) -> Option<(u64, u64)> {
        let status = fs::fstatvfs(self.tree.root()).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(status.f_frsize);
        (status.f_blocks > 0).then(|| (bytes(status.f_bavail), bytes(status.f_blocks)))
    }

    fn failed(&self, operation: &'static str, entry: &Entry, errno: Errno) -> UnpackError {
        if matches!(errno, Errno::NOSPC | Errno::DQUOT) {
            let available = self.space().map_or(0, |(available, _)| available);
            return UnpackError::DiskFull { entry: display_name(&entry.path), available };
        }
        write_error(operation, entry, errno)
    }

    fn hard_link(&mut self, entry: &Entry, parents: &[&[u8]], name: &[u8]) -> Result<(), UnpackError> {
        let target = || format!("its hard link target {:?}", display_name(&entry.link));
        let path = steps(&entry.link).map_err(|_| escape(&entry.path, target() + " is above the root"))?;
        let Some((target_name, target_parents)) = path.split_last() else {
            return Err(refused(&entry.path, target() + " is the root"));
        };
        let missing = || escape(&entry.path, target() + " is not in the layer");
        let target_parent = match self.tree.walk(target_parents, false) {
            Ok(parent) => parent.try_clone_to_owned(),
            Err(WalkError::Missing | WalkError::NotDirectory(_)) => return Err(missing()),
            Err(WalkError::Escape(reason)) => return Err(escape(&entry.path, format!("{}: {reason}", target()))),
            Err(error) => return Err(walk_error(&entry.path, error)),
        };
        let failed = |source| UnpackError::Write { operation: "link", entry: display_name(&entry.path), source };
        let target_parent = target_parent.map_err(failed)?;
        let parent = self.walk(entry, parents)?;
        let identity = |directory: BorrowedFd<'_>, name: &[u8]| {
            let status = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((status.st_dev, status.st_ino, status.st_mode))
        };
        let Some(found) = identity(target_parent.as_fd(), target_name) else { return Err(missing()) };
        if FileType::from_raw_mode(found.2) == FileType::Directory {
            return Err(refused(&entry.path, target() + " is a directory"));
        }
        if identity(parent, name) == Some(found) {
            return Ok(());
        }
        let link = || fs::linkat(&target_parent, *target_name, parent, name, AtFlags::empty());
        replacing(parent, name, link).map_err(|errno| self.failed("link", entry, errno))
    }

    fn symlink(&mut self, entry: &Entry, parents: &[&[u8]], name: &[u8]) -> Result<(), UnpackError> {
        if entry.link.contains(&0) || entry.link.is_empty() || entry.link.len() > PATH_BYTES_MAX {
            return Err(refused(&entry.path, "its target is empty, too long, or contains a zero byte"));
        }
        let parent = self.walk(entry, parents)?;
        let made = replacing(parent, name, || fs::symlinkat(entry.link.as_slice(), parent, name))
            .and_then(|()| chown(parent, name, entry))
            .and_then(|()| fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW));
        made.map_err(|errno| self.failed("create", entry, errno))
    }

    fn special(&mut self, entry: &Entry, parents: &[&[u8]], name: &[u8]) -> Result<(), UnpackError> {
        let parent = self.walk(entry, parents)?;
        let kind = match entry.kind {
            Kind::CharacterDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = fs::makedev(entry.device.0, entry.device.1);
        let mode = Mode::from_raw_mode(entry.mode);
        let made = replacing(parent, name, || fs::mknodat(parent, name, kind, Mode::empty(), device));
        if made == Err(Errno::PERM) && kind != FileType::Fifo {
            // In a user namespace devices cannot be made; images carry them without needing them.
            tracing::debug!(entry = %display_name(&entry.path), "device left out");
            return Ok(());
        }
        made.and_then(|()| chown(parent, name, entry))
            .and_then(|()| fs::chmodat(parent, name, mode, AtFlags::empty()))
            .and_then(|()| fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW))
            .map_err(|errno| self.failed("create", entry, errno))
    }

    /// Sets the times of directories.
    fn finish(mut self) -> Result<u64, UnpackError> {
        for (path, mtime) in std::mem::take(&mut self.directories) {
            let steps: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|step| !step.is_empty()).collect();
            match self.tree.walk(&steps, false) {
                Ok(directory) => fs::futimens(directory, &times(mtime)).map_err(|errno| UnpackError::Write {
                    operation: "set the times of",
                    entry: display_name(&path),
                    source: errno.into(),
                })?,
                // A later entry of the archive took its place.
                Err(WalkError::Missing | WalkError::NotDirectory(_) | WalkError::Escape(_)) => {}
                Err(error) => return Err(walk_error(&path, error)),
            }
        }
        Ok(self.written)
    }
}

fn write_error(operation: &'static str, entry: &Entry, errno: Errno) -> UnpackError {
    UnpackError::Write { operation, entry: display_name(&entry.path), source: io::Error::from(errno) }
}

/// Tries to make something; if its name is taken, removes what has it and tries again.
fn replacing<T>(parent: BorrowedFd<'_>, name: &[u8], make: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    match make() {
        Err(Errno::EXIST) => {
            tree::remove(parent, name)?;
            make()
        }
        made => made,
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

/// Makes or opens a directory, and tells whether it takes the place of a whiteout: then nothing of the
/// layers below may show through.
fn make_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(OwnedFd, bool), Errno> {
    let make = || fs::mkdirat(parent, name, Mode::from_raw_mode(0o700));
    let mut opaque = false;
    match make() {
        Ok(()) => {}
        Err(Errno::EXIST) => match open_directory(parent, name) {
            Ok(directory) => return Ok((directory, false)),
            Err(_) => {
                opaque = tree::is_whiteout(parent, name);
                tree::remove(parent, name)?;
                make()?;
            }
        },
        Err(errno) => return Err(errno),
    }
    Ok((open_directory(parent, name)?, opaque))
}

fn set_opaque(directory: BorrowedFd<'_>, entry: &Entry) -> Result<(), UnpackError> {
    fs::fsetxattr(directory, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty())
        .map_err(|errno| write_error("mark as opaque the directory of", entry, errno))
}

fn chown(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner, attributes and mode of an open file or directory.
fn apply(file: BorrowedFd<'_>, entry: &Entry) -> Result<(), UnpackError> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fs::fchown(file, Some(uid), Some(gid)).map_err(|errno| write_error("set the owner of", entry, errno))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name)) {
        match fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
            // Not every file system has every attribute, and images are usable without.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(errno) => return Err(write_error("set an attribute of", entry, errno)),
        }
    }
    fs::fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(|errno| write_error("set the mode of", entry, errno))
}

/// Which extended attributes an image may bring. The others steer this machine, not the container:
/// `trusted.overlay.*` would open other directories of the host to it, labels are set when mounting.
fn is_kept(name: &[u8]) -> bool {
    let kept = name == b"security.capability" || name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_");
    kept && !name.starts_with(b"user.overlay.") && !name.contains(&0)
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
