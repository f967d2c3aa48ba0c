//! The image of a service: its tag pinned to a digest, its platforms recorded, credentials sent along if asked for.

use anyhow::Result;
use skep_cluster::api::{Platform, TaskSpec};
use skep_image::{PullOptions, Reference};

/// Pins the image. Where no registry answers, a warning; the nodes then resolve the tag on their own.
pub async fn settle(task: &mut TaskSpec, no_resolve: bool, with_auth: bool) -> Result<()> {
    let container = task.container.get_or_insert_default();
    let reference: Reference = container.image.parse()?;
    let options = PullOptions::from_environment()?;
    if with_auth {
        let stored = options.stored_credentials(&reference)?;
        container.registry_auth = stored.map(|credentials| credentials.to_registry_auth_header()).unwrap_or_default();
    }
    container.image = reference.familiar();
    if no_resolve {
        return Ok(());
    }
    match skep_image::resolve_digest(&reference, &options).await {
        Ok(resolved) => {
            if reference.digest().is_none() {
                container.image = reference.with_digest(resolved.digest).familiar();
            }
            let platforms = resolved.platforms.into_iter().map(|platform| Platform {
                architecture: platform.architecture.to_string(),
                os: platform.os.to_string(),
            });
            task.placement.get_or_insert_default().platforms = platforms.collect();
        }
        Err(error) => {
            tracing::info!(image = reference.familiar(), error = skep_engine::error::chain_of(&error), "not pinned");
            let name = reference.familiar();
            eprintln!(
                "image {name} could not be accessed on a registry to record\nits digest. Each node will access {name} \
                 independently,\npossibly leading to different nodes running different\nversions of the image.\n"
            );
        }
    }
    Ok(())
}

/// An image as lists show it: without its digest, when it has a tag.
pub fn shown(image: &str) -> String {
    match image.split_once('@') {
        Some((tagged, _)) if tagged.rsplit('/').next().is_some_and(|last| last.contains(':')) => tagged.to_owned(),
        _ => image.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_leave_digests_out() {
        assert_eq!(shown("nginx:latest@sha256:ab"), "nginx:latest");
        assert_eq!(shown("nginx@sha256:ab"), "nginx@sha256:ab");
        assert_eq!(shown("h:5000/nginx"), "h:5000/nginx");
    }
}
