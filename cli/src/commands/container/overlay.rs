//! `run --network` on an overlay: the swarm lends an address to the container, under the container's id.
//!
//! ```text
//! ROOT/leases/CONTAINER.NETWORK    empty; made before the address is asked for, removed after it is given back
//! ```
//!
//! The lease is made before the container and given back when it is removed. Where that did not happen (the command
//! was killed, the container removed itself, no manager answered), [`janitor`], in the agent, does it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::RngExt as _;
use skep_cluster::api::{CreateAttachmentRequest, RemoveAttachmentRequest};
use skep_runtime::Runtime;
use skep_runtime::config::{ContainerConfig, ContainerRecord, NetworkMode};

use crate::context::{self, Node};
use crate::swarm;

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

/// Resolves the networks that are not this machine's: they are the swarm's, and have to lend an address.
pub fn resolve(node: &Node, runtime: &Runtime, config: &mut ContainerConfig) -> Result<Vec<Lease>> {
    if config.network != NetworkMode::Endpoints {
        return Ok(Vec::new());
    }
    let mut foreign = Vec::new();
    for (index, endpoint) in config.endpoints.iter().enumerate() {
        match runtime.net().networks().get(&endpoint.network) {
            Ok(_) => {}
            Err(skep_net::Error::NetworkNotFound { .. }) => foreign.push(index),
            Err(error) => return Err(error.into()),
        }
    }
    if foreign.is_empty() {
        return Ok(Vec::new());
    }
    if !swarm::is_active(node) {
        let missing = foreign.first().and_then(|index| config.endpoints.get(*index));
        bail!("network {} not found", missing.map_or("", |endpoint| endpoint.network.as_str()));
    }
    let id: String = config.id.get_or_insert_with(random_id).clone();
    let mut leases = Vec::new();
    for index in foreign {
        let Some(endpoint) = config.endpoints.get_mut(index) else { continue };
        let name = config.name.clone().unwrap_or_else(|| id.chars().take(12).collect());
        match context::block_on(lease(node, runtime, &id, &name, endpoint)) {
            Ok(lease) => leases.push(lease),
            Err(error) => {
                release(node, &leases);
                return Err(error);
            }
        }
    }
    Ok(leases)
}

async fn lease(
    node: &Node,
    runtime: &Runtime,
    id: &str,
    name: &str,
    endpoint: &mut skep_runtime::config::EndpointConfig,
) -> Result<Lease> {
    let client = swarm::client(node).await?;
    let marker = Lease { container: id.to_owned(), network: endpoint.network.clone() }.marker(node);
    std::fs::create_dir_all(marker.parent().unwrap_or(&marker))
        .and_then(|()| std::fs::write(&marker, ""))
        .with_context(|| format!("cannot write {}", marker.display()))?;
    let request = CreateAttachmentRequest {
        network_ref: endpoint.network.clone(),
        node_id: String::new(),
        container_id: id.to_owned(),
        container_name: name.to_owned(),
        aliases: endpoint.aliases.clone(),
        address: endpoint.address.map(|address| address.to_string()).unwrap_or_default(),
    };
    let answer = match client.control().create_attachment(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            // Refused: nothing was lent. A connection that broke is another matter: the janitor asks again.
            if status.code() != tonic::Code::Unavailable && status.code() != tonic::Code::Unknown {
                std::fs::remove_file(&marker).ok();
            }
            return Err(match swarm::is_not_found(&status) {
                true => anyhow::anyhow!("network {} not found", endpoint.network),
                false => swarm::said(status).context(format!("Could not attach to network {}", endpoint.network)),
            });
        }
    };
    let network = answer.network.unwrap_or_default();
    let network_name = network.spec.clone().unwrap_or_default().annotations.unwrap_or_default().name;
    let address = answer.attachment.unwrap_or_default().address;
    let address = address.split('/').next().unwrap_or_default();
    let lease = Lease { container: id.to_owned(), network: network.id.clone() };
    std::fs::rename(&marker, lease.marker(node)).with_context(|| format!("cannot rename {}", marker.display()))?;
    endpoint.address =
        Some(address.parse().with_context(|| format!("the swarm lent the address {address:?} on {network_name}"))?);
    endpoint.network = network.id;
    endpoint.overlay = true;
    endpoint.network_name = Some(network_name.clone());
    if let Err(error) = arrival(runtime, &endpoint.network).await {
        give_back(node, &[lease]).await.ok();
        return Err(error.context(format!("network {network_name} did not come to this node")));
    }
    Ok(lease)
}

/// The network comes to this node because of the lease: waits for the agent to have made it.
async fn arrival(runtime: &Runtime, network: &str) -> Result<()> {
    let deadline = tokio::time::Instant::now() + ARRIVAL_PATIENCE;
    loop {
        match runtime.net().inspect_network(network) {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

impl Lease {
    fn marker(&self, node: &Node) -> PathBuf {
        directory(node).join(format!("{}.{}", self.container, self.network))
    }
}

fn directory(node: &Node) -> PathBuf {
    node.roots().root.join("leases")
}

/// Gives back, again and again, what belongs to containers that are gone.
pub async fn janitor(node: Node, runtime: Runtime) {
    loop {
        tokio::time::sleep(JANITOR_PERIOD).await;
        let (all, runtime) = (directory(&node), runtime.clone());
        let gone = tokio::task::spawn_blocking(move || orphans(&all, &runtime)).await.unwrap_or_default();
        if gone.is_empty() {
            continue;
        }
        tracing::info!(leases = gone.len(), "giving back addresses of containers that are gone");
        if let Err(error) = give_back(&node, &gone).await {
            tracing::warn!(error = format!("{error:#}"), "the containers' addresses are given back later");
        }
    }
}

/// Leases whose container does not exist (any more); one that is being made right now is left alone.
fn orphans(directory: &std::path::Path, runtime: &Runtime) -> Vec<Lease> {
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

async fn give_back(node: &Node, leases: &[Lease]) -> Result<()> {
    let client = swarm::client(node).await?;
    for lease in leases {
        let request =
            RemoveAttachmentRequest { container_id: lease.container.clone(), network_id: lease.network.clone() };
        match client.control().remove_attachment(request).await {
            Ok(_) => {}
            Err(status) if swarm::is_not_found(&status) => {}
            Err(status) => return Err(swarm::said(status)),
        }
        std::fs::remove_file(lease.marker(node)).ok();
    }
    Ok(())
}

/// The leases of a container.
pub fn attachments(record: &ContainerRecord) -> Vec<Lease> {
    if record.resolved.labels.contains_key("com.docker.swarm.task.id") {
        return Vec::new();
    }
    let overlays = record.config.endpoints.iter().filter(|endpoint| endpoint.overlay);
    overlays.map(|endpoint| Lease { container: record.id.clone(), network: endpoint.network.clone() }).collect()
}

/// Gives addresses back; where the swarm cannot be reached, the agent does it later.
pub fn release(node: &Node, leases: &[Lease]) {
    if leases.is_empty() {
        return;
    }
    let given_back = context::block_on(give_back(node, leases));
    if let Err(error) = given_back {
        tracing::warn!(error = format!("{error:#}"), "the container's addresses are given back later");
    }
}

fn random_id() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
