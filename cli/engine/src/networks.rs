//! Networks, of this machine and of the swarm alike: create, inspect, list, remove, prune.

mod list;
mod remove;
mod shape;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skep_cluster::api::{Annotations, CreateNetworkRequest, GetNetworkRequest, IpamConfig, NetworkSpec as SwarmSpec};
use skep_net::{NetworkSpec, NetworkView};

pub use self::list::{ListNetworks, ListedNetworks};
pub use self::remove::{PruneNetworks, PrunedNetworks};
use crate::ErrorKind;
use crate::blocking::aside;
use crate::docker::network::{CreateRequest, Network};
use crate::docker::{refuse, refuse_all};
use crate::engine::Engine;
use crate::error::{Error, Result};

impl Engine {
    /// Makes a network: an overlay in the swarm, a bridge on this machine. Returns its id.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`], [`ErrorKind::NotSupported`], [`ErrorKind::Conflict`] for a name that is taken, and
    /// for an overlay what the swarm says.
    pub async fn create_network(&self, request: &CreateRequest) -> Result<String> {
        let (engine, asked) = (self.clone(), request.clone());
        match aside(move || engine.begin_network(&asked)).await? {
            Some(id) => Ok(id),
            None => self.create_overlay(request).await,
        }
    }

    /// [`Self::create_network`] for who has no async runtime: blocks, and makes a bridge; `None` for an overlay, which
    /// is the swarm's to make.
    ///
    /// # Errors
    /// As [`Self::create_network`].
    pub fn begin_network(&self, request: &CreateRequest) -> Result<Option<String>> {
        refuse_unknown(request)?;
        let driver = if request.driver.is_empty() { "bridge" } else { request.driver.as_str() };
        match (driver, request.scope.as_deref()) {
            ("overlay", _) => Ok(None),
            ("bridge", Some("swarm")) => Err(Error::bad_argument("a swarm-scoped network needs the driver overlay")),
            ("bridge", _) => {
                let spec = bridge(request)?;
                Ok(Some(self.runtime()?.net().networks().create(&spec)?.id.to_string()))
            }
            ("host" | "null" | "none", _) => {
                Err(Error::new(ErrorKind::Forbidden, format!("only one instance of \"{driver}\" network is allowed")))
            }
            (driver, _) => Err(Error::not_found(format!(
                "could not find plugin {driver} in v1 plugin registry: use bridge or overlay"
            ))),
        }
    }

    /// Makes an overlay in the swarm. Returns its id.
    ///
    /// # Errors
    /// [`ErrorKind::BadArgument`], or what the swarm says.
    pub async fn create_overlay(&self, request: &CreateRequest) -> Result<String> {
        let Pools { subnets, gateway, range } = pools(request)?;
        if subnets.len() > 1 {
            return Err(Error::bad_argument("overlay networks have one IPv4 subnet"));
        }
        let text = |address: Option<&dyn ToString>| address.map(ToString::to_string).unwrap_or_default();
        let ipam = subnets.iter().map(|subnet| IpamConfig {
            subnet: subnet.to_string(),
            gateway: text(gateway.as_ref().map(|gateway| gateway as &dyn ToString)),
            range: text(range.as_ref().map(|range| range as &dyn ToString)),
        });
        let labels = request.labels.clone().unwrap_or_default();
        let spec = SwarmSpec {
            annotations: Some(Annotations { name: request.name.clone(), labels: labels.into_iter().collect() }),
            driver: "overlay".to_owned(),
            driver_options: request.options.clone().unwrap_or_default().into_iter().collect(),
            internal: request.internal,
            attachable: request.attachable,
            ingress: request.ingress,
            ipam: ipam.collect(),
        };
        let answer = self.agent().await?.create_network(CreateNetworkRequest { spec: Some(spec) }).await?;
        Ok(answer.network.unwrap_or_default().id)
    }

    /// One network: what this machine has of it, and what the swarm knows.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], or the swarm cannot be asked about one that this machine does not carry.
    pub async fn inspect_network(&self, name: &str) -> Result<Network> {
        let (engine, asked) = (self.clone(), name.to_owned());
        match aside(move || engine.begin_network_inspection(&asked)).await? {
            Some(network) => Ok(network),
            None => self.inspect_overlay(name).await,
        }
    }

    /// [`Self::inspect_network`] for who has no async runtime: blocks, and looks at a network of this machine; `None` for
    /// one that may be the swarm's.
    ///
    /// # Errors
    /// As [`Self::inspect_network`].
    pub fn begin_network_inspection(&self, name: &str) -> Result<Option<Network>> {
        match self.machine_network(name)? {
            Some(view) if view.definition.is_some() => Ok(Some(shape::of_machine(&view))),
            _ if self.is_in_swarm() => Ok(None),
            Some(view) => Ok(Some(shape::of_machine(&view))),
            None => Err(not_found(name)),
        }
    }

    /// A network of the swarm: what the swarm knows, or else what this machine carries of it.
    ///
    /// # Errors
    /// As [`Self::inspect_network`].
    pub async fn inspect_overlay(&self, name: &str) -> Result<Network> {
        let (engine, asked) = (self.clone(), name.to_owned());
        let local = aside(move || engine.machine_network(&asked)).await?;
        let asked = local.as_ref().map_or_else(|| name.to_owned(), |view| view.id.to_string());
        match (self.ask_about(asked).await, &local) {
            (Ok(answer), _) => Ok(shape::of_swarm(&answer, local.as_ref())),
            // A worker cannot ask, but knows what it carries.
            (Err(_), Some(view)) => Ok(shape::of_machine(view)),
            (Err(error), None) if error.kind() == ErrorKind::NotFound => Err(not_found(name)),
            (Err(error), None) => Err(error),
        }
    }

    fn machine_network(&self, name: &str) -> Result<Option<NetworkView>> {
        match self.runtime()?.net().inspect_network(name) {
            Ok(view) => Ok(Some(view)),
            Err(skep_net::Error::NetworkNotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn ask_about(&self, name: String) -> Result<skep_cluster::api::GetNetworkResponse> {
        Ok(self.agent().await?.get_network(GetNetworkRequest { r#ref: name }).await?)
    }
}

fn not_found(name: &str) -> Error {
    Error::not_found(format!("network {name} not found"))
}

/// One of the swarm's networks, as a list shows it.
pub(crate) fn of_swarm(network: &skep_cluster::api::Network) -> Network {
    shape::listed(network)
}

/// Refuses what skep's networks do not have, where it is asked for.
fn refuse_unknown(request: &CreateRequest) -> Result<()> {
    refuse_all(&request.other)?;
    refuse("EnableIPv6", &request.enable_ipv6)?;
    refuse("ConfigOnly", &request.config_only)?;
    refuse("ConfigFrom", &request.config_from)?;
    if request.enable_ipv4 == Some(false) {
        return Err(Error::new(ErrorKind::NotSupported, "EnableIPv4 is not supported: false"));
    }
    let Some(ipam) = &request.ipam else { return Ok(()) };
    refuse("IPAM.Options", &ipam.options)?;
    refuse("IPAM.Driver", &Some(ipam.driver.as_str()).filter(|driver| *driver != "default"))?;
    for config in ipam.config.iter().flatten() {
        refuse("AuxiliaryAddresses", &config.auxiliary_addresses)?;
    }
    Ok(())
}

/// The addresses that a network is to have.
struct Pools {
    subnets: Vec<Ipv4Net>,
    gateway: Option<Ipv4Addr>,
    range: Option<Ipv4Net>,
}

fn pools(request: &CreateRequest) -> Result<Pools> {
    let configs = request.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
    let mut pools = Pools { subnets: Vec::new(), gateway: None, range: None };
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    for config in configs {
        let invalid = |what: &str, text: &str| Error::bad_argument(format!("invalid {what} {text}"));
        if let Some(text) = given(&config.subnet) {
            pools.subnets.push(text.parse().map_err(|_| invalid("subnet", &text))?);
        }
        if let (Some(text), None) = (given(&config.gateway), pools.gateway) {
            pools.gateway = Some(text.parse().map_err(|_| invalid("gateway", &text))?);
        }
        if let (Some(text), None) = (given(&config.ip_range), pools.range) {
            pools.range = Some(text.parse().map_err(|_| invalid("ip-range", &text))?);
        }
    }
    if pools.subnets.is_empty() && (pools.gateway.is_some() || pools.range.is_some()) {
        let what = if pools.gateway.is_none() { "range" } else { "gateway" };
        return Err(Error::bad_argument(format!("no matching subnet for {what}")));
    }
    Ok(pools)
}

fn bridge(request: &CreateRequest) -> Result<NetworkSpec> {
    if request.attachable || request.ingress {
        return Err(Error::bad_argument(
            "--attachable and --ingress are for overlay networks only: add --driver overlay",
        ));
    }
    let Pools { subnets, gateway, range } = pools(request)?;
    if subnets.len() > 1 {
        return Err(Error::bad_argument("bridge networks have one IPv4 subnet"));
    }
    Ok(NetworkSpec {
        name: request.name.clone(),
        subnet: subnets.first().copied(),
        gateway,
        ip_range: range,
        internal: request.internal,
        labels: request.labels.clone().unwrap_or_default(),
        options: request.options.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<NetworkSpec> {
        let request: CreateRequest = serde_json::from_str(body).unwrap();
        refuse_unknown(&request)?;
        bridge(&request)
    }

    #[test]
    fn overlays_are_the_swarms_to_make() {
        let (root, run_root) = ("/nowhere/root".into(), "/nowhere/run".into());
        let engine = Engine::new(skep_runtime::Roots { root, run_root, cgroup_parent: "/skep".to_owned() });
        let begun = |driver: &str| {
            let request = CreateRequest { name: "n".to_owned(), driver: driver.to_owned(), ..CreateRequest::default() };
            engine.begin_network(&request)
        };
        assert_eq!(begun("overlay").unwrap(), None);
        assert_eq!(begun("host").unwrap_err().kind(), ErrorKind::Forbidden);
        assert_eq!(begun("vxlan").unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn reads_a_bridge() {
        let spec = read(r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"10.9.0.0/24","Gateway":"10.9.0.1"}]}}"#).unwrap();
        assert_eq!(spec.subnet.map(|subnet| subnet.to_string()).as_deref(), Some("10.9.0.0/24"));
        assert_eq!(spec.gateway, Some(Ipv4Addr::new(10, 9, 0, 1)));
        assert!(read(r#"{"Name":"n"}"#).unwrap().subnet.is_none());
    }

    #[test]
    fn what_a_network_cannot_have_is_refused() {
        for (body, words) in [
            (r#"{"Name":"n","EnableIPv6":true}"#, "EnableIPv6 is not supported: true"),
            (r#"{"Name":"n","IPAM":{"Driver":"dhcp"}}"#, "IPAM.Driver is not supported: \"dhcp\""),
            (r#"{"Name":"n","Attachable":true}"#, "for overlay networks only"),
            (r#"{"Name":"n","IPAM":{"Config":[{"Gateway":"10.9.0.1"}]}}"#, "no matching subnet for gateway"),
            (r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"x"}]}}"#, "invalid subnet x"),
            (r#"{"Name":"n","Surprise":{"of":"theirs"}}"#, "Surprise is not supported"),
        ] {
            let error = read(body).unwrap_err().to_string();
            assert!(error.contains(words), "{body}: {error}");
        }
        read(r#"{"Name":"n","Surprise":{"of":""},"ConfigFrom":null,"IPAM":{"Driver":"default"}}"#).unwrap();
    }
}
