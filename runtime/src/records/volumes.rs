//! Volumes: directories that outlive containers.
//!
//! ```text
//! ROOT/volumes/.lock               held while volumes are made and removed, and while a container
//!                                  that uses some is being recorded
//! ROOT/volumes/<name>/volume.json
//! ROOT/volumes/<name>/_data/
//! ```
//! Invariant: a volume that a container's record names is not removed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skep_common::names;

use crate::error::{Error, Result};
use crate::files::{self, FileLock};
use crate::records::config::{self, MountType};
use crate::runtime::Runtime;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its directory on the host.
    pub mountpoint: PathBuf,
    /// Whether its name was made up.
    pub anonymous: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct VolumeRecord {
    version: u32,
    created: Timestamp,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    anonymous: bool,
}

/// The volumes of one node.
#[derive(Debug, Clone)]
pub struct Volumes {
    runtime: Runtime,
}

impl Volumes {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }

    /// Makes a volume, or finds the one there is. No name: one is made up.
    ///
    /// # Errors
    /// [`Error::InvalidVolumeName`], or the directory cannot be made.
    pub fn create(&self, name: Option<&str>, labels: &BTreeMap<String, String>) -> Result<Volume> {
        let _lock = self.lock()?;
        match name.filter(|name| !name.is_empty()) {
            Some(name) => Ok(self.ensure(name, labels, false)?.0),
            None => Ok(self.ensure(&skep_common::names::random_id(), labels, true)?.0),
        }
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let directory = self.directory();
        let mut volumes = Vec::new();
        for entry in fs::read_dir(&directory).map_err(Error::file("read", &directory))? {
            let entry = entry.map_err(Error::file("read", &directory))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| names::is_object_name(name)) else { continue };
            volumes.extend(self.load(name)?);
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// One volume.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`].
    pub fn get(&self, name: &str) -> Result<Volume> {
        let found = if names::is_object_name(name) { self.load(name)? } else { None };
        found.ok_or_else(|| Error::NoSuchVolume(name.to_owned()))
    }

    /// Removes a volume; with `force`, one that does not exist is fine.
    ///
    /// # Errors
    /// [`Error::VolumeInUse`], [`Error::NoSuchVolume`].
    pub fn remove(&self, name: &str, force: bool) -> Result<()> {
        let _lock = self.lock()?;
        match self.get(name) {
            Ok(_) => {}
            Err(Error::NoSuchVolume(_)) if force => return Ok(()),
            Err(error) => return Err(error),
        }
        let users = self.users(name)?;
        if !users.is_empty() {
            return Err(Error::VolumeInUse { name: name.to_owned(), users: users.join(", ") });
        }
        files::remove_tree(&self.directory().join(name))
    }

    /// Removes volumes no container uses: those with made-up names, or all. Returns what was removed.
    ///
    /// # Errors
    /// The directory cannot be read, or a volume cannot be removed.
    pub fn prune(&self, wanted: impl Fn(&Volume) -> bool) -> Result<Vec<Volume>> {
        let _lock = self.lock()?;
        let mut removed = Vec::new();
        for volume in self.list()? {
            if wanted(&volume) && self.users(&volume.name)?.is_empty() {
                files::remove_tree(&self.directory().join(&volume.name))?;
                removed.push(volume);
            }
        }
        Ok(removed)
    }

    /// Ids of containers that use a volume.
    ///
    /// # Errors
    /// The containers cannot be read.
    pub(crate) fn users(&self, name: &str) -> Result<Vec<String>> {
        let uses = |kind: &MountType| matches!(kind, MountType::Volume { name: other, .. } if other == name);
        let records = self.runtime.records()?;
        Ok(records.into_iter().filter(|r| r.mounts.iter().any(|m| uses(&m.kind))).map(|r| r.id).collect())
    }

    /// Held while volumes are made or removed.
    pub(crate) fn lock(&self) -> Result<FileLock> {
        Ok(FileLock::exclusive(&self.directory().join(".lock"))?)
    }

    /// Makes a volume unless it is there; says whether it was made. The caller holds the lock.
    pub(crate) fn ensure(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        anonymous: bool,
    ) -> Result<(Volume, bool)> {
        names::check_volume_name(name).map_err(Error::InvalidVolumeName)?;
        if let Some(volume) = self.load(name)? {
            return Ok((volume, false));
        }
        let directory = self.directory().join(name);
        let data = directory.join("_data");
        fs::create_dir_all(&data).map_err(Error::file("create directory", &data))?;
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::file("change mode of", path))
        };
        mode(&directory, 0o701)?;
        mode(&data, 0o755)?;
        let record = VolumeRecord {
            version: config::VERSION,
            created: crate::kernel::process::now(),
            labels: labels.clone(),
            anonymous,
        };
        files::store(&directory.join("volume.json"), &record)?;
        Ok((self.get(name)?, true))
    }

    /// Takes back a volume that nobody knows of yet. The caller holds the lock.
    pub(crate) fn discard(&self, name: &str) {
        if let Err(error) = files::remove_tree(&self.directory().join(name)) {
            tracing::warn!(volume = name, %error, "volume left behind");
        }
    }

    /// Where a volume's files are.
    pub fn data(&self, name: &str) -> PathBuf {
        self.directory().join(name).join("_data")
    }

    fn load(&self, name: &str) -> Result<Option<Volume>> {
        let directory = self.directory().join(name);
        let record: Option<VolumeRecord> = files::load(&directory.join("volume.json"))?;
        Ok(record.map(|record| Volume {
            name: name.to_owned(),
            created: record.created,
            labels: record.labels,
            mountpoint: directory.join("_data"),
            anonymous: record.anonymous,
        }))
    }

    fn directory(&self) -> PathBuf {
        self.runtime.roots().volumes()
    }
}
