//! Values as JSON in files.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::replace::{Durability, replace};
use super::{FileError, LoadError};

/// Replaces `path` by `value` as JSON, readable by its owner only; see [`replace`].
///
/// # Errors
/// As [`replace`], or the value has no form in JSON.
pub fn store<T: Serialize + ?Sized>(path: &Path, value: &T, durability: Durability) -> Result<(), FileError> {
    let mut text = serde_json::to_vec(value).map_err(io::Error::from).map_err(FileError::context("write", path))?;
    text.push(b'\n');
    replace(path, &text, 0o600, durability)
}

/// Reads the JSON in `path`; `None` when there is no such file.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LoadError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FileError::context("read", path)(source).into()),
    };
    match serde_json::from_slice(&text) {
        Ok(value) => Ok(Some(value)),
        Err(source) => Err(LoadError::Damaged { path: path.to_owned(), source }),
    }
}

/// Reads every `*.json` in a directory that is not hidden, in the order of their names. No directory: nothing. What
/// goes away meanwhile is left out.
///
/// # Errors
/// The directory or a file cannot be read, or a file holds something else.
pub fn load_all<T: DeserializeOwned>(directory: &Path) -> Result<Vec<T>, LoadError> {
    let failed = || FileError::context("read", directory);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed()(source).into()),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed())?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut values = Vec::with_capacity(paths.len());
    for path in paths {
        values.extend(load(&path)?);
    }
    Ok(values)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_the_disk_and_leaves_no_other_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("value.json");
        assert_eq!(load::<Vec<u32>>(&path).unwrap(), None);
        store(&path, &[1, 2], Durability::Durable).unwrap();
        store(&path, &[3], Durability::Volatile).unwrap();
        assert_eq!(load::<Vec<u32>>(&path).unwrap(), Some(vec![3]));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        fs::write(&path, "{").unwrap();
        assert!(matches!(load::<Vec<u32>>(&path), Err(LoadError::Damaged { .. })));
        assert!(matches!(load::<Vec<u32>>(directory.path()), Err(LoadError::File(_))));
    }

    #[test]
    fn all_are_read_in_order_but_hidden_and_foreign_files() {
        let directory = tempfile::tempdir().unwrap();
        for (name, value) in [("b.json", "2"), ("a.json", "1"), (".c.json", "3"), (".d.json.tmp", "4"), ("e", "5")] {
            fs::write(directory.path().join(name), value).unwrap();
        }
        assert_eq!(load_all::<u32>(directory.path()).unwrap(), [1, 2]);
        assert!(load_all::<u32>(&directory.path().join("missing")).unwrap().is_empty());
        fs::write(directory.path().join("b.json"), "x").unwrap();
        assert!(
            matches!(load_all::<u32>(directory.path()), Err(LoadError::Damaged { path, .. }) if path.ends_with("b.json"))
        );
    }
}
