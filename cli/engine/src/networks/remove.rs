//! `DELETE /networks/ID` and `POST /networks/prune`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skep_cluster::api::RemoveNetworkRequest;

use super::list::{Entry, is_builtin};
use crate::blocking::aside;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::filters::Filters;
use crate::time::moment;

/// Which unused networks go.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PruneNetworks {
    /// `until`, `label`, `label!`.
    pub filters: Filters,
}

/// What went.
#[derive(Debug, Default)]
pub struct PrunedNetworks {
    /// Names.
    pub networks_deleted: Vec<String>,
    /// Why the swarm's were not looked at, if they were not.
    pub missing: Option<Error>,
}

impl PruneNetworks {
    /// Refuses what cannot be read, before anybody is asked whether it is meant.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`].
    pub fn check(&self) -> Result<()> {
        self.filters.accept(&["until", "label", "label!"])
    }

    /// Before which moment they have to be made.
    fn until(&self) -> Result<Option<Timestamp>> {
        self.check()?;
        let now = Timestamp::now();
        self.filters.values("until").first().map(|text| moment(text, now)).transpose()
    }

    fn wants(&self, entry: &Entry, until: Option<Timestamp>) -> bool {
        let (network, none) = (&entry.network, BTreeMap::new());
        !is_builtin(network)
            && !matches!(network.name.as_str(), "ingress" | skep_net::GATEWAY_BRIDGE)
            && until.is_none_or(|until| entry.created.is_some_and(|created| created < until))
            && self.filters.labels_wanted(network.labels.as_ref().unwrap_or(&none))
    }
}

impl Engine {
    /// Removes a network.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::InUse`], or what the swarm says.
    pub async fn remove_network(&self, name: &str) -> Result<()> {
        let (engine, asked) = (self.clone(), name.to_owned());
        match aside(move || engine.begin_network_removal(&asked)).await? {
            true => Ok(()),
            false => self.remove_overlay(name).await,
        }
    }

    /// [`Self::remove_network`] for who has no async runtime: blocks, and removes a network of this machine; false for
    /// one that it does not have, which may be the swarm's.
    ///
    /// # Errors
    /// As [`Self::remove_network`].
    pub fn begin_network_removal(&self, name: &str) -> Result<bool> {
        match self.runtime()?.net().remove_network(name) {
            Ok(_) => Ok(true),
            Err(skep_net::Error::NetworkNotFound { .. }) if self.is_in_swarm() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a network of the swarm.
    ///
    /// # Errors
    /// What the swarm says.
    pub async fn remove_overlay(&self, name: &str) -> Result<()> {
        self.agent().await?.remove_network(RemoveNetworkRequest { r#ref: name.to_owned() }).await?;
        Ok(())
    }

    /// Removes the networks that nobody uses.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadArgument`] for a filter that cannot be read; this machine's networks cannot be read.
    pub async fn prune_networks(&self, request: &PruneNetworks) -> Result<PrunedNetworks> {
        let until = request.until()?;
        let (entries, missing) = self.all_networks().await?;
        let mut pruned = PrunedNetworks { networks_deleted: Vec::new(), missing };
        for Entry { network, .. } in entries.into_iter().filter(|entry| request.wants(entry, until)) {
            // One that is in use says so, and stays.
            if self.remove_network(&network.id).await.is_ok() {
                pruned.networks_deleted.push(network.name);
            }
        }
        Ok(pruned)
    }

    /// [`Self::prune_networks`] for who has no async runtime: blocks; `None`, with nothing done, where this node is in a
    /// swarm, which has networks, too.
    ///
    /// # Errors
    /// As [`Self::prune_networks`].
    pub fn begin_network_prune(&self, request: &PruneNetworks) -> Result<Option<PrunedNetworks>> {
        let until = request.until()?;
        let entries = self.machine_networks()?;
        if self.is_in_swarm() {
            return Ok(None);
        }
        let mut pruned = PrunedNetworks::default();
        for Entry { network, .. } in entries.into_iter().filter(|entry| request.wants(entry, until)) {
            if self.begin_network_removal(&network.id).is_ok() {
                pruned.networks_deleted.push(network.name);
            }
        }
        Ok(Some(pruned))
    }
}
