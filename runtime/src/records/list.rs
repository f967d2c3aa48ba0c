//! `ps`: what there is, in short.

use jiff::Timestamp;
use skep_net::{BoundPort, Sandbox};

use crate::error::{DisplayChain, Result};
use crate::lifecycle::heal::unknown_state;
use crate::records::config::{ContainerRecord, MountPoint, NetworkMode};
use crate::records::state::ContainerState;
use crate::runtime::Runtime;

/// One container, in short.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSummary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image, as it was asked for.
    pub image: String,
    /// `sha256:…`.
    pub image_id: String,
    /// What it runs, arguments joined by spaces.
    pub command: String,
    /// When it was created.
    pub created: Timestamp,
    /// How it stands.
    pub state: ContainerState,
    /// Published ports, while it runs.
    pub ports: Vec<BoundPort>,
    /// Exposed ports (`80/tcp`).
    pub exposed: Vec<String>,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Which network it has.
    pub network: NetworkMode,
    /// Names of its networks.
    pub networks: Vec<String>,
    /// Its networks, while it runs.
    pub sandbox: Option<Sandbox>,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
}

impl Runtime {
    /// The containers, newest first; without `all`, those that run. Heals what it finds broken.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn list(&self, all: bool) -> Result<Vec<ContainerSummary>> {
        if let Err(error) = self.heal() {
            tracing::warn!(error = %DisplayChain(&error), "not everything was healed");
        }
        let mut summaries = Vec::new();
        for record in self.records()? {
            let state = match self.state(&record.id) {
                Ok(Some(state)) => state,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(container.id = %record.id, error = %DisplayChain(&error), "state not known");
                    unknown_state(&record)
                }
            };
            if all || state.status.is_active() {
                summaries.push(self.summary(record, state));
            }
        }
        summaries.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(summaries)
    }

    fn summary(&self, record: ContainerRecord, state: ContainerState) -> ContainerSummary {
        let sandbox = match state.status.is_active() {
            true => skep_net::SandboxId::new(&record.id).and_then(|id| self.net().sandbox(&id)).ok().flatten(),
            false => None,
        };
        let networks = record.network_names();
        let ports = sandbox.as_ref().map(|sandbox| sandbox.ports.clone()).unwrap_or_default();
        let command: Vec<&str> =
            record.resolved.entrypoint.iter().chain(&record.resolved.cmd).map(String::as_str).collect();
        ContainerSummary {
            command: command.join(" "),
            networks,
            ports,
            sandbox,
            network: record.config.network,
            mounts: record.mounts,
            id: record.id,
            name: record.name,
            image: record.config.image,
            image_id: record.image_id,
            created: record.created,
            state,
            exposed: record.resolved.exposed_ports,
            labels: record.resolved.labels,
        }
    }
}
