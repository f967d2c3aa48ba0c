//! Founding a swarm, joining one, leaving it. An agent is started where none runs.

use std::net::{SocketAddr, UdpSocket};

use skep_cluster::api::{Annotations, ClusterSpec, InitRequest, JoinRequest, LeaveRequest, NodeAvailability, NodeRole};

use super::addresses::{self, InterfaceAddress};
use super::start::{Agent, AgentProgram};
use super::{Role, check_certificate_expiry};
use crate::ErrorKind;
use crate::docker::swarm as docker;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::services::words::Word;

const ALREADY: &str = "This node is already part of a swarm. Use \"skep swarm leave\" to leave this swarm and join \
                       another one.";

/// Life of a node's certificate where the request names none, nanoseconds: 90 days.
const CERTIFICATE_NS: i64 = 7_776_000_000_000_000;

/// How often nodes are heard of where the request does not say, nanoseconds.
const HEARTBEAT_NS: i64 = 5_000_000_000;

/// A swarm that was founded, and how others join it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founded {
    /// This node, the swarm's only manager.
    pub node_id: String,
    /// What a worker has to show.
    pub worker_token: String,
    /// `HOST:PORT` of this node.
    pub manager_address: String,
}

/// Where a node listens, and what it tells the others.
struct Addresses {
    listen: SocketAddr,
    advertise: SocketAddr,
    data_path: String,
}

/// `active`, `pause` or `drain`.
///
/// # Errors
/// [`ErrorKind::BadArgument`].
pub(crate) fn availability(text: &str) -> Result<NodeAvailability> {
    NodeAvailability::of_word(&text.to_ascii_lowercase()).ok_or_else(|| {
        Error::bad_argument(format!("invalid availability {text:?}, only active, pause, and drain are supported"))
    })
}

/// As [`availability`]; a request that does not say wants tasks.
fn availability_at_first(text: &str) -> Result<NodeAvailability> {
    given(text).map_or(Ok(NodeAvailability::Active), availability)
}

impl Engine {
    /// Founds a swarm with this node as its only manager; with `force_new_cluster` goes on alone with the state of the
    /// one it is in.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`], [`ErrorKind::Conflict`] if this node is in a swarm, and what the agent says.
    pub async fn swarm_init(&self, request: &docker::InitRequest, program: &AgentProgram) -> Result<Founded> {
        let availability = availability_at_first(&request.availability)?;
        self.require_root()?;
        if self.is_in_swarm() && !request.force_new_cluster {
            return Err(Error::conflict(ALREADY));
        }
        let port = request.data_path_port;
        if port != 0 && !(1024..=49151).contains(&port) {
            return Err(Error::bad_argument(format!("data path port number {port} is not in the range 1024-49151")));
        }
        check_certificate_expiry(request.spec.ca_config.node_cert_expiry)?;
        if request.auto_lock_managers || request.spec.encryption_config.auto_lock_managers {
            return Err(Error::new(ErrorKind::NotSupported, "autolock is not supported"));
        }
        let at = own_addresses(
            &request.listen_addr,
            given(&request.advertise_addr),
            given(&request.data_path_addr),
            &addresses::interfaces()?,
        )?;
        let request = InitRequest {
            listen_addr: at.listen.to_string(),
            advertise_addr: at.advertise.to_string(),
            data_path_addr: at.data_path,
            data_path_port: port,
            default_address_pool: request.default_addr_pool.clone().unwrap_or_default(),
            subnet_size: request.subnet_size,
            spec: Some(cluster_spec(&request.spec)),
            availability: availability.into(),
            force_new_cluster: request.force_new_cluster,
        };
        let agent = Agent::get(self, program).await?;
        match agent.client.init(request).await {
            Ok(answer) => Ok(Founded {
                node_id: answer.node_id,
                worker_token: answer.join_tokens.unwrap_or_default().worker,
                manager_address: answer.manager_addr,
            }),
            Err(error) => {
                agent.give_up(self);
                Err(error.into())
            }
        }
    }

    /// Joins a swarm; returns the role that the token gives.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`], [`ErrorKind::Conflict`] if this node is in a swarm, and what the agent says.
    pub async fn swarm_join(&self, request: &docker::JoinRequest, program: &AgentProgram) -> Result<Role> {
        let availability = availability_at_first(&request.availability)?;
        self.require_root()?;
        if self.is_in_swarm() {
            return Err(Error::conflict(ALREADY));
        }
        if request.join_token.is_empty() {
            return Err(Error::bad_argument("a join token is required: --token"));
        }
        if !request.join_token.starts_with("SWMTKN-1-") {
            return Err(Error::bad_argument("invalid join token: it has to look like SWMTKN-1-…"));
        }
        let managers: Vec<String> = request.remote_addrs.iter().flatten().map(|manager| remote(manager)).collect();
        let at = addresses_to_join(
            &request.listen_addr,
            given(&request.advertise_addr),
            given(&request.data_path_addr),
            managers.first().map_or("", String::as_str),
            &addresses::interfaces()?,
        )?;
        let request = JoinRequest {
            listen_addr: at.listen.to_string(),
            advertise_addr: at.advertise.to_string(),
            data_path_addr: at.data_path,
            token: request.join_token.clone(),
            remote_addrs: managers,
            availability: availability.into(),
        };
        let agent = Agent::get(self, program).await?;
        match agent.client.join(request).await {
            Ok(answer) => Ok(match answer.role() {
                NodeRole::Worker => Role::Worker,
                NodeRole::Manager => Role::Manager,
            }),
            Err(error) => {
                agent.give_up(self);
                Err(error.into())
            }
        }
    }

    /// Leaves the swarm; returns what one should know about those who stay, if there is something.
    ///
    /// # Errors
    /// [`ErrorKind::NotInSwarm`], and what the agent says of a manager that is needed.
    pub async fn swarm_leave(&self, force: bool, program: &AgentProgram) -> Result<Option<String>> {
        self.require_root()?;
        if !self.is_in_swarm() {
            return Err(Error::new(ErrorKind::NotInSwarm, "This node is not part of a swarm"));
        }
        // Also with an agent that does not run: leaving has to be possible then.
        let agent = Agent::get(self, program).await?;
        let left = agent.client.leave(LeaveRequest { force }).await?;
        Ok(Some(left.warning).filter(|warning| !warning.is_empty()))
    }
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn cluster_spec(spec: &docker::SwarmSpec) -> ClusterSpec {
    ClusterSpec {
        annotations: Some(Annotations { name: "default".to_owned(), labels: spec.labels.clone().unwrap_or_default() }),
        task_history_limit: spec.orchestration.task_history_retention_limit,
        snapshot_interval: spec.raft.snapshot_interval.unwrap_or_default(),
        max_snapshots: spec.raft.keep_old_snapshots.unwrap_or_default(),
        dispatcher_heartbeat_ns: spec.dispatcher.heartbeat_period.unwrap_or(HEARTBEAT_NS),
        node_cert_expiry_ns: spec.ca_config.node_cert_expiry.unwrap_or(CERTIFICATE_NS),
        autolock: false,
    }
}

fn own_addresses(
    listen: &str,
    advertise: Option<&str>,
    data_path: Option<&str>,
    known: &[InterfaceAddress],
) -> Result<Addresses> {
    let listen = addresses::with_port(listen, addresses::PORT, known)?;
    let advertise = addresses::advertise(advertise, listen, known)?;
    let data_path = match data_path {
        Some(asked) => addresses::with_port(asked, 0, known)?.ip(),
        None => advertise.ip(),
    };
    Ok(Addresses { listen, advertise, data_path: data_path.to_string() })
}

/// When nothing was said, a joining node advertises the address from which it reaches the manager.
fn addresses_to_join(
    listen: &str,
    advertise: Option<&str>,
    data_path: Option<&str>,
    manager: &str,
    known: &[InterfaceAddress],
) -> Result<Addresses> {
    let error = match own_addresses(listen, advertise, data_path, known) {
        Err(error) if advertise.is_none() => error,
        settled => return settled,
    };
    let own = manager.parse::<SocketAddr>().ok().and_then(|manager| {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
        // Sends nothing: the kernel chooses the source address.
        socket.connect(manager).ok()?;
        socket.local_addr().ok()
    });
    match own {
        Some(own) => own_addresses(listen, Some(&own.ip().to_string()), data_path, known),
        None => Err(error),
    }
}

/// A manager's address, with the managers' port where it names none.
fn remote(text: &str) -> String {
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { text.to_owned() } else { format!("{text}:{}", addresses::PORT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_may_be_left_out() {
        assert_eq!(remote("10.0.0.1"), "10.0.0.1:2377");
        assert_eq!(remote("10.0.0.1:99"), "10.0.0.1:99");
    }

    #[test]
    fn availability_is_a_word() {
        assert_eq!(availability("Drain").ok(), Some(NodeAvailability::Drain));
        assert!(availability("maybe").is_err());
    }
}
