//! Images: pull, list, inspect, tag, remove, prune.

mod list;

use serde::{Deserialize, Serialize};
use skep_image::{Image, Platform, Progress, PullOptions, Pulled, Reference, Removed, StoreError};

pub use self::list::ListImages;
use crate::blocking::aside;
use crate::containers::inspect::set;
use crate::docker::create::HealthConfig;
use crate::docker::image as docker;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::filters::Filters;
use crate::time::rfc3339;

/// When the image of a container that is to be made is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Whether it is here or not.
    Always,
    /// When it is not here.
    #[default]
    Missing,
    /// Not at all.
    Never,
}

impl PullPolicy {
    /// From docker's word.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`].
    pub fn read(text: &str) -> Result<Self> {
        match text {
            "always" => Ok(Self::Always),
            "missing" | "" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            other => Err(Error::bad_argument(format!(
                "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
            ))),
        }
    }
}

/// The platform that an image has to be for.
#[derive(Debug, Clone, Default)]
pub struct PlatformChoice(Option<Platform>);

impl PlatformChoice {
    /// From `OS[/ARCHITECTURE[/VARIANT]]`; nothing leaves the choice open.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`].
    pub fn read(text: Option<&str>) -> Result<Self> {
        let read = |text: &str| {
            text.parse::<Platform>().map_err(|error| Error::bad_argument(format!("invalid platform: {error}")))
        };
        Ok(Self(text.filter(|text| !text.is_empty()).map(read).transpose()?))
    }

    /// Refuses an image for another platform than was asked for; where none was, one for another than this machine's is
    /// only spoken of.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub fn check(&self, name: &str, image: &Image) -> Result<Option<String>> {
        let variant = image.variant.clone().filter(|variant| !variant.is_empty());
        let made_for = Platform { os: image.os.clone(), architecture: image.architecture.clone(), variant };
        let host = Platform::host();
        match &self.0 {
            Some(wanted) if !wanted.runs(&made_for) => Err(Error::not_found(format!(
                "image with reference {name} was found but its platform ({made_for}) does not match the specified \
                 platform ({wanted})"
            ))),
            None if !host.runs(&made_for) => Ok(Some(format!(
                "The requested image's platform ({made_for}) does not match the detected host platform ({host}) and no \
                 specific platform was requested"
            ))),
            _ => Ok(None),
        }
    }

    /// The options of a pull of an image for it.
    pub fn apply(&self, options: &mut PullOptions) {
        if let Some(platform) = &self.0 {
            options.platform = platform.clone();
        }
    }
}

/// Which images go.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PruneImages {
    /// `dangling`: without it, or with yes, those without a name.
    pub filters: Filters,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PrunedImages {
    /// Names, images and layers.
    pub images_deleted: Vec<docker::Deleted>,
    /// Bytes that are free again.
    pub space_reclaimed: u64,
}

impl PruneImages {
    /// Refuses what cannot be read; returns whether every image that no container uses goes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`].
    pub fn all(&self) -> Result<bool> {
        self.filters.accept(&["dangling"])?;
        Ok(self.filters.flag("dangling")? == Some(false))
    }
}

impl Engine {
    /// Whether a container can be made of an image as it is here.
    ///
    /// # Errors
    /// It never can: with [`PullPolicy::Never`], the image is not here or for another platform.
    pub fn has_image(&self, name: &str, platform: &PlatformChoice, policy: PullPolicy) -> Result<bool> {
        if policy == PullPolicy::Always {
            return Ok(false);
        }
        let checked = match self.runtime()?.images().resolve(name) {
            Ok(image) => platform.check(name, &image).map(drop),
            Err(StoreError::NotFound { .. }) if policy == PullPolicy::Missing => return Ok(false),
            Err(error) => Err(error.into()),
        };
        match checked {
            Ok(()) => Ok(true),
            Err(error) if policy == PullPolicy::Missing && error.kind() == crate::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Pulls an image; `progress` hears of every step.
    ///
    /// # Errors
    /// What the registry says, or the image cannot be kept; [`crate::ErrorKind::Unavailable`] where another try may do.
    pub async fn pull_image(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        let engine = self.clone();
        let runtime = aside(move || engine.runtime()).await?;
        Ok(skep_image::pull(runtime.images(), reference, options, progress).await?)
    }

    /// Everything about an image.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub fn inspect_image(&self, name: &str) -> Result<docker::Image> {
        Ok(shape(&self.runtime()?.images().resolve(name)?))
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::BadArgument`].
    pub fn tag_image(&self, name: &str, target: &Reference) -> Result<()> {
        Ok(self.runtime()?.images().tag(name, target)?)
    }

    /// Removes a name of an image; with the last one, the image.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Conflict`] for one that a container uses.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Vec<docker::Deleted>> {
        let runtime = self.runtime()?;
        let removed = runtime.images().remove(name, force, &|image| runtime.image_users(image))?;
        Ok(removed.into_iter().map(deleted).collect())
    }

    /// Removes images that no container uses.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] for a filter that cannot be read.
    pub fn prune_images(&self, request: &PruneImages) -> Result<PrunedImages> {
        let all = request.all()?;
        let runtime = self.runtime()?;
        let sizes: Vec<(String, u64)> =
            runtime.images().list()?.iter().map(|image| (image.id.to_string(), image.size)).collect();
        let removed = runtime.images().prune(all, &|image| runtime.image_users(image))?;
        let size = |removed: &Removed| match removed {
            Removed::Deleted(id) => sizes.iter().find(|(other, _)| other == id).map(|(_, size)| *size),
            Removed::Untagged(_) => None,
        };
        let space_reclaimed = removed.iter().filter_map(size).sum();
        Ok(PrunedImages { images_deleted: removed.into_iter().map(deleted).collect(), space_reclaimed })
    }
}

fn deleted(removed: Removed) -> docker::Deleted {
    match removed {
        Removed::Untagged(name) => docker::Deleted::Untagged(name),
        Removed::Deleted(id) => docker::Deleted::Deleted(id),
    }
}

fn shape(image: &Image) -> docker::Image {
    let digests = image.repo_digests.iter().filter_map(digest_name).collect();
    docker::Image {
        id: image.id.to_string(),
        repo_tags: image.references.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect(),
        repo_digests: digests,
        created: rfc3339(image.created),
        author: image.author.clone().unwrap_or_default(),
        config: config(image),
        architecture: image.architecture.clone(),
        variant: Some(image.variant.clone().unwrap_or_default()),
        os: image.os.clone(),
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
        graph_driver: serde_json::Map::from_iter([
            ("Name".to_owned(), "overlay".into()),
            ("Data".to_owned(), serde_json::Value::Null),
        ]),
        root_fs: docker::RootFs {
            kind: "layers".to_owned(),
            layers: image.layers.iter().map(|layer| layer.diff_id.to_string()).collect(),
        },
        metadata: docker::Metadata { last_tag_time: crate::docker::NEVER.to_owned() },
        descriptor: Some(docker::Descriptor { digest: image.manifest.as_ref().map(ToString::to_string) }),
        ..docker::Image::default()
    }
}

/// `nginx@sha256:…`
fn digest_name(name: &Reference) -> Option<String> {
    name.digest().map(|digest| format!("{}@{digest}", name.familiar_name()))
}

fn config(image: &Image) -> docker::Config {
    let config = &image.config;
    let list = |words: &[String]| Some((!words.is_empty()).then(|| words.to_vec()));
    let names = |names: &[String]| Some((!names.is_empty()).then(|| set(names)));
    let health = config.healthcheck.as_ref().map(|check| HealthConfig {
        test: Some(check.test.clone()),
        interval: Some(check.interval_ns),
        timeout: Some(check.timeout_ns),
        start_period: Some(check.start_period_ns),
        start_interval: Some(check.start_interval_ns),
        retries: Some(check.retries),
    });
    docker::Config {
        user: Some(config.user.clone()),
        exposed_ports: names(&config.exposed_ports),
        env: list(&config.env),
        cmd: list(&config.cmd),
        healthcheck: Some(health),
        volumes: names(&config.volumes),
        working_dir: Some(config.working_dir.clone()),
        entrypoint: list(&config.entrypoint),
        labels: Some(Some(config.labels.clone())),
        stop_signal: Some(config.stop_signal.clone()),
        shell: list(&config.shell),
        ..docker::Config::default()
    }
}
