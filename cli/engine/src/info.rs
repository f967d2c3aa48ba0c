//! Facts of this machine, of this program, and of this node's part in a swarm.

use skep_cluster::api::{InfoResponse, LocalState};
use skep_common::procfs::processor_count;
use skep_runtime::state::Status;

use crate::VERSION;
use crate::docker::info::{Info, Peer, SwarmInfo, Version};
use crate::docker::swarm as docker_swarm;
use crate::engine::Engine;
use crate::error::{Result, chain_of};
use crate::host;

impl Engine {
    /// Everything there is to say; the part about the swarm never fails, it says what failed.
    ///
    /// # Errors
    /// The caller is not root, or the records of containers or images cannot be read.
    pub async fn info(&self) -> Result<Info> {
        let engine = self.clone();
        let machine = tokio::task::spawn_blocking(move || engine.machine_info()).await;
        let mut info = machine.map_err(|failure| {
            crate::Error::new(crate::ErrorKind::Internal, format!("reading this machine was interrupted: {failure}"))
        })??;
        info.swarm = self.swarm_info().await;
        Ok(info)
    }

    /// The facts of this machine alone. Blocks.
    ///
    /// # Errors
    /// As [`Engine::info`].
    pub fn machine_info(&self) -> Result<Info> {
        let runtime = self.runtime()?;
        let containers = runtime.list(true)?;
        let count = |counts: fn(Status) -> bool| {
            containers.iter().filter(|container| counts(container.state.status)).count() as u64
        };
        let host = nix::sys::utsname::uname().ok();
        let text = |value: Option<&std::ffi::OsStr>| {
            value.map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let roots = self.roots();
        Ok(Info {
            id: host::machine_id(),
            containers: containers.len() as u64,
            containers_running: count(|status| matches!(status, Status::Running | Status::Restarting)),
            containers_paused: count(|status| status == Status::Paused),
            containers_stopped: count(|status| {
                !matches!(status, Status::Running | Status::Restarting | Status::Paused)
            }),
            images: runtime.images().list()?.len() as u64,
            driver: "overlay".to_owned(),
            logging_driver: "json-file".to_owned(),
            cgroup_driver: "cgroupfs".to_owned(),
            cgroup_version: Some(host::cgroup_version().to_owned()),
            kernel_version: text(host.as_ref().map(|host| host.release())),
            operating_system: host::operating_system(),
            os_type: "linux".to_owned(),
            architecture: text(host.as_ref().map(|host| host.machine())),
            ncpu: processor_count() as u64,
            mem_total: host::memory_bytes(),
            name: text(host.as_ref().map(|host| host.nodename())),
            server_version: VERSION.to_owned(),
            swarm: inactive(),
            security_options: vec!["name=seccomp,profile=builtin".to_owned()],
            warnings: Some(warnings(&runtime)),
            cgroup_parent: Some(roots.cgroup_parent.clone()),
            load_balancer: Some(host::load_balancer(runtime.net()).to_owned()),
            root_dir: Some(roots.root.to_string_lossy().into_owned()),
            run_root_dir: Some(roots.run_root.to_string_lossy().into_owned()),
            ..Info::default()
        })
    }

    /// This node's part in a swarm.
    pub async fn swarm_info(&self) -> SwarmInfo {
        if !self.is_in_swarm() {
            return inactive();
        }
        let asked = async { self.swarm().await?.info().await };
        match asked.await {
            Ok(info) => info,
            Err(error) => {
                SwarmInfo { local_node_state: "error".to_owned(), error: chain_of(&error), ..SwarmInfo::default() }
            }
        }
    }
}

/// What this program is, and what it runs on.
pub fn version() -> Version {
    let kernel =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    Version {
        version: VERSION.to_owned(),
        api_version: VERSION.to_owned(),
        os: "linux".to_owned(),
        arch: skep_common::host_architecture().to_owned(),
        kernel_version: kernel,
        ..Version::default()
    }
}

fn warnings(runtime: &skep_runtime::Runtime) -> Vec<String> {
    let findings = runtime.net().diagnose().unwrap_or_default();
    findings.iter().map(|finding| format!("{} ({})", finding.problem, finding.remedy)).collect()
}

fn inactive() -> SwarmInfo {
    SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() }
}

/// This node's part in a swarm, as its agent tells it.
pub(crate) fn of_agent(info: &InfoResponse) -> SwarmInfo {
    let state = match info.state() {
        LocalState::Inactive => "inactive",
        LocalState::Pending => "pending",
        LocalState::Active => "active",
        LocalState::Error => "error",
        LocalState::Locked => "locked",
    };
    let managers =
        info.managers.iter().map(|manager| Peer { node_id: manager.node_id.clone(), addr: manager.addr.clone() });
    SwarmInfo {
        node_id: info.node_id.clone(),
        node_addr: Some(info.node_addr.clone()),
        local_node_state: state.to_owned(),
        control_available: info.control_available,
        error: info.error.clone(),
        remote_managers: Some(Some(managers.collect())),
        nodes: Some(info.node_count.into()),
        managers: Some(info.manager_count.into()),
        is_leader: Some(info.is_leader),
        cluster: Some(docker_swarm::ClusterInfo {
            id: info.cluster_id.clone(),
            ..docker_swarm::ClusterInfo::default()
        }),
    }
}
