//! `rm` and `rename`.
//!
//! Order of a removal, so that it can be carried on: config.json → removing.json, or with its
//! anonymous volumes removing-volumes.json (from here on the container is gone for everyone) →
//! name → anonymous volumes → directory.

use std::fs;

use crate::error::{Error, Result};
use crate::files;
use crate::lifecycle::stop::StopOptions;
use crate::records::allowed::Verb;
use crate::records::config::{ContainerRecord, MountType};
use crate::runtime::Runtime;
use crate::streams::control::Request;

/// How to remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it if it runs.
    pub force: bool,
    /// Remove its anonymous volumes.
    pub volumes: bool,
}

impl Runtime {
    /// Removes a container.
    ///
    /// # Errors
    /// [`Error::RemoveRunning`], [`Error::RemovePaused`], [`Error::NoSuchContainer`].
    pub fn remove(&self, name_or_id: &str, options: &RemoveOptions) -> Result<()> {
        let (record, state) = match self.record(name_or_id) {
            Err(Error::Damaged { .. }) if options.force => {
                return self.remove_damaged(&self.resolve(name_or_id)?, options);
            }
            found => found?,
        };
        let id = record.id;
        if !options.force {
            Verb::Remove.require(state.status, &record.name)?;
        } else if state.status.can_stop() {
            self.stop(&id, &StopOptions { signal: Some("KILL".to_owned()), timeout: Some(0) })?;
        }
        let lock = match self.lock(&id) {
            Ok(lock) => lock,
            // With --rm, its shim has removed it.
            Err(Error::NoSuchContainer(_)) if options.force => return Ok(()),
            Err(error) => return Err(error),
        };
        match self.settle(&id)? {
            Some(state) if options.force && !state.status.can_remove() => {
                // A shim whose starter was killed has only now started it.
                drop(lock);
                return self.remove(&id, options);
            }
            Some(state) => {
                Verb::Remove.require(state.status, &record.name)?;
                self.heal_locked(&id)?;
            }
            None => return Ok(()),
        }
        self.tear_down(&id, false)?;
        self.delete_files(&id, options.volumes)?;
        drop(lock);
        tracing::info!(container.id = %id, "removed");
        Ok(())
    }

    /// Removes a container of which it cannot be read what it is, or how it stands.
    fn remove_damaged(&self, id: &str, options: &RemoveOptions) -> Result<()> {
        if let Ok(stream) = self.request(id, &Request::Stop { signal: Some(libc::SIGKILL), timeout: Some(0) }) {
            // Should its shim be of no help: tearing down ends what is left.
            self.await_end(id, None, stream).ok();
        }
        let lock = match self.lock(id) {
            Err(Error::NoSuchContainer(_)) => return Ok(()),
            lock => lock?,
        };
        self.tear_down(id, false)?;
        self.delete_files(id, options.volumes)?;
        drop(lock);
        tracing::info!(container.id = %id, "removed, though damaged");
        Ok(())
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`Error::NameConflict`], [`Error::InvalidName`], [`Error::NoSuchContainer`].
    pub fn rename(&self, name_or_id: &str, new: &str) -> Result<()> {
        let id = self.resolve(name_or_id)?;
        let new = new.strip_prefix('/').unwrap_or(new);
        self.change_healed(&id, || self.rename_locked(&id, new))
    }

    fn rename_locked(&self, id: &str, new: &str) -> Result<()> {
        let (mut record, state) = self.load(id)?.ok_or_else(|| Error::NoSuchContainer(id.to_owned()))?;
        Verb::Rename.require(state.status, id)?;
        if record.name == new {
            return Err(Error::InvalidConfig("Renaming a container with the same name as its current name".to_owned()));
        }
        self.reserve_name(new, id)?;
        let old = std::mem::replace(&mut record.name, new.to_owned());
        files::store(&self.paths(id).record(), &record)?;
        self.release_name(&old, id)
    }

    /// Removes a container's files; what a killed predecessor began is carried on as it was meant.
    pub(crate) fn delete_files(&self, id: &str, volumes: bool) -> Result<()> {
        let paths = self.paths(id);
        let volumes = volumes && paths.record().exists() || paths.removing(true).exists();
        let removing = paths.removing(volumes);
        match fs::rename(paths.record(), &removing) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("rename", paths.record())(error));
            }
            _ => {}
        }
        let record: Option<ContainerRecord> = files::load(&removing).unwrap_or_default();
        if let Some(record) = &record {
            self.release_name(&record.name, id)?;
        } else {
            self.release_names_of(id)?;
        }
        for point in record.iter().flat_map(|record| &record.mounts).filter(|point| volumes && point.anonymous) {
            if let MountType::Volume { name, .. } = &point.kind {
                match self.volumes().remove(name, true) {
                    Ok(()) | Err(Error::VolumeInUse { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        files::remove_tree(&paths.directory)
    }

    /// A container that was killed while it was made: its name is not on record.
    fn release_names_of(&self, id: &str) -> Result<()> {
        let directory = self.roots().names();
        for entry in fs::read_dir(&directory).map_err(Error::file("read", &directory))? {
            let entry = entry.map_err(Error::file("read", &directory))?;
            if fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == id)
                && let Some(name) = entry.file_name().to_str()
            {
                self.release_name(name, id)?;
            }
        }
        Ok(())
    }
}
