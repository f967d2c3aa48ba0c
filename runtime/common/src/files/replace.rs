//! Replacing a file, all or nothing.
//!
//! Not `tempfile` or `atomic-write-file`: both choose a new name for each temporary file, so each kill would leave one
//! more that nobody removes. Here it is one fixed name, guarded by a lock on itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{FileError, FileLock, parent_of};

/// What a power cut may do to a file that has been replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Leave anything at all: for what a reboot makes worthless, and for what is written again soon. No fsync(2).
    Volatile,
    /// Leave the old content or the new one, whole; which of them is not waited for. The content is synced.
    Whole,
    /// Nothing: the new content is there when this returns. The directory is synced, too.
    Durable,
}

/// Replaces `path` by `content`, with exactly this mode.
///
/// A reader sees the old content or the new one. Writers of one file follow each other, in this process or another.
///
/// # Errors
/// The temporary file cannot be made, written or renamed. The old content is then still there.
pub fn replace(path: &Path, content: &[u8], mode: u32, durability: Durability) -> Result<(), FileError> {
    let temporary = temporary_path(path);
    let guard = FileLock::exclusive(&temporary).map_err(|error| FileError::context("write", path)(error.source))?;
    let attempt = || -> io::Result<()> {
        write(guard.file(), content, mode)?;
        if durability != Durability::Volatile {
            guard.file().sync_all()?;
        }
        fs::rename(&temporary, path)?;
        match durability {
            Durability::Durable => File::open(parent_of(path))?.sync_all(),
            Durability::Volatile | Durability::Whole => Ok(()),
        }
    };
    attempt().map_err(FileError::context("write", path))
}

/// The name of the temporary file by which [`replace`] replaces `path`: hidden, and in the same directory.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

/// Makes what was created, renamed or removed in a directory durable.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(FileError::context("sync", path))
}

fn write(mut file: &File, content: &[u8], mode: u32) -> io::Result<()> {
    // A killed writer may have left something.
    file.set_len(0)?;
    // Not when it is made: the umask would be taken off.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn content_and_mode_are_replaced_and_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for (content, mode, durability) in [
            ("first", 0o600, Durability::Volatile),
            ("2", 0o666, Durability::Whole),
            ("the third", 0o640, Durability::Durable),
        ] {
            replace(&path, content.as_bytes(), mode, durability).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
            assert_eq!(names(directory.path()), ["file"]);
        }
    }

    #[test]
    fn what_a_killed_writer_left_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(temporary_path(&path), "much longer than what comes").unwrap();
        replace(&path, b"new", 0o600, Durability::Durable).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn writers_at_the_same_time_leave_one_whole_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let contents: Vec<String> = ('a'..='h').map(|letter| letter.to_string().repeat(10_000)).collect();
        std::thread::scope(|scope| {
            for content in &contents {
                scope.spawn(|| {
                    for _ in 0..50 {
                        replace(&path, content.as_bytes(), 0o600, Durability::Volatile).unwrap();
                        assert!(contents.contains(&fs::read_to_string(&path).unwrap()));
                    }
                });
            }
        });
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn a_missing_directory_is_told() {
        let error = replace(Path::new("/nonexistent/file"), b"", 0o600, Durability::Whole).unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "cannot write /nonexistent/file");
    }
}
