//! `create`: from what a user asks to a container on disk.
//!
//! Order, so that a kill at any point leaves something the next command sweeps: directory and
//! lock → name → volumes → state.json → config.json. A directory without config.json whose lock
//! is free is half made.

use std::collections::BTreeMap;
use std::fs;

use skep_common::mount_point;
use skep_image::Image;

use crate::error::{Error, Result};
use crate::files::{self, FileLock};
use crate::lifecycle::{copy_up, hosts, network};
use crate::records::config::{self, ContainerConfig, ContainerRecord, MountPoint, MountSpec, MountType, NetworkMode};
use crate::records::made_up_names::made_up_name;
use crate::records::resolve;
use crate::records::roots::ContainerPaths;
use crate::records::state::ContainerState;
use crate::runtime::Runtime;

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
}

impl Runtime {
    /// Makes a container from an image that is on this machine, ready to be started.
    ///
    /// # Errors
    /// [`Error::Image`] when there is no such image (pull it first), [`Error::NameConflict`], and
    /// everything that is wrong with the configuration. Nothing is left behind then.
    pub fn create(&self, config: &ContainerConfig) -> Result<Created> {
        let mut config = config.clone();
        network::normalise(&mut config);
        let (image, _lease) = self.images().resolve_pinned(&config.image)?;
        let resolved = resolve::resolve(&config, &image.config)?;
        validate(&config)?;
        let id = match config.id.take() {
            Some(id) if skep_common::names::is_id(&id) && !self.paths(&id).directory.exists() => id,
            Some(id) => return Err(Error::InvalidConfig(format!("container id {id} cannot be used"))),
            None => skep_common::names::random_id(),
        };
        let paths = self.paths(&id);
        let lock = claim(&paths)?;
        let made = self.reserve(config.name.clone().as_deref(), &id).and_then(|name| {
            let record = ContainerRecord {
                version: config::VERSION,
                id: id.clone(),
                name: name.clone(),
                created: crate::kernel::process::now(),
                image_id: image.id.to_string(),
                config,
                resolved,
                mounts: Vec::new(),
            };
            self.fill(record, &image).map(|()| name)
        });
        match made {
            Ok(name) => {
                tracing::info!(container.id = %id, container.name = %name, "created");
                Ok(Created { id, name })
            }
            Err(error) => {
                self.sweep(&id).ok();
                drop(lock);
                Err(error)
            }
        }
    }

    fn reserve(&self, wanted: Option<&str>, id: &str) -> Result<String> {
        if let Some(name) = wanted.filter(|name| !name.is_empty()) {
            let name = name.strip_prefix('/').unwrap_or(name);
            return self.reserve_name(name, id).map(|()| name.to_owned());
        }
        for attempt in 0.. {
            let name = made_up_name(attempt);
            match self.reserve_name(&name, id) {
                Err(Error::NameConflict { .. }) if attempt < 20 => {}
                outcome => return outcome.map(|()| name),
            }
        }
        Err(Error::InvalidName(String::new()))
    }

    fn fill(&self, record: ContainerRecord, image: &Image) -> Result<()> {
        let mut points = self.wanted_mounts(&record.config)?;
        let volumes_of_image = image
            .config
            .volumes
            .iter()
            .filter(|target| mount_point::target(target).is_some_and(|t| !has_target(&points, &t)));
        let additional: Vec<MountPoint> = volumes_of_image
            .filter_map(|target| mount_point::target(target))
            .map(|target| MountPoint {
                kind: MountType::Volume { name: String::new(), no_copy: false, labels: BTreeMap::new() },
                target,
                read_only: false,
                anonymous: true,
            })
            .collect();
        points.extend(additional);
        // Held until the record is there: from then on the volumes are in use.
        let _volumes = match points.iter().any(|point| matches!(point.kind, MountType::Volume { .. })) {
            true => Some(self.volumes().lock()?),
            false => None,
        };
        let mut anonymous = Vec::new();
        let outcome = points
            .iter_mut()
            .try_for_each(|point| self.provide(point, image, &mut anonymous))
            .and_then(|()| self.enter(ContainerRecord { mounts: points, ..record }));
        if outcome.is_err() {
            anonymous.iter().for_each(|name| self.volumes().discard(name));
        }
        outcome
    }

    /// Puts a container on disk; from the last step on, it is there.
    fn enter(&self, record: ContainerRecord) -> Result<()> {
        let paths = self.paths(&record.id);
        files::make_directory(&paths.upper())?;
        files::make_directory(&paths.work())?;
        fs::set_permissions(paths.upper(), <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755))
            .map_err(Error::file("change mode of", paths.upper()))?;
        // In the directory that the record makes durable.
        files::store_soon(&paths.state(), &ContainerState { version: config::VERSION, ..ContainerState::default() })?;
        files::store(&paths.record(), &record)
    }

    /// The mounts asked for, with those of other containers.
    fn wanted_mounts(&self, config: &ContainerConfig) -> Result<Vec<MountPoint>> {
        let mut points = Vec::new();
        for MountSpec { kind, target, read_only } in &config.mounts {
            let target = mount_point::target(target).ok_or_else(|| {
                Error::InvalidConfig(format!("invalid mount path: {target:?} mount path must be absolute"))
            })?;
            if has_target(&points, &target) {
                return Err(Error::InvalidConfig(format!("Duplicate mount point: {target}")));
            }
            let anonymous = matches!(kind, MountType::Volume { name, .. } if name.is_empty());
            points.push(MountPoint { kind: kind.clone(), target, read_only: *read_only, anonymous });
        }
        for text in &config.volumes_from {
            let (container, mode) = text.split_once(':').unwrap_or((text, ""));
            let (record, _) = self.record(container)?;
            for mut point in record.mounts {
                if matches!(point.kind, MountType::Tmpfs { .. }) || has_target(&points, &point.target) {
                    continue;
                }
                point.read_only |= mode == "ro";
                point.anonymous = false;
                points.push(point);
            }
        }
        Ok(points)
    }

    /// Makes what a mount comes from: the volume, or the host's directory. Volumes with names made
    /// up here go to `anonymous`.
    fn provide(&self, point: &mut MountPoint, image: &Image, anonymous: &mut Vec<String>) -> Result<()> {
        match &mut point.kind {
            MountType::Volume { name, no_copy, labels } => {
                if name.is_empty() {
                    *name = skep_common::names::random_id();
                    anonymous.push(name.clone());
                }
                let (volume, made) = self.volumes().ensure(name, labels, point.anonymous)?;
                let empty = fs::read_dir(&volume.mountpoint).is_ok_and(|mut entries| entries.next().is_none());
                if empty && !*no_copy {
                    let mounted = !made && !self.volumes().users(name)?.is_empty();
                    copy_up::fill(image, &point.target, &volume.mountpoint, mounted)?;
                }
            }
            MountType::Bind { source, create_source, .. } => {
                if !source.is_absolute() {
                    let message = format!("invalid mount path: '{}' mount path must be absolute", source.display());
                    return Err(Error::InvalidConfig(message));
                }
                match fs::metadata(&*source) {
                    Ok(_) => {}
                    Err(_) if *create_source => files::make_directory_for_all(source)?,
                    Err(_) => return Err(Error::BindSourceMissing(source.clone())),
                }
            }
            MountType::Tmpfs { .. } => {}
        }
        Ok(())
    }
}

/// Makes a container's directory, and takes its lock.
fn claim(paths: &ContainerPaths) -> Result<FileLock> {
    loop {
        files::make_directory(&paths.directory)?;
        match FileLock::exclusive(&paths.lock()) {
            Ok(lock) => return Ok(lock),
            // Whoever sweeps came first, and took it for half made.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Everything that can be wrong without looking at the machine.
fn validate(config: &ContainerConfig) -> Result<()> {
    let invalid = |message: String| Err(Error::InvalidConfig(message));
    resolve::security(config)?;
    resolve::process(config, &config::ResolvedConfig::default(), "")?;
    resolve::log_limits(&config.log.driver, &config.log.options)?;
    resolve::resources(&config.limits, &config.device_rules, skep_common::procfs::processor_count())?;
    if config.auto_remove && config.restart != config::RestartPolicy::No {
        return invalid("can't create 'AutoRemove' container with restart policy".to_owned());
    }
    if let Some(hostname) = &config.hostname
        && (hostname.len() > 64 || hostname.is_empty() || hostname.contains(|c: char| c.is_whitespace() || c == '/'))
    {
        return invalid(format!("invalid hostname format: {hostname}"));
    }
    if let Some(directory) = &config.working_dir
        && !directory.is_empty()
        && !directory.starts_with('/')
    {
        return invalid(format!("the working directory '{directory}' is invalid, it needs to be an absolute path"));
    }
    if let Some(line) = config.extra_hosts.iter().find(|line| hosts::split_extra(line).is_none()) {
        return invalid(format!("invalid IP address in add-host: {line:?}"));
    }
    if config.env.iter().any(|variable| variable.starts_with('=') || variable.is_empty() || variable.contains('\0')) {
        return invalid("invalid environment variable: it has no name".to_owned());
    }
    let without_network = !matches!(config.network, NetworkMode::Endpoints);
    if matches!(config.network, NetworkMode::Container(_)) && (!config.ports.is_empty() || config.publish_all) {
        return invalid("conflicting options: port publishing and the container type network mode".to_owned());
    }
    if without_network && !config.endpoints.is_empty() {
        return invalid("conflicting options: networks to join and a network mode without any".to_owned());
    }
    Ok(())
}

fn has_target(points: &[MountPoint], target: &str) -> bool {
    points.iter().any(|point| point.target == target)
}
