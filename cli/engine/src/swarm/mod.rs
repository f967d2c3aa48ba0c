//! The swarm, as its managers are asked through this node's agent; and this node's part in it: init, join, leave.
//!
//! Services are in [`crate::services`], nodes in [`crate::nodes`].

pub mod addresses;
mod join;
pub mod serve;
pub mod start;

use serde::{Deserialize, Serialize};
use skep_cluster::api::{
    Cluster, ClusterSpec, GetClusterRequest, InfoRequest, ListNetworksRequest, UpdateClusterRequest,
};
use skep_cluster::client::Client;

use crate::ErrorKind;
use crate::docker::info::SwarmInfo;
use crate::docker::network::Network;
use crate::engine::Engine;
use crate::error::{Error, Result};

pub use join::Founded;
pub(crate) use join::availability;

/// The shortest life a node's certificate may have, nanoseconds.
const CERTIFICATE_NS_MIN: i64 = 3_600_000_000_000;

/// A connection to the swarm.
#[derive(Debug, Clone)]
pub struct Swarm {
    client: Client,
}

/// The same error, but for what is not there, which has words of its own.
pub(crate) fn unless_missing(error: skep_cluster::Error, missing: impl FnOnce() -> String) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::not_found(missing()),
        _ => error.into(),
    }
}

impl Engine {
    /// The swarm that this node is in.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] for callers who are not root, [`ErrorKind::NotInSwarm`], and
    /// [`ErrorKind::Unavailable`] where the agent does not run.
    pub async fn swarm(&self) -> Result<Swarm> {
        Ok(Swarm { client: self.agent().await? })
    }
}

/// The part of a swarm's specification that an update changes; `None` leaves it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwarmChange {
    /// Life of a node's certificate, nanoseconds.
    pub node_cert_expiry_ns: Option<i64>,
    /// How often nodes have to be heard of, nanoseconds.
    pub dispatcher_heartbeat_ns: Option<i64>,
    /// How many ended tasks are kept for each slot.
    pub task_history_limit: Option<i64>,
    /// How many snapshots are kept beside the last.
    pub max_snapshots: Option<u64>,
    /// Entries of the log between two snapshots.
    pub snapshot_interval: Option<u64>,
}

/// What a node is in its swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It runs tasks.
    Worker,
    /// It keeps the swarm's state, too.
    Manager,
}

impl Role {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
        }
    }

    /// The role of a word.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`] for a word that is none.
    pub fn of_word(word: &str) -> Result<Self> {
        match word {
            "worker" => Ok(Self::Worker),
            "manager" => Ok(Self::Manager),
            _ => Err(Error::bad_argument(format!("unknown role {word}"))),
        }
    }
}

/// What a new node needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HowToJoin {
    /// The token of the role.
    pub token: String,
    /// `HOST:PORT` of a manager.
    pub address: String,
}

impl Swarm {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// This node's part in the swarm.
    ///
    /// # Errors
    /// The agent cannot be asked.
    pub async fn info(&self) -> Result<SwarmInfo> {
        Ok(crate::info::of_agent(&self.client.info(InfoRequest {}).await?))
    }

    /// The swarm itself.
    ///
    /// # Errors
    /// [`ErrorKind::NotAManager`].
    async fn cluster(&self) -> Result<Cluster> {
        Ok(self.client.get_cluster(GetClusterRequest {}).await?.cluster.unwrap_or_default())
    }

    /// The swarm's networks.
    ///
    /// # Errors
    /// [`ErrorKind::NotAManager`].
    pub async fn networks(&self) -> Result<Vec<Network>> {
        let answer = self.client.list_networks(ListNetworksRequest {}).await?;
        Ok(answer.networks.iter().map(crate::networks::of_swarm).collect())
    }

    /// Changes the swarm's specification.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`], [`ErrorKind::OutOfSequence`] if somebody else changed it meanwhile.
    pub async fn change(&self, change: SwarmChange) -> Result<()> {
        let cluster = self.cluster().await?;
        let mut spec = cluster.spec.clone().unwrap_or_default();
        let set = |field: &mut i64, value: Option<i64>| *field = value.unwrap_or(*field);
        set(&mut spec.node_cert_expiry_ns, change.node_cert_expiry_ns);
        set(&mut spec.dispatcher_heartbeat_ns, change.dispatcher_heartbeat_ns);
        spec.task_history_limit = change.task_history_limit.or(spec.task_history_limit);
        spec.max_snapshots = change.max_snapshots.unwrap_or(spec.max_snapshots);
        spec.snapshot_interval = change.snapshot_interval.unwrap_or(spec.snapshot_interval);
        self.update(&cluster, spec, None).await?;
        Ok(())
    }

    /// What a new node needs; `rotate` makes the tokens given out so far worthless.
    ///
    /// # Errors
    /// [`ErrorKind::NotAManager`].
    pub async fn how_to_join(&self, role: Role, rotate: bool) -> Result<HowToJoin> {
        let for_managers = role == Role::Manager;
        let mut cluster = self.cluster().await?;
        if rotate {
            cluster = self.update(&cluster, cluster.spec.clone().unwrap_or_default(), Some(for_managers)).await?;
        }
        let tokens = cluster.root_ca.unwrap_or_default().join_tokens.unwrap_or_default();
        let info = self.client.info(InfoRequest {}).await?;
        let own = info.managers.iter().find(|manager| manager.node_id == info.node_id).or(info.managers.first());
        let address = own.map(|manager| manager.addr.clone()).unwrap_or_default();
        Ok(HowToJoin { token: if for_managers { tokens.manager } else { tokens.worker }, address })
    }

    async fn update(&self, seen: &Cluster, spec: ClusterSpec, rotate_for_managers: Option<bool>) -> Result<Cluster> {
        let request = UpdateClusterRequest {
            version: seen.meta.unwrap_or_default().version,
            spec: Some(spec),
            rotate_worker_token: rotate_for_managers == Some(false),
            rotate_manager_token: rotate_for_managers == Some(true),
        };
        Ok(self.client.update_cluster(request).await?.cluster.unwrap_or_default())
    }
}

impl SwarmChange {
    /// Refuses what no swarm takes, before anybody is asked.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`].
    pub fn check(&self) -> Result<()> {
        check_certificate_expiry(self.node_cert_expiry_ns)
    }
}

fn check_certificate_expiry(expiry: Option<i64>) -> Result<()> {
    match expiry.is_some_and(|expiry| expiry < CERTIFICATE_NS_MIN) {
        true => Err(Error::bad_argument("minimum certificate expiry time is 1h0m0s")),
        false => Ok(()),
    }
}
