//! Networks.

use tonic::Request;

use super::{ControlService, refs, spec};
use crate::api::{
    CreateNetworkRequest, CreateNetworkResponse, GetNetworkRequest, GetNetworkResponse, ListNetworksRequest,
    ListNetworksResponse, RemoveNetworkRequest, RemoveNetworkResponse,
};
use crate::error::Error;
use crate::model::{Network, NetworkSpec, Node, Task, TaskState};
use crate::store::{View, create, update};

impl ControlService {
    pub(super) async fn create_network(
        &self,
        request: Request<CreateNetworkRequest>,
    ) -> Result<CreateNetworkResponse, Error> {
        let asked = request.into_inner().spec.ok_or_else(|| Error::bad_argument("no specification given"))?;
        let asked = NetworkSpec::from(asked);
        let id = self.surroundings.chance.id();
        self.write(|view| {
            let mut wanted = asked.clone();
            spec::check_network(view, &mut wanted)?;
            let network = Network { id: id.as_str().into(), spec: wanted, ..Network::default() };
            Ok((vec![create(network)], ()))
        })
        .await?;
        let network = self.allocated(&id).await?;
        Ok(CreateNetworkResponse { network: Some(network.into()) })
    }

    pub(super) async fn list_networks(&self, _: Request<ListNetworksRequest>) -> Result<ListNetworksResponse, Error> {
        let view = self.read().await?;
        let networks = view.networks().values().filter(|network| !network.pending_delete);
        Ok(ListNetworksResponse { networks: networks.map(|network| Network::clone(network).into()).collect() })
    }

    pub(super) async fn get_network(&self, request: Request<GetNetworkRequest>) -> Result<GetNetworkResponse, Error> {
        let view = self.read().await?;
        let network = refs::network(&view, &request.into_inner().r#ref)?;
        let tasks = view.tasks().values().filter(|task| task.is_on(&network.id) && is_live(task));
        let nodes = view.nodes().values().filter(|node| node.attachments.iter().any(|a| a.network_id == network.id));
        Ok(GetNetworkResponse {
            tasks: tasks.map(|task| Task::clone(task).into()).collect(),
            nodes: nodes.map(|node| Node::clone(node).into()).collect(),
            network: Some(Network::clone(&network).into()),
        })
    }

    pub(super) async fn remove_network(
        &self,
        request: Request<RemoveNetworkRequest>,
    ) -> Result<RemoveNetworkResponse, Error> {
        let request = request.into_inner();
        let id = self
            .write(|view| {
                let network = refs::network(view, &request.r#ref)?;
                check_unused(view, &network)?;
                let mut network = Network::clone(&network);
                network.pending_delete = true;
                let id = network.id.clone();
                Ok((vec![update(network)], id))
            })
            .await?;
        Ok(RemoveNetworkResponse { id: id.into() })
    }

    /// Waits for the allocator. A network that it cannot serve is taken back, so that nothing is left of a refusal.
    async fn allocated(&self, id: &str) -> Result<Network, Error> {
        let mut views = self.store.watch();
        let decided = |view: &View| {
            view.networks().get(id).is_none_or(|network| network.vni != 0 || !network.allocation_error.is_empty())
        };
        let waiting = views.wait_for(|view| decided(view));
        let _ = self.surroundings.clock.limit(self.timing.proposal(), waiting).await;
        let view = self.store.view();
        let Some(network) = view.networks().get(id) else {
            return Err(Error::not_found(format!("network {id} not found")));
        };
        if network.allocation_error.is_empty() {
            return Ok(Network::clone(network));
        }
        let reason = network.allocation_error.clone();
        self.write(|view| {
            let Some(network) = view.networks().get(id) else { return Ok((vec![], ())) };
            let mut network = Network::clone(network);
            network.pending_delete = true;
            Ok((vec![update(network)], ()))
        })
        .await?;
        Err(Error::conflict(reason))
    }
}

fn is_live(task: &Task) -> bool {
    task.state() <= TaskState::Running
}

fn check_unused(view: &View, network: &Network) -> Result<(), Error> {
    let name = network.name();
    let live = || view.services().values().filter(|service| !service.pending_delete);
    if network.spec.ingress
        && let Some(service) = live().find(|service| service.ingress_ports().next().is_some())
    {
        return Err(Error::in_use(format!(
            "ingress network {name} cannot be removed because service {} depends on it",
            service.name()
        )));
    }
    if let Some(service) = live().find(|service| service.is_on(&network.id)) {
        let service = service.name();
        return Err(Error::in_use(format!("network {name} is in use by service {service}")));
    }
    // Tasks that are on their way out do not hold the network: it goes when the last of them has gone.
    let stays = |task: &Task| {
        task.is_on(&network.id)
            && is_live(task)
            && task.desired_state < TaskState::Shutdown
            && live().any(|service| service.id == task.service_id)
    };
    if let Some(task) = view.tasks().values().find(|task| stays(task)) {
        return Err(Error::in_use(format!("network {name} is in use by task {}", task.id)));
    }
    if let Some(attachment) = view.attachments().values().find(|attachment| attachment.network_id == network.id) {
        return Err(Error::in_use(format!(
            "network {name} is in use by container {} on node {}",
            attachment.container_name, attachment.node_id
        )));
    }
    Ok(())
}
