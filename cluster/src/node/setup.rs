//! Making a swarm and joining one: everything is prepared beside the final place, which one rename fills.

use std::net::{IpAddr, SocketAddr};

use skep_common::ErrorKind;
use tokio::net::TcpListener;

use super::bootstrap;
use super::layout::{Layout, make_dir, remove_dir};
use super::local::Started;
use super::state::{Files, Manager, State, availability};
use super::{NodeConfig, NodeError};
use crate::DEFAULT_PORT;
use crate::api::{InitRequest, JoinRequest};
use crate::ca::{self, Application, CaError, Issued, JoinToken, NodeKey};
use crate::model::{NodeRole, is_data_path};
use crate::wire::{self, Caller, WireError};

/// Addresses of a node, in the form in which they are kept.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub listen: String,
    pub advertise: String,
    pub data_path: String,
}

/// The files are in place.
pub(super) struct Ready {
    /// For a manager: bound before anything was written.
    pub listener: Option<TcpListener>,
}

/// The node can be started, and somebody waits to hear of it.
pub(super) struct Prepared {
    pub listener: Option<TcpListener>,
    pub answer: Started,
}

/// Docker's words for a second init or join.
pub(super) fn already_joined() -> NodeError {
    NodeError::refused(
        ErrorKind::Conflict,
        "This node is already part of a swarm. Use \"skep swarm leave\" to leave this swarm and join another one.",
    )
}

/// Makes the files of the first manager of a new swarm.
///
/// # Errors
/// What of the request cannot be, or which file cannot be made. Nothing is left of it.
pub(super) async fn init(config: &NodeConfig, layout: &Layout, request: InitRequest) -> Result<Ready, NodeError> {
    let addresses = addresses(&request.listen_addr, &request.advertise_addr, &request.data_path_addr)?;
    if addresses.advertise.is_empty() {
        return Err(NodeError::refused(
            ErrorKind::BadArgument,
            "could not choose an IP address to advertise - specify one with --advertise-addr",
        ));
    }
    let listener = bind(&addresses.listen).await?;
    let description = config.executor.describe().await?;
    let given = &config.surroundings;
    let authority = ca::new_authority(given.clock.now())?;
    let caller = Caller {
        node_id: given.chance.id().into(),
        role: NodeRole::Manager,
        cluster_id: given.chance.id(),
        addr: addresses.advertise.parse().ok(),
    };
    let key = NodeKey::generate()?;
    let root = ca::RootKey {
        cert_pem: String::from_utf8_lossy(&authority.cert_pem).into_owned(),
        key_pem: String::from_utf8_lossy(&authority.key_pem).into_owned(),
    };
    let validity = bootstrap::node_validity(request.spec.as_ref());
    let chain = ca::sign_node(&root, &key.request_pem, &caller, validity, given.clock.now())?;
    let issued = Issued {
        node_id: caller.node_id.to_string(),
        role: NodeRole::Manager,
        chain_pem: chain.into_bytes(),
        cluster_id: caller.cluster_id.clone(),
    };
    let this = Manager { node_id: issued.node_id.clone(), addr: addresses.advertise.clone() };
    let state = State::new(&issued, addresses, vec![this]);
    let transaction = bootstrap::first_objects(&caller, authority.clone(), request, description, given)?;
    prepare(layout, |files| {
        files.create(&authority.cert_pem, &key, &issued.chain_pem, &state)?;
        bootstrap::save(&files.bootstrap(), files.disk_key()?.as_ref(), &transaction)
    })?;
    Ok(Ready { listener: Some(listener) })
}

/// Obtains a certificate from one of the given managers and makes the files.
///
/// # Errors
/// If no manager answers, or one refuses. Nothing is left of it here.
pub(super) async fn join(config: &NodeConfig, layout: &Layout, request: JoinRequest) -> Result<Ready, NodeError> {
    let token = JoinToken::parse(&request.token)?;
    let given = addresses(&request.listen_addr, &request.advertise_addr, &request.data_path_addr)?;
    let listener = bind(&given.listen).await;
    let application = Application {
        token: token.to_string(),
        availability: availability(request.availability),
        unable_to_manage: listener.as_ref().err().map(|error| crate::error::chain(error)).unwrap_or_default(),
    };
    let mut failure = None;
    for remote in &request.remote_addrs {
        // With the certificate the swarm has a node: what could stop this one from becoming it is tried before.
        let addresses = complete(given.clone(), remote).await?;
        let key = NodeKey::generate()?;
        match first_certificate(config, remote, &token, &key, application.clone()).await {
            Ok((root, issued)) => {
                let listener = match issued.role {
                    NodeRole::Manager => Some(listener?),
                    NodeRole::Worker => None,
                };
                let managers = request.remote_addrs.iter();
                let managers = managers.map(|addr| Manager { node_id: String::new(), addr: addr.clone() }).collect();
                let state = State::new(&issued, addresses, managers);
                prepare(layout, |files| files.create(&root, &key, &issued.chain_pem, &state))?;
                return Ok(Ready { listener });
            }
            // Another manager may answer, but none would think otherwise of the token.
            Err(error @ CaError::Unreachable { .. }) => failure = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(failure.map_or(NodeError::Wire(WireError::NoManagers), NodeError::from))
}

async fn first_certificate(
    config: &NodeConfig,
    remote: &str,
    token: &JoinToken,
    key: &NodeKey,
    application: Application,
) -> Result<(Vec<u8>, Issued), CaError> {
    let clock = &config.surroundings.clock;
    let root = ca::fetch_root(remote, token, config.timing, clock).await?;
    let channel = wire::channel_with(remote, config.timing, clock, wire::pinned_client(&root, clock)?)?;
    let issued = ca::request_certificate(channel, remote, key, application, config.timing).await?;
    ca::check_current(&issued.chain_pem, clock.now())?;
    Ok((root, issued))
}

/// A node that was not told its address takes the one from which it reaches the manager.
async fn complete(mut addresses: Addresses, remote: &str) -> Result<Addresses, NodeError> {
    let unspecified = |addr: &str| addr.parse::<SocketAddr>().is_ok_and(|addr| addr.ip().is_unspecified());
    if addresses.advertise.is_empty() || unspecified(&addresses.advertise) {
        let target = wire::parse_address(remote, DEFAULT_PORT)?;
        let own = own_address(target).await.map_err(|source| WireError::Connect { addr: remote.to_owned(), source })?;
        let port = addresses.listen.parse::<SocketAddr>().map_or(DEFAULT_PORT, |addr| addr.port());
        addresses.advertise = wire::join_host_port(own, port);
    }
    if addresses.data_path.parse::<IpAddr>().map_or(true, |ip| ip.is_unspecified()) {
        addresses.data_path = host(&addresses.advertise);
        check_data_path(&addresses.data_path)?;
    }
    Ok(addresses)
}

/// The source address towards `target`. Connecting a datagram socket sends nothing.
async fn own_address(target: SocketAddr) -> std::io::Result<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = tokio::net::UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket.local_addr()?.ip())
}

fn addresses(listen: &str, advertise: &str, data_path: &str) -> Result<Addresses, NodeError> {
    let listen = wire::parse_address(if listen.is_empty() { "0.0.0.0" } else { listen }, DEFAULT_PORT)?;
    let advertise = match advertise {
        "" if listen.ip().is_unspecified() => String::new(),
        "" => listen.to_string(),
        text => wire::parse_address(text, listen.port())?.to_string(),
    };
    let data_path = match data_path {
        "" => host(&advertise),
        text => wire::parse_address(text, DEFAULT_PORT)?.ip().to_string(),
    };
    check_data_path(&data_path)?;
    Ok(Addresses { listen: listen.to_string(), advertise, data_path })
}

/// VXLAN between the nodes is IPv4; unspecified as long as the node does not know its address.
fn check_data_path(addr: &str) -> Result<(), NodeError> {
    match addr.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() && !is_data_path(addr) => Err(NodeError::refused(
            ErrorKind::BadArgument,
            format!("data path address {addr} is not a node's IPv4 address - specify one with --data-path-addr"),
        )),
        _ => Ok(()),
    }
}

fn host(addr: &str) -> String {
    addr.parse::<SocketAddr>().map(|addr| addr.ip().to_string()).unwrap_or_default()
}

/// Opens the manager's port.
///
/// # Errors
/// If the address is none, or cannot be listened on.
pub(super) async fn bind(listen: &str) -> Result<TcpListener, NodeError> {
    let addr = wire::parse_address(listen, DEFAULT_PORT)?;
    TcpListener::bind(addr).await.map_err(|source| NodeError::Wire(WireError::Listen { addr, source }))
}

fn prepare(layout: &Layout, write: impl FnOnce(&Files) -> Result<(), NodeError>) -> Result<(), NodeError> {
    let dir = layout.preparing();
    remove_dir(&dir)?;
    make_dir(&dir)?;
    let written = write(&Files::new(dir.clone())).and_then(|()| layout.commit());
    if written.is_err() {
        remove_dir(&dir)?;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_completed_from_each_other() {
        let made = addresses("", "10.0.0.1", "").unwrap();
        assert_eq!((made.listen.as_str(), made.advertise.as_str()), ("0.0.0.0:2377", "10.0.0.1:2377"));
        assert_eq!(made.data_path, "10.0.0.1");
        let made = addresses("127.0.0.1:99", "", "10.0.0.2").unwrap();
        assert_eq!((made.advertise.as_str(), made.data_path.as_str()), ("127.0.0.1:99", "10.0.0.2"));
        assert_eq!(addresses("", "", "").unwrap().advertise, "");
        assert!(addresses("", "no-such-name", "").is_err());
        assert!(addresses("", "fd00::1", "").unwrap_err().to_string().contains("--data-path-addr"));
        assert_eq!(addresses("", "fd00::1", "10.0.0.2").unwrap().data_path, "10.0.0.2");
    }
}
