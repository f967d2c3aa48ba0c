//! Volumes: create, inspect, list, remove, prune.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_common::files::directory_size;
use skep_runtime::Volume;
use skep_runtime::config::MountType;

use crate::docker::{refuse_all, volume as docker};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::filters::Filters;

/// Which unused volumes go.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PruneVolumes {
    /// `all`, `label`, `label!`.
    pub filters: Filters,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PrunedVolumes {
    /// Names.
    pub volumes_deleted: Vec<String>,
    /// Bytes that are free again.
    pub space_reclaimed: u64,
}

impl PruneVolumes {
    /// Refuses what cannot be read; returns whether volumes with a name go, too.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`].
    pub fn all(&self) -> Result<bool> {
        self.filters.accept(&["label", "label!", "all"])?;
        Ok(self.filters.flag("all")?.unwrap_or(false))
    }
}

impl Engine {
    /// Makes a volume, or finds the one there is.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] for a name that is none, [`crate::ErrorKind::NotFound`] for a driver.
    pub fn create_volume(&self, request: &docker::CreateRequest) -> Result<docker::Volume> {
        let driver = request.driver.as_deref().filter(|driver| !driver.is_empty()).unwrap_or("local");
        if driver != "local" {
            let missing = format!("error looking up volume plugin {driver}: plugin \"{driver}\" not found");
            return Err(Error::not_found(missing));
        }
        let name = request.name.as_deref().unwrap_or_default();
        if request.driver_opts.as_ref().is_some_and(|options| !options.is_empty()) {
            return Err(Error::bad_argument(format!("create {name}: driver options are not supported")));
        }
        refuse_all(&request.other)?;
        let labels = request.labels.clone().unwrap_or_default();
        Ok(shape(&self.runtime()?.volumes().create(Some(name), &labels)?))
    }

    /// One volume.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub fn inspect_volume(&self, name: &str) -> Result<docker::Volume> {
        Ok(shape(&self.runtime()?.volumes().get(name)?))
    }

    /// Volumes, by name.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] for a filter that cannot be read.
    pub fn list_volumes(&self, filters: &Filters) -> Result<docker::List> {
        let runtime = self.runtime()?;
        filters.accept(&["dangling", "driver", "label", "name"])?;
        let (dangling, names) = (filters.flag("dangling")?, filters.names("name")?);
        let mut used = Vec::new();
        if dangling.is_some() {
            for container in runtime.list(true)? {
                used.extend(container.mounts.into_iter().filter_map(|mount| match mount.kind {
                    MountType::Volume { name, .. } => Some(name),
                    MountType::Bind { .. } | MountType::Tmpfs { .. } => None,
                }));
            }
        }
        let wanted = |volume: &Volume| {
            filters.labels("label", &volume.labels)
                && names.has(&volume.name)
                && filters.any("driver", |driver| driver == "local")
                && dangling.is_none_or(|dangling| dangling != used.contains(&volume.name))
        };
        let volumes = runtime.volumes().list()?.iter().filter(|volume| wanted(volume)).map(shape).collect();
        Ok(docker::List { volumes, warnings: None })
    }

    /// Removes a volume; with `force` one that is not there is no error.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::InUse`].
    pub fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        Ok(self.runtime()?.volumes().remove(name, force)?)
    }

    /// Removes the volumes that no container uses.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] for a filter that cannot be read.
    pub fn prune_volumes(&self, request: &PruneVolumes) -> Result<PrunedVolumes> {
        let all = request.all()?;
        let volumes = self.runtime()?.volumes();
        let sizes: BTreeMap<String, u64> = volumes
            .list()?
            .into_iter()
            .map(|volume| (volume.name, directory_size(&volume.mountpoint).disk_bytes))
            .collect();
        let wanted = |volume: &Volume| (all || volume.anonymous) && request.filters.labels_wanted(&volume.labels);
        let volumes_deleted: Vec<String> = volumes.prune(wanted)?.into_iter().map(|volume| volume.name).collect();
        let space_reclaimed = volumes_deleted.iter().filter_map(|name| sizes.get(name)).sum();
        Ok(PrunedVolumes { volumes_deleted, space_reclaimed })
    }
}

fn shape(volume: &Volume) -> docker::Volume {
    docker::Volume {
        created_at: volume.created.to_string(),
        driver: "local".to_owned(),
        labels: Some(volume.labels.clone()),
        mountpoint: volume.mountpoint.display().to_string(),
        name: volume.name.clone(),
        options: Some(BTreeMap::new()),
        scope: "local".to_owned(),
    }
}
