//! Locks on files, flock(2): the kernel gives them back when the last descriptor is closed, so a holder that is killed
//! blocks nobody.
//!
//! Whoever removes something that holds a lock file unlinks it while holding the lock. So after each wait the name is
//! looked at again: a lock on a file that has lost its name excludes nobody, and is never returned.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::FileError;

/// How often a lock is asked for that is waited for with a patience: flock(2) itself knows no end.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(10);

/// A held lock, given back when dropped (and by the kernel when the process dies).
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock, making the file (mode 0600) if need be and waiting for whoever has it.
    ///
    /// # Errors
    /// The file cannot be opened, as where its directory is missing, or not be locked.
    pub fn exclusive(path: &Path) -> Result<Self, FileError> {
        loop {
            let lock = Self { file: open(path, true)? };
            lock.file.lock().map_err(FileError::context("lock", path))?;
            if lock.is_at(path) {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock together with others who do so, waiting for whoever has it [alone](Self::exclusive). The file
    /// is made (mode 0600) if need be.
    ///
    /// # Errors
    /// As [`FileLock::exclusive`].
    pub fn shared(path: &Path) -> Result<Self, FileError> {
        loop {
            let lock = Self { file: open(path, true)? };
            lock.file.lock_shared().map_err(FileError::context("lock", path))?;
            if lock.is_at(path) {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock unless somebody has it, making the file (mode 0600) if need be.
    ///
    /// # Errors
    /// As [`FileLock::exclusive`].
    pub fn attempt(path: &Path) -> Result<Option<Self>, FileError> {
        loop {
            match Self::attempt_on(open(path, true)?, path)? {
                Some(lock) if !lock.is_at(path) => {}
                outcome => return Ok(outcome),
            }
        }
    }

    /// Takes the lock unless somebody has it. Where there is no such file, none is made: it might turn up in a
    /// directory that is just being removed.
    ///
    /// # Errors
    /// As [`FileLock::exclusive`]; [`FileError::is_not_found`] where there is no such file.
    pub fn attempt_existing(path: &Path) -> Result<Option<Self>, FileError> {
        match Self::attempt_on(open(path, false)?, path)? {
            Some(lock) if !lock.is_at(path) => {
                Err(FileError::context("open lock", path)(io::ErrorKind::NotFound.into()))
            }
            outcome => Ok(outcome),
        }
    }

    /// As [`FileLock::attempt_existing`], but asks again until `patience` has passed.
    ///
    /// # Errors
    /// As [`FileLock::attempt_existing`].
    pub fn existing_within(path: &Path, patience: Duration) -> Result<Option<Self>, FileError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(lock) = Self::attempt_existing(path)? {
                return Ok(Some(lock));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(ATTEMPT_INTERVAL);
        }
    }

    /// Whether `path` still is the file that is locked: it may have been removed meanwhile.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        match (self.file.metadata(), fs::metadata(path)) {
            (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }

    /// The locked file itself.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    fn attempt_on(file: File, path: &Path) -> Result<Option<Self>, FileError> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(FileError::context("lock", path)(source)),
        }
    }
}

impl AsFd for FileLock {
    /// A copy of this descriptor, in whatever process, holds the lock, too.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn open(path: &Path, create: bool) -> Result<File, FileError> {
    let options = || File::options().create(create).truncate(false).write(true).mode(0o600).open(path);
    options().map_err(FileError::context("open lock", path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_another_until_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert!(FileLock::attempt_existing(&path).unwrap_err().is_not_found());
        assert!(!path.exists());
        let held = FileLock::exclusive(&path).unwrap();
        assert!(held.is_at(&path));
        assert!(FileLock::attempt(&path).unwrap().is_none());
        assert!(FileLock::attempt_existing(&path).unwrap().is_none());
        assert!(FileLock::existing_within(&path, Duration::from_millis(20)).unwrap().is_none());
        drop(held);
        assert!(FileLock::attempt_existing(&path).unwrap().is_some());
        assert!(FileLock::attempt(&path).unwrap().is_some());
        assert!(FileLock::existing_within(&path, Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn many_share_and_one_has_it_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let (one, other) = (FileLock::shared(&path).unwrap(), FileLock::shared(&path).unwrap());
        assert!(FileLock::attempt(&path).unwrap().is_none());
        drop((one, other));
        assert!(FileLock::attempt(&path).unwrap().is_some());
    }

    #[test]
    fn a_copy_of_the_descriptor_holds_it_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = FileLock::exclusive(&path).unwrap();
        let copy = lock.as_fd().try_clone_to_owned().unwrap();
        drop(lock);
        assert!(FileLock::attempt(&path).unwrap().is_none());
        drop(copy);
        assert!(FileLock::attempt(&path).unwrap().is_some());
    }

    #[test]
    fn whoever_waited_for_a_removed_file_locks_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = FileLock::exclusive(&path).unwrap();
        let waiting = {
            let path = path.clone();
            std::thread::spawn(move || FileLock::exclusive(&path).unwrap())
        };
        fs::remove_file(&path).unwrap();
        assert!(!held.is_at(&path));
        drop(held);
        let taken = waiting.join().unwrap();
        assert!(taken.is_at(&path));
        assert!(FileLock::attempt(&path).unwrap().is_none());
    }

    #[test]
    fn removed_while_it_was_opened_it_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        drop(FileLock::exclusive(&path).unwrap());
        let opened = open(&path, false).unwrap();
        fs::remove_file(&path).unwrap();
        let orphan = FileLock::attempt_on(opened, &path).unwrap().unwrap();
        assert!(!orphan.is_at(&path));
        assert!(FileLock::attempt_existing(&path).unwrap_err().is_not_found());
    }
}
