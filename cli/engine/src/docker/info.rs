//! The machine and this program: `GET /info` and `GET /version`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::swarm::ClusterInfo;
use super::{Maybe, maybe};

/// Facts of the machine, and of its part in a swarm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    #[serde(rename = "ID")]
    pub id: String,
    pub containers: u64,
    pub containers_running: u64,
    pub containers_paused: u64,
    pub containers_stopped: u64,
    pub images: u64,
    pub driver: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_status: Option<Vec<Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugins: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_limit: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_memory: Option<bool>,
    #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "Option::is_none")]
    pub kernel_memory_tcp: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cfs_period: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cfs_quota: Option<bool>,
    #[serde(rename = "CPUShares", skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<bool>,
    #[serde(rename = "CPUSet", skip_serializing_if = "Option::is_none")]
    pub cpu_set: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<bool>,
    #[serde(rename = "IPv4Forwarding", skip_serializing_if = "Option::is_none")]
    pub ipv4_forwarding: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge_nf_iptables: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge_nf_ip6tables: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_fd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_kill_disable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_goroutines: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_time: Option<String>,
    pub logging_driver: String,
    pub cgroup_driver: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_events_listener: Option<i64>,
    pub kernel_version: String,
    pub operating_system: String,
    #[serde(rename = "OSVersion", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(rename = "OSType")]
    pub os_type: String,
    pub architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index_server_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_config: Option<Map<String, Value>>,
    #[serde(rename = "NCPU")]
    pub ncpu: u64,
    pub mem_total: u64,
    #[serde(deserialize_with = "maybe", skip_serializing_if = "Option::is_none")]
    pub generic_resources: Maybe<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_root_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_proxy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_proxy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<String>,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experimental_build: Option<bool>,
    pub server_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtimes: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_runtime: Option<String>,
    pub swarm: SwarmInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_restore_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_binary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containerd_commit: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runc_commit: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_commit: Option<Map<String, Value>>,
    pub security_options: Vec<String>,
    pub warnings: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_root_dir: Option<String>,
}

/// This node's part in a swarm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmInfo {
    #[serde(rename = "NodeID")]
    pub node_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_addr: Option<String>,
    pub local_node_state: String,
    pub control_available: bool,
    pub error: String,
    #[serde(deserialize_with = "maybe", skip_serializing_if = "Option::is_none")]
    pub remote_managers: Maybe<Vec<Peer>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managers: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_leader: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterInfo>,
}

/// A manager.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Peer {
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub addr: String,
}

/// This program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Version {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<Component>>,
    pub version: String,
    pub api_version: String,
    #[serde(rename = "MinAPIVersion", skip_serializing_if = "Option::is_none")]
    pub min_api_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub go_version: Option<String>,
    pub os: String,
    pub arch: String,
    pub kernel_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_time: Option<String>,
}

/// A name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Named {
    pub name: String,
}

/// A part of it that has a version of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Component {
    pub name: String,
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<BTreeMap<String, String>>,
}
