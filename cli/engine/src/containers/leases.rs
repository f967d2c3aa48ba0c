//! `run --network` on an overlay: the swarm lends an address to the container, under the container's id.
//!
//! ```text
//! ROOT/leases/CONTAINER.NETWORK    empty; made before the address is asked for, removed after it is given back
//! ```
//!
//! The lease is made before the container and given back when it is removed. Where that did not happen (the command
//! was killed, the container removed itself, no manager answered), `janitor`, in the agent, does it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skep_cluster::api::{CreateAttachmentRequest, RemoveAttachmentRequest};
use skep_common::names::{random_id, short_id};
use skep_net::Net;
use skep_runtime::Runtime;
use skep_runtime::config::{ContainerConfig, ContainerRecord, EndpointConfig, NetworkMode};

use crate::ErrorKind;
use crate::engine::Engine;
use crate::error::{Error, Result, chain_of};

/// How long a network may take to come to this node.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(30);

/// How often the agent looks for leases that nobody uses.
const JANITOR_PERIOD: Duration = Duration::from_secs(30);

/// One address lent to one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    container: String,
    network: String,
}

/// Which of a container's networks are not this machine's: they are the swarm's, and have to lend an address.
///
/// # Errors
/// This machine's networks cannot be read.
fn foreign(net: &Net, config: &ContainerConfig) -> Result<Vec<usize>> {
    if config.network != NetworkMode::Endpoints {
        return Ok(Vec::new());
    }
    let mut foreign = Vec::new();
    for (index, endpoint) in config.endpoints.iter().enumerate() {
        match net.networks().get(&endpoint.network) {
            Ok(_) => {}
            Err(skep_net::Error::NetworkNotFound { .. }) => foreign.push(index),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(foreign)
}

impl Engine {
    /// Which of a container's endpoints are on networks that the swarm may know: this machine does not.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for one where there is no swarm; this machine's networks cannot be read.
    pub(super) fn overlays(&self, runtime: &Runtime, config: &ContainerConfig) -> Result<Vec<usize>> {
        let foreign = foreign(runtime.net(), config)?;
        match foreign.first().and_then(|index| config.endpoints.get(*index)) {
            Some(missing) if !self.is_in_swarm() => Err(not_found(&missing.network)),
            _ => Ok(foreign),
        }
    }

    /// Has the swarm lend an address to each of those endpoints, and gives the container the id that they are lent to.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a network that nobody knows, or what the swarm says. Nothing is lent then.
    pub(super) async fn lease(
        &self,
        runtime: &Runtime,
        config: &mut ContainerConfig,
        overlays: &[usize],
    ) -> Result<Vec<Lease>> {
        let id: String = config.id.get_or_insert_with(random_id).clone();
        let name = config.name.clone().unwrap_or_else(|| short_id(&id).to_owned());
        let mut leases = Vec::new();
        for index in overlays {
            let Some(endpoint) = config.endpoints.get_mut(*index) else { continue };
            match self.lease_one(runtime, &id, &name, endpoint).await {
                Ok(lease) => leases.push(lease),
                Err(error) => {
                    self.release(&leases).await;
                    return Err(error);
                }
            }
        }
        Ok(leases)
    }

    async fn lease_one(&self, runtime: &Runtime, id: &str, name: &str, endpoint: &mut EndpointConfig) -> Result<Lease> {
        let client = self.agent().await?;
        let marker = Lease { container: id.to_owned(), network: endpoint.network.clone() }.marker(self);
        std::fs::create_dir_all(marker.parent().unwrap_or(&marker))
            .and_then(|()| std::fs::write(&marker, ""))
            .map_err(Error::file("write", &marker))?;
        let request = CreateAttachmentRequest {
            network_ref: endpoint.network.clone(),
            node_id: String::new(),
            container_id: id.to_owned(),
            container_name: name.to_owned(),
            aliases: endpoint.aliases.clone(),
            address: endpoint.address.map(|address| address.to_string()).unwrap_or_default(),
        };
        let answer = match client.create_attachment(request).await {
            Ok(answer) => answer,
            Err(error) => {
                // Refused: nothing was lent. A connection that broke is another matter: the janitor asks again.
                if !error.kind().is_retryable() && error.kind() != ErrorKind::Internal {
                    std::fs::remove_file(&marker).ok();
                }
                return Err(match error.kind() {
                    ErrorKind::NotFound => not_found(&endpoint.network),
                    _ => Error::from(error).because(format!("Could not attach to network {}", endpoint.network)),
                });
            }
        };
        let network = answer.network.unwrap_or_default();
        let network_name = network.spec.clone().unwrap_or_default().annotations.unwrap_or_default().name;
        let address = answer.attachment.unwrap_or_default().address;
        let address = address.split('/').next().unwrap_or_default();
        let lease = Lease { container: id.to_owned(), network: network.id.clone() };
        std::fs::rename(&marker, lease.marker(self)).map_err(Error::file("rename", &marker))?;
        let Ok(address) = address.parse() else {
            let words = format!("the swarm lent the address {address:?} on {network_name}");
            return Err(Error::new(ErrorKind::Internal, words));
        };
        endpoint.address = Some(address);
        endpoint.network = network.id;
        endpoint.overlay = true;
        endpoint.network_name = Some(network_name.clone());
        if let Err(error) = arrival(runtime.net(), &endpoint.network).await {
            self.give_back(&[lease]).await.ok();
            return Err(error.because(format!("network {network_name} did not come to this node")));
        }
        Ok(lease)
    }

    async fn give_back(&self, leases: &[Lease]) -> Result<()> {
        let client = self.agent().await?;
        for lease in leases {
            let request =
                RemoveAttachmentRequest { container_id: lease.container.clone(), network_id: lease.network.clone() };
            match client.remove_attachment(request).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
            std::fs::remove_file(lease.marker(self)).ok();
        }
        Ok(())
    }

    /// Gives addresses back; where the swarm cannot be reached, the agent does it later.
    pub async fn release(&self, leases: &[Lease]) {
        if leases.is_empty() {
            return;
        }
        if let Err(error) = self.give_back(leases).await {
            tracing::warn!(error = chain_of(&error), "the container's addresses are given back later");
        }
    }
}

fn not_found(network: &str) -> Error {
    Error::not_found(format!("network {network} not found"))
}

/// The network comes to this node because of the lease: waits for the agent to have made it.
async fn arrival(net: &Net, network: &str) -> Result<()> {
    let deadline = tokio::time::Instant::now() + ARRIVAL_PATIENCE;
    loop {
        match net.inspect_network(network) {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

impl Lease {
    fn marker(&self, engine: &Engine) -> PathBuf {
        directory(engine).join(format!("{}.{}", self.container, self.network))
    }
}

fn directory(engine: &Engine) -> PathBuf {
    engine.roots().root.join("leases")
}

/// Gives back, again and again, what belongs to containers that are gone.
pub(crate) async fn janitor(engine: Engine, runtime: Runtime) {
    loop {
        tokio::time::sleep(JANITOR_PERIOD).await;
        let (all, runtime) = (directory(&engine), runtime.clone());
        let gone = tokio::task::spawn_blocking(move || orphans(&all, &runtime)).await.unwrap_or_default();
        if gone.is_empty() {
            continue;
        }
        tracing::info!(leases = gone.len(), "giving back addresses of containers that are gone");
        if let Err(error) = engine.give_back(&gone).await {
            tracing::warn!(error = chain_of(&error), "the containers' addresses are given back later");
        }
    }
}

/// Leases whose container does not exist (any more); one that is being made right now is left alone.
fn orphans(directory: &Path, runtime: &Runtime) -> Vec<Lease> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let is_old = |entry: &std::fs::DirEntry| {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        age.is_some_and(|age| age > JANITOR_PERIOD)
    };
    let lease = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let (container, network) = name.split_once('.')?;
        let missing = runtime.resolve(container).is_err_and(|error| error.is_not_found());
        missing.then(|| Lease { container: container.to_owned(), network: network.to_owned() })
    };
    entries.flatten().filter(is_old).filter_map(lease).collect()
}

/// The leases of a container: what it is on of the swarm, unless it is the swarm's own.
pub(super) fn of_container(record: &ContainerRecord) -> Vec<Lease> {
    if record.resolved.labels.contains_key(crate::executor::TASK_LABEL) {
        return Vec::new();
    }
    let overlays = record.config.endpoints.iter().filter(|endpoint| endpoint.overlay);
    overlays.map(|endpoint| Lease { container: record.id.clone(), network: endpoint.network.clone() }).collect()
}
