//! `skep swarm …`.

use anyhow::{Context as _, Result};
use skep_engine::docker::swarm::{CaConfig, Dispatcher, InitRequest, JoinRequest, Orchestration, Raft, SwarmSpec};
use skep_engine::swarm::start::AgentProgram;
use skep_engine::swarm::{HowToJoin, Role, SwarmChange};

use crate::args::swarm::{Command, Init, Join, JoinToken, Leave, Update};
use crate::context::{self, Node};
use crate::format::output;

/// Runs one of them.
pub(super) fn dispatch(node: &Node, command: Command) -> Result<i32> {
    match command {
        Command::Init(args) => init(node, &args),
        Command::Join(args) => join(node, args),
        Command::JoinToken(args) => join_token(node, &args),
        Command::Leave(args) => leave(node, &args),
        Command::Update(args) => update(node, &args),
    }
}

/// How an agent is started where none runs.
fn agent_program(node: &Node) -> Result<AgentProgram> {
    let path = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(AgentProgram { path, log_level: node.log_level.clone() })
}

fn init(node: &Node, args: &Init) -> Result<i32> {
    let spec = SwarmSpec {
        orchestration: Orchestration { task_history_retention_limit: Some(args.task_history_limit) },
        raft: Raft {
            snapshot_interval: Some(args.snapshot_interval),
            keep_old_snapshots: Some(args.max_snapshots),
            ..Raft::default()
        },
        dispatcher: Dispatcher { heartbeat_period: Some(args.dispatcher_heartbeat) },
        ca_config: CaConfig { node_cert_expiry: Some(args.cert_expiry), ..CaConfig::default() },
        ..SwarmSpec::default()
    };
    let request = InitRequest {
        listen_addr: args.listen_addr.clone(),
        advertise_addr: args.advertise_addr.clone().unwrap_or_default(),
        data_path_addr: args.data_path_addr.clone().unwrap_or_default(),
        data_path_port: args.data_path_port.unwrap_or(0),
        force_new_cluster: args.force_new_cluster,
        spec,
        availability: args.availability.clone(),
        default_addr_pool: Some(args.default_addr_pool.iter().map(ToString::to_string).collect()),
        subnet_size: args.default_addr_pool_mask_length,
        ..InitRequest::default()
    };
    let program = agent_program(node)?;
    let founded = context::block_on(async { Ok(node.engine().swarm_init(&request, &program).await?) })?;
    output::print(&format!(
        "Swarm initialized: current node ({}) is now a manager.\n\n{}\nTo add a manager to this swarm, run 'skep swarm \
         join-token manager' and follow the instructions.\n\n",
        founded.node_id,
        how_to_join("worker", &founded.worker_token, &founded.manager_address)
    ))?;
    Ok(0)
}

fn how_to_join(role: &str, token: &str, address: &str) -> String {
    format!(
        "To add a {role} to this swarm, run the following command:\n\n    skep swarm join --token {token} {address}\n"
    )
}

fn join(node: &Node, args: Join) -> Result<i32> {
    let request = JoinRequest {
        listen_addr: args.listen_addr,
        advertise_addr: args.advertise_addr.unwrap_or_default(),
        data_path_addr: args.data_path_addr.unwrap_or_default(),
        remote_addrs: Some(vec![args.remote]),
        join_token: args.token.unwrap_or_default(),
        availability: args.availability,
    };
    let program = agent_program(node)?;
    let role = context::block_on(async { Ok(node.engine().swarm_join(&request, &program).await?) })?;
    output::line(format!("This node joined a swarm as a {}.", role.word()))?;
    Ok(0)
}

fn join_token(node: &Node, args: &JoinToken) -> Result<i32> {
    let role = Role::of_word(&args.role)?;
    let HowToJoin { token, address } =
        context::block_on(async { Ok(node.engine().swarm().await?.how_to_join(role, args.rotate).await?) })?;
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
    let program = agent_program(node)?;
    let warning = context::block_on(async { Ok(node.engine().swarm_leave(args.force, &program).await?) })?;
    if let Some(warning) = warning {
        eprintln!("WARNING: {warning}");
    }
    output::line("Node left the swarm.")?;
    Ok(0)
}

fn update(node: &Node, args: &Update) -> Result<i32> {
    let change = SwarmChange {
        node_cert_expiry_ns: args.cert_expiry,
        dispatcher_heartbeat_ns: args.dispatcher_heartbeat,
        task_history_limit: args.task_history_limit,
        max_snapshots: args.max_snapshots,
        snapshot_interval: args.snapshot_interval,
    };
    change.check()?;
    context::block_on(async { Ok(node.engine().swarm().await?.change(change).await?) })?;
    output::line("Swarm updated.")?;
    Ok(0)
}
