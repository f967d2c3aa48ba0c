//! `DELETE /containers/ID`.

use serde::{Deserialize, Serialize};
use skep_runtime::RemoveOptions;

use super::leases;
use crate::blocking::aside;
use crate::engine::Engine;
use crate::error::Result;

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoveContainer {
    /// Kill it when it runs.
    pub force: bool,
    /// Its anonymous volumes go, too.
    #[serde(rename = "v")]
    pub volumes: bool,
}

impl Engine {
    /// Removes a container, and gives back what the swarm has lent to it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Conflict`] for one that runs.
    pub async fn remove_container(&self, name_or_id: &str, how: RemoveContainer) -> Result<()> {
        let (engine, name) = (self.clone(), name_or_id.to_owned());
        let lent = aside(move || engine.begin_removal(&name, how)).await?;
        self.release(&lent).await;
        Ok(())
    }

    /// [`Self::remove_container`] for who has no async runtime: blocks, and returns what the swarm has lent to the
    /// container, to be given back by [`Self::release`].
    ///
    /// # Errors
    /// As [`Self::remove_container`].
    pub fn begin_removal(&self, name_or_id: &str, how: RemoveContainer) -> Result<Vec<leases::Lease>> {
        let runtime = self.runtime()?;
        let lent = match runtime.record(name_or_id) {
            Ok((record, _)) => leases::of_container(&record),
            Err(error) if error.is_not_found() => return Err(error.into()),
            // One that cannot be read can be removed.
            Err(_) => Vec::new(),
        };
        match runtime.remove(name_or_id, &RemoveOptions { force: how.force, volumes: how.volumes }) {
            // Somebody else has removed it meanwhile.
            Err(error) if how.force && error.is_not_found() => {}
            removed => removed?,
        }
        Ok(lent)
    }
}
