//! Files that survive a kill at any instruction: replaced by rename, locked with flock(2).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// How often a directory is emptied into which somebody puts files.
const REMOVAL_ATTEMPTS: u32 = 100;

/// An exclusive lock, given back when dropped (and by the kernel when the process dies).
#[derive(Debug)]
pub(crate) struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock unless another process has it. Where there is no such file, none is made: it
    /// might turn up in a directory that is just being removed.
    pub(crate) fn attempt(path: &Path) -> Result<Option<Self>> {
        let file = File::options().write(true).open(path).map_err(Error::file("open lock", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(source)) => Err(Error::file("lock", path)(source)),
        }
    }

    /// Takes the lock, making the file if need be and waiting for whoever has it.
    pub(crate) fn acquire(path: &Path) -> Result<Self> {
        let options = || File::options().create(true).truncate(false).write(true).mode(0o600).open(path);
        let file = options().map_err(Error::file("open lock", path))?;
        file.lock().map_err(Error::file("lock", path))?;
        Ok(Self { file })
    }

    /// Takes the lock, waiting no longer than `patience`.
    pub(crate) fn acquire_within(path: &Path, patience: Duration) -> Result<Option<Self>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(lock) = Self::attempt(path)? {
                return Ok(Some(lock));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether `path` still is the file that is locked: it may have been removed meanwhile.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        match (self.file.metadata(), fs::metadata(path)) {
            (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }
}

impl AsFd for FileLock {
    /// A copy of this descriptor, in whatever process, holds the lock, too.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Makes a directory and its parents, readable by root only.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file("create directory", path))
}

/// Makes a directory and its parents as everyone expects them, whatever the user's umask is.
pub(crate) fn make_directory_for_all(path: &Path) -> Result<()> {
    let failed = || Error::file("create directory", path);
    let missing: Vec<&Path> = path.ancestors().take_while(|parent| !parent.exists()).collect();
    fs::create_dir_all(path).map_err(failed())?;
    for directory in missing {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).map_err(failed())?;
    }
    Ok(())
}

/// Replaces `path` by `value` as JSON: temporary file, fsync, rename.
pub(crate) fn store<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::from).map_err(Error::file("write", path))?;
    replace(path, &text, 0o600).map_err(Error::file("write", path))
}

/// Replaces `path` by `value` as JSON, as [`store`] does, but not safe from a power cut: for what a
/// reboot makes worthless, and for what is written again soon.
pub(crate) fn store_for_now<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::from).map_err(Error::file("write", path))?;
    replace_for_now(path, &text, 0o600).map(drop).map_err(Error::file("write", path))
}

/// Replaces `path` by `text`: temporary file, fsync, rename, fsync of the directory.
pub(crate) fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let temporary = temporary(parent, text, mode)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|failure| failure.error)?;
    File::open(parent)?.sync_all()
}

/// Replaces `path` by `text`: temporary file, rename.
pub(crate) fn replace_for_now(path: &Path, text: &[u8], mode: u32) -> io::Result<File> {
    let parent = path.parent().unwrap_or(Path::new("."));
    temporary(parent, text, mode)?.persist(path).map_err(|failure| failure.error)
}

fn temporary(parent: &Path, text: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let permissions = fs::Permissions::from_mode(mode);
    let mut temporary = tempfile::Builder::new().prefix(".tmp-").tempfile_in(parent)?;
    // Not when it is made: the user's umask would be taken off.
    temporary.as_file().set_permissions(permissions)?;
    temporary.write_all(text)?;
    Ok(temporary)
}

/// Reads `path`; `None` when there is no such file.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::file("read", path)(source)),
    };
    match serde_json::from_slice(&text) {
        Ok(value) => Ok(Some(value)),
        Err(source) => Err(Error::Damaged { path: path.to_owned(), source }),
    }
}

/// Removes a directory tree; that it is gone already is fine.
///
/// Who waits for a container's lock makes the file anew in a directory that is being emptied: it is emptied again.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    for _ in 0..REMOVAL_ATTEMPTS {
        match fs::remove_dir_all(path) {
            Err(failure) if failure.kind() == io::ErrorKind::DirectoryNotEmpty => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(failure) if failure.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", path)(failure));
            }
            _ => return Ok(()),
        }
    }
    Err(Error::file("remove", path)(io::ErrorKind::DirectoryNotEmpty.into()))
}

/// Removes a file; that it is gone already is fine.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(failure) if failure.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path)(failure)),
        _ => Ok(()),
    }
}

/// 64 hexadecimal digits nobody else has.
pub(crate) fn random_id() -> String {
    loop {
        let bytes: [u8; 32] = rand::random();
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Docker avoids short ids that read as numbers: they would be valid host names of another kind.
        if !id[..12].bytes().all(|byte| byte.is_ascii_digit()) {
            return id;
        }
    }
}

/// The first 12 digits of an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_removed_though_locks_are_made_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("container");
        fs::create_dir(&path).unwrap();
        let lock = path.join("lock");
        let maker = std::thread::spawn(move || while File::create(&lock).is_ok() {});
        remove_tree(&path).unwrap();
        maker.join().unwrap();
        assert!(!path.exists());
        remove_tree(&path).unwrap();
    }

    #[test]
    fn a_value_survives_the_disk_and_leaves_no_other_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("value.json");
        assert_eq!(load::<Vec<u32>>(&path).unwrap(), None);
        store(&path, &vec![1, 2]).unwrap();
        store(&path, &vec![3]).unwrap();
        assert_eq!(load::<Vec<u32>>(&path).unwrap(), Some(vec![3]));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        fs::write(&path, "{").unwrap();
        assert!(matches!(load::<Vec<u32>>(&path), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_lock_excludes_another_until_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = FileLock::acquire(&path).unwrap();
        assert!(FileLock::attempt(&path).unwrap().is_none());
        assert!(FileLock::acquire_within(&path, Duration::from_millis(20)).unwrap().is_none());
        drop(held);
        assert!(FileLock::attempt(&path).unwrap().is_some());
    }

    #[test]
    fn ids_are_64_digits_and_differ() {
        let (a, b) = (random_id(), random_id());
        assert_eq!(a.len(), 64);
        assert_ne!(a, b);
        assert_eq!(short(&a).len(), 12);
    }
}
