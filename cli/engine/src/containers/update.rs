//! `POST /containers/ID/update`.

use skep_runtime::Update;

use super::{config, limits};
use crate::docker::create::UpdateRequest;
use crate::docker::{refuse, refuse_all};
use crate::engine::Engine;
use crate::error::Result;

/// A change that was read; it can be made of several containers.
#[derive(Debug, Clone)]
pub struct UpdateContainer(Update);

impl UpdateContainer {
    /// Reads a request.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`], [`crate::ErrorKind::NotSupported`].
    pub fn read(request: &UpdateRequest) -> Result<Self> {
        refuse_all(&request.other)?;
        refuse("Devices", &request.resources.devices)?;
        refuse("DeviceCgroupRules", &request.resources.device_cgroup_rules)?;
        refuse("Ulimits", &request.resources.ulimits)?;
        refuse("CgroupParent", &request.resources.cgroup_parent)?;
        let limits = limits::of_update(&request.resources)?;
        // An empty name is no change, as docker has it.
        let restart = request.restart_policy.as_ref().filter(|policy| !policy.name.is_empty());
        Ok(Self(Update { limits, restart: restart.map(config::restart_policy).transpose()? }))
    }
}

impl Engine {
    /// Changes a container's limits and restart policy.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], or the kernel refuses a limit.
    pub fn update_container(&self, name_or_id: &str, change: &UpdateContainer) -> Result<()> {
        Ok(self.runtime()?.update(name_or_id, &change.0)?)
    }
}
