//! Making and removing directories and files.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use super::FileError;
use super::replace::temporary_path;

/// How often a directory is emptied into which somebody puts files.
const REMOVAL_ATTEMPTS: u32 = 100;

/// Makes a directory and its parents, for its owner only.
///
/// # Errors
/// It cannot be made.
pub fn make_directory(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FileError::context("create directory", path))
}

/// Makes a directory and its parents as everyone expects them (mode 0755), whatever the umask is.
///
/// # Errors
/// One of them cannot be made.
pub fn make_directory_for_all(path: &Path) -> Result<(), FileError> {
    let failed = || FileError::context("create directory", path);
    let missing: Vec<&Path> = path.ancestors().take_while(|parent| !parent.exists()).collect();
    fs::create_dir_all(path).map_err(failed())?;
    for directory in missing {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).map_err(failed())?;
    }
    Ok(())
}

/// Removes a directory tree; that it is gone already is fine.
///
/// Whoever waits for a lock makes its file anew in a directory that is being emptied: it is emptied again.
///
/// # Errors
/// Something in it cannot be removed.
pub fn remove_tree(path: &Path) -> Result<(), FileError> {
    for _ in 0..REMOVAL_ATTEMPTS {
        match fs::remove_dir_all(path) {
            Err(failure) if failure.kind() == io::ErrorKind::DirectoryNotEmpty => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(failure) if failure.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::context("remove", path)(failure));
            }
            _ => return Ok(()),
        }
    }
    Err(FileError::context("remove", path)(io::ErrorKind::DirectoryNotEmpty.into()))
}

/// Removes a file; that it is gone already is fine.
///
/// # Errors
/// It cannot be removed.
pub fn remove_file(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(failure) if failure.kind() != io::ErrorKind::NotFound => Err(FileError::context("remove", path)(failure)),
        _ => Ok(()),
    }
}

/// Removes a file that is written by [`replace`](super::replace), and what a killed writer left beside it.
///
/// # Errors
/// One of them cannot be removed.
pub fn remove_replaced(path: &Path) -> Result<(), FileError> {
    remove_file(&temporary_path(path))?;
    remove_file(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

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
    fn directories_have_the_mode_that_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let (own, shared) = (directory.path().join("own/inner"), directory.path().join("shared/inner"));
        make_directory(&own).unwrap();
        make_directory(&own).unwrap();
        make_directory_for_all(&shared).unwrap();
        assert_eq!([mode(&own), mode(own.parent().unwrap())], [0o700; 2]);
        assert_eq!([mode(&shared), mode(shared.parent().unwrap())], [0o755; 2]);
    }

    #[test]
    fn a_file_is_removed_with_its_temporary_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        fs::write(temporary_path(&path), "").unwrap();
        remove_replaced(&path).unwrap();
        remove_replaced(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(remove_file(directory.path()).is_err());
    }
}
