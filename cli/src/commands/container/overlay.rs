//! `run --network` on an overlay: the swarm lends an address to the container, under the container's id.
//!
//! The lease is made before the container and given back when it is removed; what is lost in between (a container
//! that removed itself) is given back by this node's agent.

use anyhow::{Context, Result, bail};
use rand::RngExt as _;
use skep_cluster::api::{CreateAttachmentRequest, GetNetworkRequest, RemoveAttachmentRequest};
use skep_runtime::Runtime;
use skep_runtime::config::{ContainerConfig, ContainerRecord, NetworkMode};

use crate::context::{self, Node};
use crate::swarm;

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
        match context::block_on(lease(node, &id, &name, endpoint)) {
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
    id: &str,
    name: &str,
    endpoint: &mut skep_runtime::config::EndpointConfig,
) -> Result<Lease> {
    let client = swarm::client(node).await?;
    let found = client.control().get_network(GetNetworkRequest { r#ref: endpoint.network.clone() }).await;
    let network = found.map_err(swarm::said)?.into_inner().network.unwrap_or_default();
    let spec = network.spec.clone().unwrap_or_default();
    let network_name = spec.annotations.unwrap_or_default().name;
    if !spec.attachable {
        bail!("Could not attach to network {network_name}: network {network_name} not manually attachable");
    }
    let info = client.local().info(skep_cluster::api::InfoRequest {}).await.map_err(swarm::said)?.into_inner();
    let request = CreateAttachmentRequest {
        network_ref: network.id.clone(),
        node_id: info.node_id,
        container_id: id.to_owned(),
        container_name: name.to_owned(),
        aliases: endpoint.aliases.clone(),
        address: endpoint.address.map(|address| address.to_string()).unwrap_or_default(),
    };
    let attachment = client.control().create_attachment(request).await.map_err(swarm::said)?.into_inner();
    let address = attachment.attachment.unwrap_or_default().address;
    let address = address.split('/').next().unwrap_or_default();
    endpoint.address =
        Some(address.parse().with_context(|| format!("the swarm lent the address {address:?} on {network_name}"))?);
    endpoint.network = network.id.clone();
    endpoint.overlay = true;
    endpoint.network_name = Some(network_name);
    Ok(Lease { container: id.to_owned(), network: network.id })
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
    let given_back = context::block_on(async {
        let client = swarm::client(node).await?;
        for lease in leases {
            let request =
                RemoveAttachmentRequest { container_id: lease.container.clone(), network_id: lease.network.clone() };
            client.control().remove_attachment(request).await.map_err(swarm::said)?;
        }
        Ok(())
    });
    if let Err(error) = given_back {
        tracing::warn!(error = format!("{error:#}"), "the container's addresses are given back later");
    }
}

fn random_id() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
