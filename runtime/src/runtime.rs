//! The front door: one node's containers, and how they are found.
//!
//! Held by `cli` and by the swarm's executor. Every method blocks and may be called from many
//! processes at once; what changes a container holds its lock.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use skep_common::names;
use skep_image::{ImageId, ImageStore, ImageUser};
use skep_net::{Backend, Net, NetPaths};

use crate::error::{DisplayChain, Error, Result};
use crate::files::{self, FileLock};
use crate::records::config::ContainerRecord;
use crate::records::roots::{ContainerPaths, Roots};
use crate::records::state::ContainerState;
use crate::records::volumes::Volumes;

/// How long a command waits for another one that changes the same container.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// The containers of one node.
#[derive(Debug, Clone)]
pub struct Runtime {
    roots: Roots,
    images: ImageStore,
    net: Net,
}

impl Runtime {
    /// Opens a node's state, making directories as needed. After a reboot, containers that are to
    /// run always are started again.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn open(roots: Roots) -> Result<Self> {
        let runtime = Self::open_existing(roots)?;
        for (name, error) in runtime.recover()? {
            tracing::warn!(container.name = %name, error = %DisplayChain(&error), "not started after a reboot");
        }
        Ok(runtime)
    }

    /// Opens a node's state without starting anything.
    pub(crate) fn open_existing(roots: Roots) -> Result<Self> {
        let absolute = |path: &PathBuf| std::path::absolute(path).map_err(Error::file("find", path));
        let roots = Roots {
            root: absolute(&roots.root)?,
            run_root: absolute(&roots.run_root)?,
            cgroup_parent: format!("/{}", roots.cgroup_parent.trim_matches('/')),
        };
        for directory in [&roots.containers(), &roots.names(), &roots.volumes(), &roots.run_containers()] {
            files::make_directory(directory)?;
        }
        let images = ImageStore::open(&roots.images())?;
        let net = Net::open(NetPaths::new(&roots.root, &roots.run_root))?;
        Ok(Self { roots, images, net })
    }

    /// Balances the swarm's services in this way, whatever the kernel offers; `None` takes what is best there.
    #[must_use]
    pub fn with_load_balancer(mut self, chosen: Option<Backend>) -> Self {
        self.net = self.net.with_load_balancer(chosen);
        self
    }

    /// Where its state is.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Its images.
    pub fn images(&self) -> &ImageStore {
        &self.images
    }

    /// Its networks.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Its volumes.
    pub fn volumes(&self) -> Volumes {
        Volumes::new(self.clone())
    }

    /// The id of the container with this name, id, or unique beginning of an id.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::AmbiguousId`].
    pub fn resolve(&self, name_or_id: &str) -> Result<String> {
        let asked = name_or_id.strip_prefix('/').unwrap_or(name_or_id);
        let missing = || Error::NoSuchContainer(name_or_id.to_owned());
        if asked.is_empty() || asked.contains('/') {
            return Err(missing());
        }
        if names::is_id(asked) && self.paths(asked).record().exists() {
            return Ok(asked.to_owned());
        }
        if let Some(id) = self.name_owner(asked) {
            return Ok(id);
        }
        if !asked.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let mut matching = self.ids()?.into_iter().filter(|id| id.starts_with(asked));
        match (matching.next(), matching.next()) {
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(Error::AmbiguousId(name_or_id.to_owned())),
            (None, _) => Err(missing()),
        }
    }

    /// What is on disk about a container, after healing what a kill left.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::AmbiguousId`].
    pub fn record(&self, name_or_id: &str) -> Result<(ContainerRecord, ContainerState)> {
        let id = self.resolve(name_or_id)?;
        self.heal_one(&id)?;
        match self.load(&id)? {
            Some(found) => Ok(found),
            None => Err(Error::NoSuchContainer(name_or_id.to_owned())),
        }
    }

    /// Ids of the containers that were given this label, with this value if one is given. What
    /// their images say does not count.
    ///
    /// # Errors
    /// The containers cannot be read.
    pub fn find_by_label(&self, label: &str, value: Option<&str>) -> Result<Vec<String>> {
        let has = |record: &ContainerRecord| {
            record.config.labels.get(label).is_some_and(|own| value.is_none_or(|value| value == own))
        };
        Ok(self.records()?.into_iter().filter(has).map(|record| record.id).collect())
    }

    /// Containers made from an image, as [`ImageStore::remove`] asks for them.
    pub fn image_users(&self, image: &ImageId) -> Vec<ImageUser> {
        let image = image.to_string();
        let records = self.records().unwrap_or_default().into_iter().filter(|record| record.image_id == image);
        records
            .map(|record| {
                let state = self.state(&record.id).ok().flatten().unwrap_or_default();
                ImageUser { container: record.id, running: state.status.is_active() }
            })
            .collect()
    }

    pub(crate) fn paths(&self, id: &str) -> ContainerPaths {
        self.roots.container(id)
    }

    /// Every container's id, those half made included.
    pub(crate) fn ids(&self) -> Result<Vec<String>> {
        let directory = self.roots.containers();
        let mut ids = Vec::new();
        for entry in fs::read_dir(&directory).map_err(Error::file("read", &directory))? {
            let name = entry.map_err(Error::file("read", &directory))?.file_name();
            ids.extend(name.to_str().filter(|name| names::is_id(name)).map(str::to_owned));
        }
        ids.sort();
        Ok(ids)
    }

    /// Every container's record; what is damaged or half made is left out.
    pub(crate) fn records(&self) -> Result<Vec<ContainerRecord>> {
        let mut records = Vec::new();
        for id in self.ids()? {
            match files::load(&self.paths(&id).record()) {
                Ok(record) => records.extend(record),
                Err(error) => tracing::warn!(container.id = %id, %error, "container left out"),
            }
        }
        Ok(records)
    }

    /// Record and state as they are on disk; `None` when the container is gone or half made.
    pub(crate) fn load(&self, id: &str) -> Result<Option<(ContainerRecord, ContainerState)>> {
        let Some(record) = files::load(&self.paths(id).record())? else { return Ok(None) };
        Ok(Some((record, self.state(id)?.unwrap_or_default())))
    }

    pub(crate) fn state(&self, id: &str) -> Result<Option<ContainerState>> {
        files::load(&self.paths(id).state())
    }

    /// The lock that whoever changes the container holds.
    pub(crate) fn lock(&self, id: &str) -> Result<FileLock> {
        let path = self.paths(id).lock();
        match FileLock::existing_within(&path, LOCK_PATIENCE) {
            Ok(Some(lock)) => Ok(lock),
            Ok(None) => Err(Error::Busy(id.to_owned())),
            Err(error) if error.is_not_found() => Err(Error::NoSuchContainer(id.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Whose a name is, if the container is there (or being made).
    pub(crate) fn name_owner(&self, name: &str) -> Option<String> {
        self.name_holder(name).filter(|id| self.goes_by(id, name))
    }

    /// For whom a name is reserved, if the container is there (or being made).
    fn name_holder(&self, name: &str) -> Option<String> {
        let target = fs::read_link(self.roots.names().join(name)).ok()?;
        let id = target.to_str().filter(|id| names::is_id(id))?;
        self.paths(id).directory.is_dir().then(|| id.to_owned())
    }

    /// Whether a container has no other name than this one, as far as it is known.
    fn goes_by(&self, id: &str, name: &str) -> bool {
        match files::load::<ContainerRecord>(&self.paths(id).record()) {
            Ok(Some(record)) => record.name == name,
            Ok(None) | Err(_) => true,
        }
    }

    /// Reserves a name. One whose container is gone is taken over.
    ///
    /// # Errors
    /// [`Error::NameConflict`], [`Error::InvalidName`].
    pub(crate) fn reserve_name(&self, name: &str, id: &str) -> Result<()> {
        if !names::is_object_name(name) {
            return Err(Error::InvalidName(name.to_owned()));
        }
        let _lock = FileLock::exclusive(&self.roots.names().join(".lock"))?;
        let path = self.roots.names().join(name);
        if let Some(owner) = self.name_holder(name).filter(|owner| owner != id) {
            // What a rename that was killed has left is free; one that is at work holds the lock.
            let left = !self.goes_by(&owner, name) && FileLock::attempt_existing(&self.paths(&owner).lock())?.is_some();
            if !left {
                return Err(Error::NameConflict { name: name.to_owned(), id: owner });
            }
        }
        files::remove_file(&path)?;
        symlink(id, &path).map_err(Error::file("reserve name", &path))
    }

    /// Gives a name back, if it is the container's.
    pub(crate) fn release_name(&self, name: &str, id: &str) -> Result<()> {
        let _lock = FileLock::exclusive(&self.roots.names().join(".lock"))?;
        let path = self.roots.names().join(name);
        if fs::read_link(&path).is_ok_and(|target| target.as_os_str() == id) {
            files::remove_file(&path)?;
        }
        Ok(())
    }
}
