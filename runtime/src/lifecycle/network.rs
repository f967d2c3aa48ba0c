//! A container's networks: what it asked for → what [`skep_net::Net`] is told → what came of it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use skep_net::{
    Endpoint, EndpointIntent, GATEWAY_BRIDGE, Net, NetworkDefinition, NetworkDriver, NetworkId, NetworkRef, Sandbox,
    SandboxId, SandboxIntent,
};

use crate::error::{Error, Result};
use crate::files;
use crate::kernel::{FileBind, Namespace};
use crate::lifecycle::launch::{DnsSettings, Launch};
use crate::records::config::{ContainerConfig, ContainerRecord, EndpointConfig, NetworkMode};
use crate::runtime::Runtime;

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

    /// Own addresses, in order, at which others of its networks find it: none on the gateway bridge, nor, where there is
    /// another, on the network of the routing mesh.
    pub(crate) fn addresses(&self, config: &ContainerConfig) -> Vec<Ipv4Addr> {
        self.sandbox.as_ref().map_or_else(Vec::new, |sandbox| own_addresses(sandbox, config))
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
        let gateway = host_gateway(&sandbox)
            .or_else(|| self.net().networks().get("bridge").ok().and_then(|bridge| bridge.gateway));
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
        let launch: Option<Launch> = files::load(&self.paths(&record.id).launch())?;
        let launch = launch.filter(|_| state.init.is_some()).ok_or_else(|| {
            Error::InvalidConfig(format!("cannot join network namespace of a non running container: {}", record.id))
        })?;
        let mut files = launch.container.files;
        files.retain(|file| SHARED_FILES.contains(&file.target.as_str()));
        Ok((launch.container.namespaces.network, Shared { hostname: launch.container.hostname, files }))
    }
}

fn own_addresses(sandbox: &Sandbox, config: &ContainerConfig) -> Vec<Ipv4Addr> {
    let is_mesh = |leg: &Endpoint| {
        let asked = config.endpoints.iter().find(|endpoint| endpoint.network == leg.network.as_str());
        leg.overlay && asked.is_some_and(|endpoint| !endpoint.published.is_empty())
    };
    let legs: Vec<&Endpoint> = sandbox.endpoints.iter().filter(|leg| leg.network_name != GATEWAY_BRIDGE).collect();
    let (mesh, own): (Vec<&Endpoint>, Vec<&Endpoint>) = legs.into_iter().partition(|leg| is_mesh(leg));
    let found = if own.is_empty() { mesh } else { own };
    found.into_iter().map(|leg| leg.address.addr()).collect()
}

/// Where the container reaches this machine: by its way out, or else by the bridge it is on.
fn host_gateway(sandbox: &Sandbox) -> Option<Ipv4Addr> {
    let out = sandbox.endpoints.iter().find(|leg| leg.default_route);
    let local = || sandbox.endpoints.iter().find(|leg| !leg.overlay);
    out.or_else(local).and_then(|leg| leg.gateway)
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
    let mut names = vec![record.name.clone(), skep_common::names::short_id(&record.id).to_owned()];
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
#[allow(clippy::unwrap_used)]
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

    fn endpoint(network: &str, name: &str, overlay: bool, last: u8) -> Endpoint {
        Endpoint {
            network: NetworkId::new(network).unwrap(),
            network_name: name.to_owned(),
            overlay,
            interface: "eth0".to_owned(),
            mac: skep_net::mac_of(Ipv4Addr::LOCALHOST),
            address: format!("10.0.{last}.5/24").parse().unwrap(),
            gateway: Some(Ipv4Addr::new(10, 0, last, 1)),
            default_route: name == GATEWAY_BRIDGE || name == "home",
            mtu: 1500,
            aliases: Vec::new(),
        }
    }

    fn sandbox(endpoints: Vec<Endpoint>) -> Sandbox {
        Sandbox {
            id: SandboxId::new("c").unwrap(),
            name: "c".to_owned(),
            namespace: "/nowhere".into(),
            endpoints,
            ports: Vec::new(),
            dns: None,
        }
    }

    #[test]
    fn a_container_is_found_on_its_own_networks_and_finds_the_host_on_its_way_out() {
        let published = skep_net::PublishedPort { published: 8080, target: 80, protocol: skep_net::PortProtocol::Tcp };
        let mesh = EndpointConfig {
            network: "ing".to_owned(),
            overlay: true,
            published: vec![published],
            ..EndpointConfig::default()
        };
        let config = ContainerConfig { endpoints: vec![mesh], ..ContainerConfig::default() };
        let (app, ingress) = (endpoint("app", "app", true, 1), endpoint("ing", "ingress", true, 2));
        let out = endpoint("gw", GATEWAY_BRIDGE, false, 3);
        let task = sandbox(vec![app, ingress.clone(), out.clone()]);
        assert_eq!(own_addresses(&task, &config), [Ipv4Addr::new(10, 0, 1, 5)]);
        assert_eq!(host_gateway(&task), Some(Ipv4Addr::new(10, 0, 3, 1)));
        let only_published = sandbox(vec![ingress, out]);
        assert_eq!(own_addresses(&only_published, &config), [Ipv4Addr::new(10, 0, 2, 5)]);
        let two = sandbox(vec![endpoint("n", "near", false, 4), endpoint("h", "home", false, 5)]);
        assert_eq!(host_gateway(&two), Some(Ipv4Addr::new(10, 0, 5, 1)));
        assert_eq!(host_gateway(&sandbox(vec![endpoint("n", "near", false, 4)])), Some(Ipv4Addr::new(10, 0, 4, 1)));
        assert_eq!(host_gateway(&sandbox(Vec::new())), None);
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
