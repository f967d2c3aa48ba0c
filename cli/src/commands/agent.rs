//! `agent`: this node's part in the swarm, in the foreground.
//!
//! `swarm init` and `swarm join` start it detached; systemd or a person starts it after a reboot. Containers do not
//! depend on it: it may end at any time, and the next one adopts them.

use anyhow::Result;
use skep_engine::swarm::serve::Serving;
use skep_image::PullOptions;

use crate::args::system::Agent;
use crate::context::{self, Node};

/// `agent`
pub(super) fn run(node: &Node, args: &Agent) -> Result<i32> {
    node.engine().require_root()?;
    // Out of the session of whoever started it: a terminal that closes takes its session with it.
    nix::unistd::setsid().ok();
    let serving = Serving {
        registries: Box::new(|| PullOptions::for_environment(&context::environment())),
        time_scale: time_scale(),
        exit_when_idle: args.exit_when_idle,
    };
    context::serve(async { Ok(node.engine().serve_swarm(serving).await?) })?;
    Ok(0)
}

/// By how much `SKEP_TIME_SCALE` stretches the swarm's time limits, for slow (emulated) machines.
fn time_scale() -> Option<f64> {
    std::env::var("SKEP_TIME_SCALE").ok().and_then(|text| text.parse().ok())
}
