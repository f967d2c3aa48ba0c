//! A directory tree that paths cannot leave.
//!
//! Every step of a path is one `openat(2)` of one name with `O_NOFOLLOW`, so no kernel feature newer than
//! 2.6 is needed and no one can exchange a step for a link in between. Links met on the way are followed
//! here, by name, as long as they are relative and stay beneath the root; the others are refused.
//!
//! The directories of the last path stay open: archives list neighbours together, so the next path
//! usually needs no step at all. The stack holds real directories only, never a link.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Also how many directories are open at once, per layer.
pub(super) const DEPTH_MAX: usize = 255;
const LINKS_MAX: usize = 40;

/// Why a path could not be walked.
#[derive(Debug)]
pub(super) enum WalkError {
    /// It leaves the root.
    Escape(String),
    /// A step is neither a directory nor a link to one.
    NotDirectory(String),
    /// A step does not exist.
    Missing,
    /// A system call failed.
    Io(io::Error),
}

impl From<Errno> for WalkError {
    fn from(errno: Errno) -> WalkError {
        WalkError::Io(errno.into())
    }
}

pub(super) struct Tree {
    root: OwnedFd,
    stack: Vec<(Vec<u8>, OwnedFd)>,
}

impl Tree {
    pub(super) fn open(root: &Path) -> io::Result<Tree> {
        let root = fs::open(root, directory_flags(), Mode::empty())?;
        Ok(Tree { root, stack: Vec::new() })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The names from the root to the directory that was walked to last.
    pub(super) fn position(&self) -> Vec<u8> {
        let mut path = Vec::new();
        for (name, _) in &self.stack {
            path.extend_from_slice(name);
            path.push(b'/');
        }
        path
    }

    /// Walks to a directory, making missing ones if asked to.
    pub(super) fn walk(&mut self, path: &[&[u8]], create: bool) -> Result<BorrowedFd<'_>, WalkError> {
        let common = path.iter().zip(&self.stack).take_while(|(wanted, (name, _))| **wanted == name.as_slice()).count();
        self.stack.truncate(common);
        let mut links = 0;
        let mut pending: VecDeque<Vec<u8>> = path[common..].iter().map(|name| name.to_vec()).collect();
        while let Some(name) = pending.pop_front() {
            if name == b".." {
                let left = self.stack.pop().is_none();
                if left {
                    return Err(WalkError::Escape("a symbolic link on its way leads above the root".into()));
                }
                continue;
            }
            let opened = match self.open_child(&name) {
                Err(Errno::NOENT) if create => {
                    fs::mkdirat(self.top(), name.as_slice(), Mode::from_raw_mode(0o755))?;
                    let made = self.open_child(&name)?;
                    // The umask of whoever pulls has no say.
                    fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
                    Ok(made)
                }
                opened => opened,
            };
            match opened {
                Ok(directory) if self.stack.len() < DEPTH_MAX => self.stack.push((name, directory)),
                Ok(_) => return Err(WalkError::Escape("it is nested too deeply".into())),
                Err(Errno::NOENT) => return Err(WalkError::Missing),
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    links += 1;
                    self.follow(&name, links, &mut pending)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(self.top())
    }

    fn top(&self) -> BorrowedFd<'_> {
        self.stack.last().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd())
    }

    fn open_child(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        fs::openat(self.top(), name, directory_flags(), Mode::empty())
    }

    /// Puts where a link leads before what is left of the path.
    fn follow(&self, name: &[u8], links: usize, pending: &mut VecDeque<Vec<u8>>) -> Result<(), WalkError> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let target = match fs::readlinkat(self.top(), name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            Err(Errno::INVAL) => return Err(WalkError::NotDirectory(shown())),
            Err(errno) => return Err(errno.into()),
        };
        if target.starts_with(b"/") {
            let target = String::from_utf8_lossy(&target).into_owned();
            return Err(WalkError::Escape(format!("{:?} on its way is a symbolic link to {target:?}", shown())));
        }
        if links > LINKS_MAX {
            return Err(WalkError::Escape("there are too many symbolic links on its way".into()));
        }
        let steps: Vec<&[u8]> = target.split(|byte| *byte == b'/').filter(|s| !s.is_empty() && *s != b".").collect();
        steps.iter().rev().for_each(|step| pending.push_front(step.to_vec()));
        Ok(())
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Removes whatever has this name, a directory with all that is in it. Nothing is no error.
pub(super) fn remove(directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            let child = fs::openat(directory, name, directory_flags(), Mode::empty())?;
            let mut names = Vec::new();
            for entry in Dir::read_from(&child)? {
                let entry = entry?;
                if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    names.push(entry.file_name().to_bytes().to_vec());
                }
            }
            names.iter().try_for_each(|name| remove(child.as_fd(), name))?;
            fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
        }
        other => other,
    }
}

/// Whether a name is an overlayfs whiteout: a character device 0:0.
pub(super) fn is_whiteout(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0)
}
