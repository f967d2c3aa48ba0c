//! `GET /networks`: this machine's and the swarm's networks in one list.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skep_cluster::api::{Annotations, ListNetworksRequest, Network as SwarmNetwork, NetworkSpec};
use skep_net::{NetworkDefinition, OverlayIntent};

use super::shape;
use crate::ErrorKind;
use crate::blocking::aside;
use crate::docker::network::Network;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::filters::{Filters, Names};

/// Which networks are asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListNetworks {
    /// What has to hold for them.
    pub filters: Filters,
}

/// Networks, by name.
#[derive(Debug)]
pub struct ListedNetworks {
    /// Those that are known.
    pub networks: Vec<Network>,
    /// Why the swarm's are missing, if they are.
    pub missing: Option<Error>,
}

/// A network with the moment at which it was made.
pub(super) struct Entry {
    pub(super) network: Network,
    pub(super) created: Option<Timestamp>,
}

impl ListNetworks {
    fn check(&self) -> Result<Names> {
        self.filters.accept(&["driver", "id", "label", "name", "scope", "type"])?;
        self.filters.check("type", &["custom", "builtin"])?;
        self.filters.check("scope", &["swarm", "global", "local"])?;
        self.filters.names("name")
    }

    fn listed(&self, names: &Names, entries: Vec<Entry>, missing: Option<Error>) -> ListedNetworks {
        let all = entries.into_iter().map(|entry| entry.network);
        ListedNetworks { networks: all.filter(|network| wanted(network, &self.filters, names)).collect(), missing }
    }
}

impl Engine {
    /// The networks that are asked for. The swarm's are missing where it cannot be asked, and it is said why.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`] for a filter that cannot be read; this machine's networks cannot be read.
    pub async fn list_networks(&self, request: &ListNetworks) -> Result<ListedNetworks> {
        let names = request.check()?;
        let (entries, missing) = self.all_networks().await?;
        Ok(request.listed(&names, entries, missing))
    }

    /// [`Self::list_networks`] for who has no async runtime: blocks; `None` where this node is in a swarm, which has to
    /// be asked, too.
    ///
    /// # Errors
    /// As [`Self::list_networks`].
    pub fn begin_network_list(&self, request: &ListNetworks) -> Result<Option<ListedNetworks>> {
        let names = request.check()?;
        let entries = self.machine_networks()?;
        Ok((!self.is_in_swarm()).then(|| request.listed(&names, entries, None)))
    }

    /// This machine's networks, by name.
    pub(super) fn machine_networks(&self) -> Result<Vec<Entry>> {
        let entry = |definition: &NetworkDefinition| Entry {
            network: shape::of_definition(definition),
            created: shape::created(definition),
        };
        let mut entries: Vec<Entry> = self.runtime()?.net().networks().list()?.iter().map(entry).collect();
        sort(&mut entries);
        Ok(entries)
    }

    /// Every network, by name; and why the swarm's are missing, if they are.
    pub(super) async fn all_networks(&self) -> Result<(Vec<Entry>, Option<Error>)> {
        let engine = self.clone();
        let mut entries = aside(move || engine.machine_networks()).await?;
        let (of_swarm, missing) = match self.swarm_networks().await {
            Ok(networks) => (networks, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        entries.extend(
            of_swarm
                .iter()
                .map(|network| Entry { network: shape::listed(network), created: shape::created_in_swarm(network) }),
        );
        sort(&mut entries);
        Ok((entries, missing))
    }

    /// The swarm's networks, of which a worker knows only those that it carries; none where there is no swarm.
    async fn swarm_networks(&self) -> Result<Vec<SwarmNetwork>> {
        if !self.is_in_swarm() {
            return Ok(Vec::new());
        }
        match self.agent().await?.list_networks(ListNetworksRequest {}).await {
            Ok(answer) => Ok(answer.networks),
            Err(error) if error.kind() == ErrorKind::NotAManager => {
                let engine = self.clone();
                let carried = aside(move || Ok(engine.runtime()?.net().overlays()?)).await?;
                Ok(carried.into_iter().map(self::carried).collect())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| a.network.name.cmp(&b.network.name).then_with(|| a.network.id.cmp(&b.network.id)));
}

fn carried(overlay: OverlayIntent) -> SwarmNetwork {
    let annotations = Annotations { name: overlay.name, ..Annotations::default() };
    let spec = NetworkSpec { annotations: Some(annotations), internal: overlay.internal, ..NetworkSpec::default() };
    SwarmNetwork { id: overlay.id.to_string(), spec: Some(spec), ..SwarmNetwork::default() }
}

/// Whether users did not make it.
pub(super) fn is_builtin(network: &Network) -> bool {
    matches!(network.name.as_str(), "bridge" | "host" | "none")
}

fn wanted(network: &Network, filters: &Filters, names: &Names) -> bool {
    let labels = network.labels.clone().unwrap_or_default();
    filters.any("driver", |driver| driver == network.driver)
        && filters.any("id", |id| network.id.starts_with(id))
        && (names.has(&network.name) || filters.any("name", |name| network.name == skep_net::name_of_network(name)))
        && filters.any("scope", |scope| scope == network.scope)
        && filters.any("type", |kind| (kind == "builtin") == is_builtin(network))
        && filters.labels("label", &labels)
}
