//! What every command starts from: where this node is, and handles on it.

use std::future::Future;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use skep_engine::Engine;
use skep_net::Backend;
use skep_runtime::{Roots, Runtime};

use crate::args::Global;

/// The node that a command works on.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    engine: Engine,
    /// `-D` and `-l`, to be passed on to an agent that is started.
    pub log_level: String,
}

impl Node {
    /// From the global flags.
    pub(crate) fn new(global: &Global, log_level: String) -> Result<Self> {
        let absolute = |path: &PathBuf| {
            std::path::absolute(path).with_context(|| format!("{} cannot be made an absolute path", path.display()))
        };
        let cgroup_parent = match global.cgroup_parent.starts_with('/') {
            true => global.cgroup_parent.clone(),
            false => format!("/{}", global.cgroup_parent),
        };
        if cgroup_parent.split('/').any(|part| part == "..") {
            bail!("invalid cgroup parent {cgroup_parent}: it must not lead out of the cgroup tree");
        }
        let roots = Roots { root: absolute(&global.root)?, run_root: absolute(&global.run_root)?, cgroup_parent };
        Ok(Self { engine: Engine::new(roots).with_load_balancer(load_balancer()), log_level })
    }

    /// Its use cases.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its containers.
    pub(crate) fn runtime(&self) -> Result<Runtime> {
        Ok(self.engine.runtime()?)
    }
}

/// `SKEP_LOAD_BALANCER`: `ipvs` or `nftables`, for whoever does not want what the kernel's abilities lead to.
fn load_balancer() -> Option<Backend> {
    match std::env::var("SKEP_LOAD_BALANCER").as_deref() {
        Ok("ipvs") => Some(Backend::Ipvs),
        Ok("nftables") => Some(Backend::Nftables),
        _ => None,
    }
}

/// Runs something async to its end: pulls, and what is asked of the swarm's agent. What concerns this machine only is
/// done without: threads that have to be started would be a good part of the start of a container.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    to_end(tokio::runtime::Builder::new_multi_thread().worker_threads(2), future)
}

/// Runs the agent to its end, on all of the machine's processors.
pub(crate) fn serve<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    to_end(tokio::runtime::Builder::new_multi_thread().thread_name("agent"), future)
}

fn to_end<T>(runtime: &mut tokio::runtime::Builder, future: impl Future<Output = Result<T>>) -> Result<T> {
    install_crypto();
    let runtime = runtime.enable_all().build().context("cannot start the async runtime")?;
    let result = runtime.block_on(future);
    // Blocking reads that nobody waits for any more must not hold up the end of the command.
    runtime.shutdown_background();
    result
}

/// TLS with ring, once for the whole process.
pub(crate) fn install_crypto() {
    // Fails only if it was done before.
    rustls::crypto::ring::default_provider().install_default().ok();
}

/// What the user's environment says about registries.
pub(crate) fn environment() -> skep_image::Environment {
    skep_image::Environment::new(|name| std::env::var_os(name), rustix::process::getuid().as_raw())
}
