//! Flags of `service update`.

use clap::Args;
use skep_engine::docker::create::Ulimit;
use skep_engine::mount::MountSpec;

use super::service::{Common, Ports, Words};
use crate::parse::network::{self, NetworkSpec};
use crate::parse::{env, mount, options, port};

/// `service update`
#[derive(Debug, Args)]
#[command(override_usage = "[OPTIONS] SERVICE")]
pub(crate) struct Update {
    /// Flags that `service create` has as they are.
    #[command(flatten)]
    pub common: Common,
    /// Service command args
    #[arg(long, value_name = "command", value_parser = options::words)]
    pub args: Option<Words>,
    /// Add or update a placement constraint
    #[arg(long, value_name = "list")]
    pub constraint_add: Vec<String>,
    /// Remove a constraint
    #[arg(long, value_name = "list")]
    pub constraint_rm: Vec<String>,
    /// Add or update a container label
    #[arg(long, value_name = "list", value_parser = env::label)]
    pub container_label_add: Vec<String>,
    /// Remove a container label by its key
    #[arg(long, value_name = "list")]
    pub container_label_rm: Vec<String>,
    /// Add or update a custom DNS server
    #[arg(long, value_name = "list", value_parser = options::address)]
    pub dns_add: Vec<std::net::IpAddr>,
    /// Add or update a DNS option
    #[arg(long, value_name = "list")]
    pub dns_option_add: Vec<String>,
    /// Remove a DNS option
    #[arg(long, value_name = "list")]
    pub dns_option_rm: Vec<String>,
    /// Remove a custom DNS server
    #[arg(long, value_name = "list", value_parser = options::address)]
    pub dns_rm: Vec<std::net::IpAddr>,
    /// Add or update a custom DNS search domain
    #[arg(long, value_name = "list")]
    pub dns_search_add: Vec<String>,
    /// Remove a DNS search domain
    #[arg(long, value_name = "list")]
    pub dns_search_rm: Vec<String>,
    /// Add or update an environment variable
    #[arg(long, value_name = "list", value_parser = env::variable)]
    pub env_add: Vec<String>,
    /// Remove an environment variable
    #[arg(long, value_name = "list")]
    pub env_rm: Vec<String>,
    /// Force update even if no changes require it
    #[arg(long)]
    pub force: bool,
    /// Add an additional supplementary user group to the container
    #[arg(long, value_name = "list")]
    pub group_add: Vec<String>,
    /// Remove a previously added supplementary user group from the container
    #[arg(long, value_name = "list")]
    pub group_rm: Vec<String>,
    /// Add a custom host-to-IP mapping ("host:ip")
    #[arg(long, value_name = "list", value_parser = options::host)]
    pub host_add: Vec<(String, String)>,
    /// Remove a custom host-to-IP mapping ("host:ip")
    #[arg(long, value_name = "list")]
    pub host_rm: Vec<String>,
    /// Service image tag
    #[arg(long, value_name = "string")]
    pub image: Option<String>,
    /// Add or update a service label
    #[arg(long, value_name = "list", value_parser = env::label)]
    pub label_add: Vec<String>,
    /// Remove a label by its key
    #[arg(long, value_name = "list")]
    pub label_rm: Vec<String>,
    /// Add or update a mount on a service
    #[arg(long, value_name = "mount", value_parser = mount::long)]
    pub mount_add: Vec<MountSpec>,
    /// Remove a mount by its target path
    #[arg(long, value_name = "list")]
    pub mount_rm: Vec<String>,
    /// Add a network
    #[arg(long, value_name = "network", value_parser = network::network)]
    pub network_add: Vec<NetworkSpec>,
    /// Remove a network
    #[arg(long, value_name = "list")]
    pub network_rm: Vec<String>,
    /// Add a placement preference
    #[arg(long, value_name = "pref")]
    pub placement_pref_add: Vec<String>,
    /// Remove a placement preference
    #[arg(long, value_name = "pref")]
    pub placement_pref_rm: Vec<String>,
    /// Add or update a published port
    #[arg(long, value_name = "port", value_parser = port::service)]
    pub publish_add: Vec<Ports>,
    /// Remove a published port by its target port
    #[arg(long, value_name = "port", value_parser = port::service)]
    pub publish_rm: Vec<Ports>,
    /// Rollback to previous specification
    #[arg(long = "rollback")]
    pub roll_back: bool,
    /// Add or update a Sysctl option
    #[arg(long, value_name = "list", value_parser = env::pair)]
    pub sysctl_add: Vec<String>,
    /// Remove a Sysctl option
    #[arg(long, value_name = "list")]
    pub sysctl_rm: Vec<String>,
    /// Add or update a ulimit option
    #[arg(long, value_name = "ulimit", value_parser = options::ulimit)]
    pub ulimit_add: Vec<Ulimit>,
    /// Remove a ulimit option
    #[arg(long, value_name = "list")]
    pub ulimit_rm: Vec<String>,
    /// The service
    #[arg(value_name = "SERVICE")]
    pub service: String,
}
