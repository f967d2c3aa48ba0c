//! `agent`: this node's part in the swarm, in the foreground.
//!
//! `swarm init` and `swarm join` start it detached; systemd or a person starts it after a reboot. Containers do not
//! depend on it: it may end at any time, and the next one adopts them.

use std::sync::Arc;

use anyhow::{Context, Result};
use skep_cluster::node as swarm_node;
use skep_cluster::node::NodeConfig;
use skep_cluster::surroundings::Surroundings;
use skep_cluster::timing::Timing;
use skep_engine::containers::leases::janitor;
use skep_engine::executor::NodeExecutor;
use skep_image::PullOptions;

use crate::args::system::Agent;
use crate::context::{self, Node};

/// `agent`
pub fn run(node: &Node, args: &Agent) -> Result<i32> {
    node.engine().require_root()?;
    context::install_crypto();
    // Out of the session of whoever started it: a terminal that closes takes its session with it.
    nix::unistd::setsid().ok();
    let runtime = node.runtime()?;
    for (container, error) in runtime.recover()? {
        tracing::warn!(container, %error, "not started again after the reboot");
    }
    let roots = node.roots();
    let cleaner = janitor(node.engine().clone(), runtime.clone());
    let executor = NodeExecutor::new(runtime, Box::new(|| PullOptions::for_environment(&context::environment())))
        .context("cannot watch containers")?;
    let config = NodeConfig {
        root: roots.root.clone(),
        run_root: roots.run_root.clone(),
        executor: Arc::new(executor),
        idle_exit: args.exit_when_idle,
        timing: timing(),
        surroundings: Surroundings::system(),
    };
    let asynchronous = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("agent")
        .build()
        .context("cannot start the async runtime")?;
    let ran = asynchronous.block_on(async {
        let mut beside = tokio::task::JoinSet::new();
        beside.spawn(cleaner);
        let ran = swarm_node::run(config).await;
        beside.shutdown().await;
        ran
    });
    asynchronous.shutdown_background();
    ran?;
    Ok(0)
}

/// The swarm's time limits, stretched by the environment variable `SKEP_TIME_SCALE` for slow (emulated) machines.
fn timing() -> Timing {
    let factor = std::env::var("SKEP_TIME_SCALE").ok().and_then(|text| text.parse().ok());
    factor.map_or_else(Timing::default, Timing::scaled)
}
