//! A container's networks: what it asked for → what [`skep_net::Net`] is told → what came of it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use skep_net::{
    EndpointIntent, GATEWAY_BRIDGE, Net, NetworkDefinition, NetworkDriver, NetworkId, NetworkRef, Sandbox, SandboxId,
    SandboxIntent,
};

use crate::config::{ContainerConfig, ContainerRecord, EndpointConfig, NetworkMode};
use crate::error::{Error, Result};
use crate::files;
use crate::launch::{DnsSettings, Launch};
use crate::runtime::Runtime;
use crate::sandbox::{FileBind, Namespace};

/// Files that containers with the same network have in common.
const SHARED_FILES: [&str; 3] = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];

/// The network a container got.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) namespace: Namespace,
    pub(crate) sandbox: Option<Sandbox>,
    /// What `host-gateway` means in /etc/hosts.
    pub(crate) host_gateway: Option<Ipv4Addr>,
    /// Networks whose containers have names.
    named: Vec<NetworkId>,
    /// Every network is internal.
    internal: bool,
    /// What comes along with another container's network.
    pub(crate) shared: Option<Shared>,
}

/// What a container has of the one whose network it shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) hostname: Option<String>,
    /// Its names and name servers.
    pub(crate) files: Vec<FileBind>,
}

impl Joined {
    pub(crate) fn has_names(&self) -> bool {
        !self.named.is_empty()
    }

    /// Own addresses, in order; that on the gateway bridge is nobody's business.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        let endpoints = self.sandbox.iter().flat_map(|sandbox| &sandbox.endpoints);
        endpoints.filter(|leg| leg.network_name != GATEWAY_BRIDGE).map(|leg| leg.address.addr()).collect()
    }

    /// The name server's settings, if the container is to have one.
    pub(crate) fn dns_settings(&self, net: &Net, config: &ContainerConfig) -> Option<DnsSettings> {
        self.has_names().then(|| DnsSettings {
            record_files: self.named.iter().map(|network| net.paths().dns_records(network)).collect(),
            servers: match self.internal {
                true => Vec::new(),
                false => config.dns.iter().map(|address| SocketAddr::new(*address, 53)).collect(),
            },
            host_servers: !self.internal && config.dns.is_empty(),
        })
    }

    /// Kernel parameters that are not set together with the network.
    pub(crate) fn other_sysctls(&self, config: &ContainerConfig) -> BTreeMap<String, String> {
        let mut sysctls = config.sysctls.clone();
        if self.sandbox.is_some() {
            sysctls.retain(|name, _| !name.starts_with("net."));
        }
        sysctls
    }
}

/// `bridge`, `host`, `none` and `container:ID` given as a network's name.
pub(crate) fn normalise(config: &mut ContainerConfig) {
    if config.network != NetworkMode::Endpoints || config.endpoints.len() != 1 || config.endpoints[0].overlay {
        return;
    }
    let mode = match config.endpoints[0].network.as_str() {
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        name => match name.strip_prefix("container:") {
            Some(other) => NetworkMode::Container(other.to_owned()),
            None => {
                if name == "default" {
                    "bridge".clone_into(&mut config.endpoints[0].network);
                }
                return;
            }
        },
    };
    config.network = mode;
    config.endpoints.clear();
}

impl Runtime {
    /// Gives the container its network.
    pub(crate) fn join_networks(&self, record: &ContainerRecord) -> Result<Joined> {
        let without = |namespace, shared| Joined {
            namespace,
            sandbox: None,
            host_gateway: None,
            named: Vec::new(),
            internal: false,
            shared,
        };
        match &record.config.network {
            NetworkMode::Host => return Ok(without(Namespace::Host, None)),
            NetworkMode::Container(other) => {
                let (namespace, shared) = self.shared_network(other)?;
                return Ok(without(namespace, Some(shared)));
            }
            NetworkMode::None | NetworkMode::Endpoints => {}
        }
        let mut intent = SandboxIntent::new(SandboxId::new(&record.id)?, &record.name);
        intent.hostname.clone_from(&record.config.hostname);
        intent.ports.clone_from(&record.resolved.ports);
        intent.sysctls = network_sysctls(&record.config);
        let mut named = Vec::new();
        if record.config.network == NetworkMode::Endpoints {
            for endpoint in wanted_endpoints(&record.config) {
                let local = if endpoint.overlay { None } else { Some(self.local_network(&endpoint.network)?) };
                let leg = leg(record, &endpoint, local.as_ref())?;
                if local.as_ref().is_none_or(NetworkDefinition::has_names) {
                    named.push(leg.network.id().clone());
                }
                intent.endpoints.push(leg);
            }
        } else {
            intent.ports.clear();
        }
        let sandbox = match self.net().connect(&intent) {
            Err(
                skep_net::Error::PortAllocated { .. }
                | skep_net::Error::SubnetExhausted { .. }
                | skep_net::Error::AddressUnavailable { .. },
            ) => {
                // Perhaps a container that was killed has it.
                self.sweep_networks()?;
                self.net().connect(&intent)?
            }
            other => other?,
        };
        let internal = !sandbox.endpoints.is_empty() && !sandbox.endpoints.iter().any(|leg| leg.default_route);
        let gateway = self.net().networks().get("bridge").ok().and_then(|bridge| bridge.gateway);
        Ok(Joined {
            namespace: Namespace::Path(sandbox.namespace.clone()),
            sandbox: Some(sandbox),
            host_gateway: gateway,
            named,
            internal,
            shared: None,
        })
    }

    fn local_network(&self, name: &str) -> Result<NetworkDefinition> {
        let network = self.net().networks().get(name)?;
        match network.driver {
            NetworkDriver::Bridge => Ok(network),
            NetworkDriver::Host | NetworkDriver::Null => Err(Error::InvalidConfig(format!(
                "conflicting options: network {} cannot be combined with other networks",
                network.name
            ))),
        }
    }

    /// The network that another container has, under the name it has: a process' number may be
    /// another's by the time the restart policy makes the next life.
    fn shared_network(&self, other: &str) -> Result<(Namespace, Shared)> {
        let (record, state) = self.record(other)?;
        let launch: Option<Launch> = files::load(&self.paths(&record.id).sandbox())?;
        let launch = launch.filter(|_| state.init.is_some()).ok_or_else(|| {
            Error::InvalidConfig(format!("cannot join network namespace of a non running container: {}", record.id))
        })?;
        let mut files = launch.sandbox.files;
        files.retain(|file| SHARED_FILES.contains(&file.target.as_str()));
        Ok((launch.sandbox.namespaces.network, Shared { hostname: launch.sandbox.hostname, files }))
    }
}

fn wanted_endpoints(config: &ContainerConfig) -> Vec<EndpointConfig> {
    match config.endpoints.is_empty() {
        true => vec![EndpointConfig { network: "bridge".to_owned(), ..EndpointConfig::default() }],
        false => config.endpoints.clone(),
    }
}

fn leg(
    record: &ContainerRecord,
    endpoint: &EndpointConfig,
    local: Option<&NetworkDefinition>,
) -> Result<EndpointIntent> {
    let network = match local {
        Some(definition) => NetworkRef::Local(definition.id.clone()),
        None => NetworkRef::Overlay(NetworkId::new(&endpoint.network)?),
    };
    let mut names = vec![record.name.clone(), files::short(&record.id).to_owned()];
    names.extend(endpoint.aliases.iter().cloned());
    names.extend(record.config.hostname.clone());
    names.sort();
    names.dedup();
    let mac = endpoint.mac.as_deref().map(str::parse).transpose()?;
    Ok(EndpointIntent {
        address: endpoint.address,
        mac,
        aliases: names,
        gateway_priority: endpoint.gateway_priority,
        published: endpoint.published.clone(),
        ..EndpointIntent::new(network)
    })
}

/// Those asked for, and docker's own: low ports and ping need no privilege.
fn network_sysctls(config: &ContainerConfig) -> BTreeMap<String, String> {
    let mut sysctls = BTreeMap::from([
        ("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned()),
        ("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned()),
    ]);
    let given = config.sysctls.iter().filter(|(name, _)| name.starts_with("net."));
    sysctls.extend(given.map(|(name, value)| (name.clone(), value.clone())));
    sysctls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_network(name: &str) -> ContainerConfig {
        let endpoint = EndpointConfig { network: name.to_owned(), ..EndpointConfig::default() };
        let mut config = ContainerConfig { endpoints: vec![endpoint], ..ContainerConfig::default() };
        normalise(&mut config);
        config
    }

    #[test]
    fn special_names_become_modes() {
        assert_eq!(with_network("host").network, NetworkMode::Host);
        assert_eq!(with_network("none").network, NetworkMode::None);
        assert_eq!(with_network("container:x").network, NetworkMode::Container("x".to_owned()));
        assert!(with_network("host").endpoints.is_empty());
        assert_eq!(with_network("default").endpoints[0].network, "bridge");
        assert_eq!(with_network("app").endpoints[0].network, "app");
    }

    #[test]
    fn the_users_sysctls_win() {
        let name = "net.ipv4.ip_unprivileged_port_start".to_owned();
        let mut config = ContainerConfig::default();
        config.sysctls.insert(name.clone(), "1024".to_owned());
        config.sysctls.insert("kernel.shmmax".to_owned(), "1".to_owned());
        let sysctls = network_sysctls(&config);
        assert_eq!(sysctls[&name], "1024");
        assert!(!sysctls.contains_key("kernel.shmmax"));
    }
}
