//! The image of a service: its tag pinned to a digest, its platforms recorded, credentials sent along if asked for.

use skep_cluster::api::{Platform, TaskSpec};
use skep_image::{PullOptions, Reference};

use crate::error::{Error, Result, chain_of};

/// What is to be done about the image of a service that is made or changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pinning {
    /// Leave the tag for the nodes to resolve.
    pub no_resolve: bool,
    /// Send the caller's credentials along.
    pub with_auth: bool,
}

/// Pins the image. Where no registry answers, a warning in docker's words is returned; the nodes then resolve the tag
/// on their own.
///
/// # Errors
/// The name is none, or the credentials cannot be read.
pub(super) async fn settle(task: &mut TaskSpec, registries: &PullOptions, pinning: Pinning) -> Result<Option<String>> {
    let container = task.container.get_or_insert_default();
    let reference: Reference = container.image.parse().map_err(|error| Error::bad_argument(chain_of(&error)))?;
    if pinning.with_auth {
        let stored = registries.stored_credentials(&reference)?;
        container.registry_auth = stored.map(|credentials| credentials.to_registry_auth_header()).unwrap_or_default();
    }
    container.image = reference.familiar();
    if pinning.no_resolve {
        return Ok(None);
    }
    let resolved = match skep_image::resolve_digest(&reference, registries).await {
        Ok(resolved) => resolved,
        Err(error) => {
            tracing::info!(image = reference.familiar(), error = chain_of(&error), "not pinned");
            let name = reference.familiar();
            return Ok(Some(format!(
                "image {name} could not be accessed on a registry to record\nits digest. Each node will access {name} \
                 independently,\npossibly leading to different nodes running different\nversions of the image.\n"
            )));
        }
    };
    if reference.digest().is_none() {
        container.image = reference.with_digest(resolved.digest).familiar();
    }
    let platforms = resolved
        .platforms
        .into_iter()
        .map(|platform| Platform { architecture: platform.architecture.to_string(), os: platform.os.to_string() });
    task.placement.get_or_insert_default().platforms = platforms.collect();
    Ok(None)
}

/// Sends the caller's credentials along, and leaves the image as it is named.
///
/// # Errors
/// The name is none, or the credentials cannot be read.
pub(super) async fn send_credentials(task: &mut TaskSpec, registries: &PullOptions) -> Result<()> {
    let image = task.container.get_or_insert_default().image.clone();
    settle(task, registries, Pinning { no_resolve: true, with_auth: true }).await?;
    task.container.get_or_insert_default().image = image;
    Ok(())
}
