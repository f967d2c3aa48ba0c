//! `POST /containers/prune`: what has ended goes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skep_common::files::directory_size;
use skep_runtime::RemoveOptions;
use skep_runtime::state::Status;

use crate::engine::Engine;
use crate::error::Result;
use crate::filters::Filters;
use crate::time::moment;

/// Which containers go.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PruneContainers {
    /// `until`, `label`, `label!`.
    pub filters: Filters,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PrunedContainers {
    /// Ids.
    pub containers_deleted: Vec<String>,
    /// Bytes that are free again.
    pub space_reclaimed: u64,
}

impl PruneContainers {
    /// Refuses what cannot be read, before anybody is asked whether it is meant.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`].
    pub fn check(&self) -> Result<()> {
        self.filters.accept(&["until", "label", "label!"])
    }
}

impl Engine {
    /// Removes the containers that do not run.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] for a filter that cannot be read.
    pub fn prune_containers(&self, request: &PruneContainers) -> Result<PrunedContainers> {
        request.check()?;
        let runtime = self.runtime()?;
        let now = Timestamp::now();
        let until = request.filters.values("until").first().map(|text| moment(text, now)).transpose()?;
        let mut pruned = PrunedContainers::default();
        for container in runtime.list(true)? {
            let stopped = matches!(container.state.status, Status::Created | Status::Exited | Status::Dead);
            let wanted = stopped
                && until.is_none_or(|until| container.created < until)
                && request.filters.labels_wanted(&container.labels);
            if !wanted {
                continue;
            }
            let size = directory_size(&runtime.files(&container.id).upper).disk_bytes;
            match runtime.remove(&container.id, &RemoveOptions { force: false, volumes: false }) {
                Ok(()) => {
                    pruned.space_reclaimed += size;
                    pruned.containers_deleted.push(container.id);
                }
                // Somebody started or removed it meanwhile.
                Err(error) => tracing::warn!(container = container.id, %error, "not removed"),
            }
        }
        Ok(pruned)
    }
}
