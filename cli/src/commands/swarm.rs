//! `skep swarm …`.

use std::net::SocketAddr;

use anyhow::{Result, anyhow, bail};
use skep_cluster::api::{
    Annotations, ClusterSpec, GetClusterRequest, InfoRequest, InitRequest, JoinRequest, LeaveRequest, NodeAvailability,
    NodeRole, UpdateClusterRequest,
};

use crate::args::swarm::{Command, Init, Join, JoinToken, Leave, Update};
use crate::context::{self, Node};
use crate::format::output;
use crate::parse::address::{self, InterfaceAddress};
use crate::swarm::start::Agent;
use crate::swarm::{self, said};

const ALREADY: &str = "This node is already part of a swarm. Use \"skep swarm leave\" to leave this swarm and join \
                       another one.";
/// The shortest life a node's certificate may have.
const CERTIFICATE_NS_MIN: i64 = 3_600_000_000_000;

/// Runs one of them.
pub fn dispatch(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Init(args) => init(node, &args),
        Command::Join(args) => join(node, args),
        Command::JoinToken(args) => join_token(node, &args),
        Command::Leave(args) => leave(node, &args),
        Command::Update(args) => update(node, &args),
    }
}

/// `active`, `pause` or `drain`.
pub fn availability(text: &str) -> Result<NodeAvailability> {
    match text.to_ascii_lowercase().as_str() {
        "active" => Ok(NodeAvailability::Active),
        "pause" => Ok(NodeAvailability::Pause),
        "drain" => Ok(NodeAvailability::Drain),
        _ => bail!("invalid availability {text:?}, only active, pause, and drain are supported"),
    }
}

/// Where a node listens, and what it tells the others.
struct Addresses {
    listen: SocketAddr,
    advertise: SocketAddr,
    data_path: String,
}

fn addresses(
    listen: &str,
    advertise: Option<&str>,
    data_path: Option<&str>,
    known: &[InterfaceAddress],
) -> Result<Addresses> {
    let text = |error: String| anyhow!(error);
    let listen = address::with_port(listen, address::PORT, known).map_err(text)?;
    let advertise = address::advertise(advertise, listen, known).map_err(text)?;
    let data_path = match data_path {
        Some(asked) => address::with_port(asked, 0, known).map_err(text)?.ip(),
        None => advertise.ip(),
    };
    Ok(Addresses { listen, advertise, data_path: data_path.to_string() })
}

fn init(node: &Node, args: &Init) -> Result<i32> {
    let given = availability(&args.availability)?;
    node.engine().require_root()?;
    if swarm::is_active(node) && !args.force_new_cluster {
        bail!(ALREADY);
    }
    if let Some(port) = args.data_path_port.filter(|port| *port != 0 && !(1024..=49151).contains(port)) {
        bail!("data path port number {port} is not in the range 1024-49151");
    }
    if args.cert_expiry < CERTIFICATE_NS_MIN {
        bail!("minimum certificate expiry time is 1h0m0s");
    }
    let known = address::interfaces().map_err(|error| anyhow!(error))?;
    let at = addresses(&args.listen_addr, args.advertise_addr.as_deref(), args.data_path_addr.as_deref(), &known)?;
    let request = InitRequest {
        listen_addr: at.listen.to_string(),
        advertise_addr: at.advertise.to_string(),
        data_path_addr: at.data_path,
        data_path_port: args.data_path_port.unwrap_or(0),
        default_address_pool: args.default_addr_pool.iter().map(ToString::to_string).collect(),
        subnet_size: args.default_addr_pool_mask_length,
        spec: Some(ClusterSpec {
            annotations: Some(Annotations { name: "default".to_owned(), ..Annotations::default() }),
            task_history_limit: Some(args.task_history_limit),
            snapshot_interval: args.snapshot_interval,
            max_snapshots: args.max_snapshots,
            dispatcher_heartbeat_ns: args.dispatcher_heartbeat,
            node_cert_expiry_ns: args.cert_expiry,
            autolock: false,
        }),
        availability: given.into(),
        force_new_cluster: args.force_new_cluster,
    };
    let answer = context::block_on(async {
        let agent = Agent::get(node).await?;
        match agent.client.local().init(request).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                agent.give_up(node);
                Err(said(status))
            }
        }
    })?;
    let token = answer.join_tokens.unwrap_or_default().worker;
    output::print(&format!(
        "Swarm initialized: current node ({}) is now a manager.\n\n{}\nTo add a manager to this swarm, run 'skep swarm \
         join-token manager' and follow the instructions.\n\n",
        answer.node_id,
        how_to_join("worker", &token, &answer.manager_addr)
    ))?;
    Ok(0)
}

fn how_to_join(role: &str, token: &str, address: &str) -> String {
    format!(
        "To add a {role} to this swarm, run the following command:\n\n    skep swarm join --token {token} {address}\n"
    )
}

fn join(node: &Node, args: Join) -> Result<i32> {
    let given = availability(&args.availability)?;
    node.engine().require_root()?;
    if swarm::is_active(node) {
        bail!(ALREADY);
    }
    let token =
        args.token.filter(|token| !token.is_empty()).ok_or_else(|| anyhow!("a join token is required: --token"))?;
    if !token.starts_with("SWMTKN-1-") {
        bail!("invalid join token: it has to look like SWMTKN-1-…");
    }
    let known = address::interfaces().map_err(|error| anyhow!(error))?;
    let at = addresses_to_join(
        &args.listen_addr,
        args.advertise_addr.as_deref(),
        args.data_path_addr.as_deref(),
        &args.remote,
        &known,
    )?;
    let request = JoinRequest {
        listen_addr: at.listen.to_string(),
        advertise_addr: at.advertise.to_string(),
        data_path_addr: at.data_path,
        token,
        remote_addrs: vec![remote(&args.remote)],
        availability: given.into(),
    };
    let answer = context::block_on(async {
        let agent = Agent::get(node).await?;
        match agent.client.local().join(request).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                agent.give_up(node);
                Err(said(status))
            }
        }
    })?;
    let role = if answer.role() == NodeRole::Manager { "manager" } else { "worker" };
    output::line(format!("This node joined a swarm as a {role}."))?;
    Ok(0)
}

/// When nothing was said, a joining node advertises the address from which it reaches the manager.
fn addresses_to_join(
    listen: &str,
    advertise: Option<&str>,
    data_path: Option<&str>,
    manager: &str,
    known: &[InterfaceAddress],
) -> Result<Addresses> {
    match addresses(listen, advertise, data_path, known) {
        Ok(at) => Ok(at),
        Err(error) if advertise.is_none() => {
            let own = remote(manager).parse::<SocketAddr>().ok().and_then(|manager| {
                let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).ok()?;
                // Sends nothing: the kernel chooses the source address.
                socket.connect(manager).ok()?;
                socket.local_addr().ok()
            });
            match own {
                Some(own) => addresses(listen, Some(&own.ip().to_string()), data_path, known),
                None => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

fn remote(text: &str) -> String {
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { text.to_owned() } else { format!("{text}:{}", address::PORT) }
}

fn join_token(node: &Node, args: &JoinToken) -> Result<i32> {
    if !matches!(args.role.as_str(), "worker" | "manager") {
        bail!("unknown role {}", args.role);
    }
    let (token, address) = context::block_on(async {
        let client = swarm::client(node).await?;
        let mut cluster = client
            .control()
            .get_cluster(GetClusterRequest {})
            .await
            .map_err(said)?
            .into_inner()
            .cluster
            .unwrap_or_default();
        if args.rotate {
            let request = UpdateClusterRequest {
                version: cluster.meta.unwrap_or_default().version,
                spec: cluster.spec.clone(),
                rotate_worker_token: args.role == "worker",
                rotate_manager_token: args.role == "manager",
            };
            cluster =
                client.control().update_cluster(request).await.map_err(said)?.into_inner().cluster.unwrap_or_default();
        }
        let tokens = cluster.root_ca.unwrap_or_default().join_tokens.unwrap_or_default();
        let info = client.local().info(InfoRequest {}).await.map_err(said)?.into_inner();
        let own = info.managers.iter().find(|manager| manager.node_id == info.node_id).or(info.managers.first());
        let address = own.map(|manager| manager.addr.clone()).unwrap_or_default();
        Ok((if args.role == "worker" { tokens.worker } else { tokens.manager }, address))
    })?;
    if args.quiet {
        output::line(token)?;
        return Ok(0);
    }
    if args.rotate {
        output::print(&format!("Successfully rotated {} join token.\n\n", args.role))?;
    }
    output::print(&format!("{}\n", how_to_join(&args.role, &token, &address)))?;
    Ok(0)
}

fn leave(node: &Node, args: &Leave) -> Result<i32> {
    node.engine().require_root()?;
    if !swarm::is_active(node) {
        bail!("This node is not part of a swarm");
    }
    let answer = context::block_on(async {
        // Also with an agent that does not run: leaving has to be possible then.
        let agent = Agent::get(node).await?;
        Ok(agent.client.local().leave(LeaveRequest { force: args.force }).await.map_err(said)?.into_inner())
    })?;
    if !answer.warning.is_empty() {
        eprintln!("WARNING: {}", answer.warning);
    }
    output::line("Node left the swarm.")?;
    Ok(0)
}

fn update(node: &Node, args: &Update) -> Result<i32> {
    if args.cert_expiry.is_some_and(|expiry| expiry < CERTIFICATE_NS_MIN) {
        bail!("minimum certificate expiry time is 1h0m0s");
    }
    context::block_on(async {
        let client = swarm::client(node).await?;
        let cluster = client
            .control()
            .get_cluster(GetClusterRequest {})
            .await
            .map_err(said)?
            .into_inner()
            .cluster
            .unwrap_or_default();
        let mut spec = cluster.spec.unwrap_or_default();
        let set = |field: &mut i64, value: Option<i64>| *field = value.unwrap_or(*field);
        set(&mut spec.node_cert_expiry_ns, args.cert_expiry);
        set(&mut spec.dispatcher_heartbeat_ns, args.dispatcher_heartbeat);
        spec.task_history_limit = args.task_history_limit.or(spec.task_history_limit);
        spec.max_snapshots = args.max_snapshots.unwrap_or(spec.max_snapshots);
        spec.snapshot_interval = args.snapshot_interval.unwrap_or(spec.snapshot_interval);
        let request = UpdateClusterRequest {
            version: cluster.meta.unwrap_or_default().version,
            spec: Some(spec),
            ..UpdateClusterRequest::default()
        };
        client.control().update_cluster(request).await.map_err(said)?;
        Ok(())
    })?;
    output::line("Swarm updated.")?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_may_be_left_out() {
        assert_eq!(remote("10.0.0.1"), "10.0.0.1:2377");
        assert_eq!(remote("10.0.0.1:99"), "10.0.0.1:99");
    }
}
