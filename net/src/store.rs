//! Definitions of this machine's networks, one JSON file each below ROOT/networks.
//!
//! Used by `skep network …`, `skep run --network` and by [`crate::Net`]. Invariants: names are
//! unique; subnets of two networks never overlap; `bridge`, `host` and `none` always exist. Every
//! change is made under one lock, so concurrent commands see each other's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use skep_common::files::{FileLock, load_all, remove_replaced};
use skep_common::names::random_id;

use crate::error::{Error, Result};
use crate::files;
use crate::ids::{self, NetworkId};
use crate::{ipam, names};

/// How a local network works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkDriver {
    /// A Linux bridge with NAT.
    Bridge,
    /// The host's own network: no sandbox is made.
    Host,
    /// A loopback and nothing else.
    Null,
}

/// A network of this machine, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDefinition {
    /// Version of this format: 1.
    pub version: u32,
    /// Its id: 64 hexadecimal digits.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// How it works.
    pub driver: NetworkDriver,
    /// When it was made, in seconds since 1970.
    pub created_seconds: u64,
    /// Its subnet; bridge networks have one always, others never.
    #[serde(default)]
    pub subnet: Option<Ipv4Net>,
    /// The bridge's own address in the subnet.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// Part of the subnet from which addresses are taken.
    #[serde(default)]
    pub ip_range: Option<Ipv4Net>,
    /// Name of the Linux bridge.
    #[serde(default)]
    pub bridge: Option<String>,
    /// No way out, and none in.
    #[serde(default)]
    pub internal: bool,
    /// Whether its containers reach each other.
    #[serde(default = "yes")]
    pub icc: bool,
    /// Whether its containers appear as the host outside.
    #[serde(default = "yes")]
    pub masquerade: bool,
    /// Link MTU in octets; `None` for 1500.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Driver options as given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

impl NetworkDefinition {
    /// Whether it is one of `bridge`, `host` and `none`.
    pub(crate) fn is_predefined(&self) -> bool {
        is_predefined(&self.name)
    }

    /// Whether containers find each other by name on it: on all bridges but the default one.
    pub fn has_names(&self) -> bool {
        self.driver == NetworkDriver::Bridge && !self.is_predefined() && self.name != names::GATEWAY_BRIDGE
    }
}

/// A bridge network to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// Its subnet; `None` for the next free one of the default pools.
    pub subnet: Option<Ipv4Net>,
    /// The bridge's address; `None` for the subnet's first.
    pub gateway: Option<Ipv4Addr>,
    /// Part of the subnet from which addresses are taken.
    pub ip_range: Option<Ipv4Net>,
    /// No way out, and none in.
    pub internal: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Driver options, docker's names: `com.docker.network.driver.mtu`,
    /// `com.docker.network.bridge.enable_icc`, `com.docker.network.bridge.enable_ip_masquerade`.
    pub options: BTreeMap<String, String>,
}

/// The networks defined on this machine.
#[derive(Debug, Clone)]
pub struct NetworkStore {
    directory: PathBuf,
}

impl NetworkStore {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Every network, the predefined ones first, then by name.
    ///
    /// # Errors
    /// When the directory cannot be read or written, or the host's routes cannot be read.
    pub fn list(&self) -> Result<Vec<NetworkDefinition>> {
        let all = load_all(&self.directory)?;
        if has_predefined(&all) {
            return Ok(sorted(all));
        }
        let _lock = self.lock()?;
        self.with_predefined().map(sorted)
    }

    /// The network with this name, id, or unique prefix of an id, in that order.
    ///
    /// # Errors
    /// [`Error::NetworkNotFound`], [`Error::NetworkAmbiguous`].
    pub fn get(&self, name: &str) -> Result<NetworkDefinition> {
        find(self.list()?, names::of_network(name))
    }

    /// Makes a bridge network.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::NetworkNameTaken`], [`Error::SubnetOverlaps`],
    /// [`Error::InvalidSubnet`], [`Error::PoolExhausted`].
    pub fn create(&self, spec: &NetworkSpec) -> Result<NetworkDefinition> {
        if is_predefined(&spec.name) {
            return Err(Error::NetworkPredefined { name: spec.name.clone(), verb: "created" });
        }
        let _lock = self.lock()?;
        let existing = self.with_predefined()?;
        let definition = match names::of_network(&spec.name) {
            // Users make it to choose its subnet.
            names::GATEWAY_BRIDGE => define(&gateway_spec(spec), Some(names::GATEWAY_BRIDGE), &existing)?,
            _ => define(spec, None, &existing)?,
        };
        self.write(&definition)?;
        Ok(definition)
    }

    /// The gateway bridge network of overlays, made when there is none.
    pub(crate) fn gateway_bridge(&self) -> Result<NetworkDefinition> {
        let _lock = self.lock()?;
        let existing = self.with_predefined()?;
        if let Some(found) = existing.iter().find(|network| network.name == names::GATEWAY_BRIDGE) {
            return Ok(found.clone());
        }
        let definition = define(&gateway_spec(&NetworkSpec::default()), Some(names::GATEWAY_BRIDGE), &existing)?;
        self.write(&definition)?;
        Ok(definition)
    }

    /// Forgets a network. Whether it is in use is for [`crate::Net::remove_network`] to check.
    pub(crate) fn forget(&self, id: &NetworkId) -> Result<()> {
        let _lock = self.lock()?;
        Ok(remove_replaced(&self.file(id))?)
    }

    fn with_predefined(&self) -> Result<Vec<NetworkDefinition>> {
        let mut all: Vec<NetworkDefinition> = load_all(&self.directory)?;
        for (name, driver) in PREDEFINED {
            if all.iter().any(|network| network.name == name) {
                continue;
            }
            let definition = match driver {
                NetworkDriver::Bridge => {
                    let spec = NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() };
                    define(&spec, Some(names::DEFAULT_BRIDGE), &all)?
                }
                NetworkDriver::Host | NetworkDriver::Null => blank(name, driver, &self.directory)?,
            };
            self.write(&definition)?;
            all.push(definition);
        }
        Ok(all)
    }

    fn write(&self, definition: &NetworkDefinition) -> Result<()> {
        files::store(&self.file(&definition.id), definition)
    }

    fn file(&self, id: &NetworkId) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }

    fn lock(&self) -> Result<FileLock> {
        Ok(FileLock::exclusive(&self.directory.join(".lock"))?)
    }
}

const ICC_OPTION: &str = "com.docker.network.bridge.enable_icc";

/// The gateway bridge as a user asked for it: containers of different overlays are kept apart on it unless they are
/// not meant to be.
fn gateway_spec(asked: &NetworkSpec) -> NetworkSpec {
    let mut spec = NetworkSpec { name: names::GATEWAY_BRIDGE.to_owned(), ..asked.clone() };
    spec.options.entry(ICC_OPTION.to_owned()).or_insert_with(|| "false".to_owned());
    spec
}

const PREDEFINED: [(&str, NetworkDriver); 3] =
    [("bridge", NetworkDriver::Bridge), ("host", NetworkDriver::Host), ("none", NetworkDriver::Null)];

fn is_predefined(name: &str) -> bool {
    PREDEFINED.iter().any(|(predefined, _)| *predefined == name)
}

fn has_predefined(all: &[NetworkDefinition]) -> bool {
    PREDEFINED.iter().all(|(name, _)| all.iter().any(|network| network.name == *name))
}

fn sorted(mut all: Vec<NetworkDefinition>) -> Vec<NetworkDefinition> {
    all.sort_by(|a, b| (!a.is_predefined(), &a.name).cmp(&(!b.is_predefined(), &b.name)));
    all
}

fn find(all: Vec<NetworkDefinition>, name: &str) -> Result<NetworkDefinition> {
    if let Some(found) = all.iter().find(|network| network.name == name || network.id.as_str() == name) {
        return Ok(found.clone());
    }
    let mut matching = all.into_iter().filter(|network| network.id.as_str().starts_with(name));
    match (matching.next(), matching.count()) {
        (Some(found), 0) if !name.is_empty() => Ok(found),
        (Some(_), more) if !name.is_empty() => {
            Err(Error::NetworkAmbiguous { prefix: name.to_owned(), count: more + 1 })
        }
        _ => Err(Error::NetworkNotFound { name: name.to_owned() }),
    }
}

/// A whole definition from a spec: subnet chosen or checked against the others, gateway, options.
fn define(spec: &NetworkSpec, bridge: Option<&str>, existing: &[NetworkDefinition]) -> Result<NetworkDefinition> {
    if !ids::is_name(&spec.name) {
        return Err(Error::InvalidName { kind: "network name", value: spec.name.clone() });
    }
    if existing.iter().any(|network| network.name == spec.name) {
        return Err(Error::NetworkNameTaken { name: spec.name.clone() });
    }
    let id = NetworkId::new(random_id())?;
    let bridge = bridge.map_or_else(|| names::bridge(&id), str::to_owned);
    let subnet = match spec.subnet {
        Some(subnet) => subnet.trunc(),
        None => free_subnet(existing, &bridge)?,
    };
    let overlapping =
        existing.iter().find(|network| network.subnet.is_some_and(|other| ipam::overlap(&subnet, &other)));
    if let Some(NetworkDefinition { name, subnet: Some(other), .. }) = overlapping {
        return Err(Error::SubnetOverlaps { subnet, other: format!("network {name} ({other})") });
    }
    let unfit = |reason: String| Error::InvalidSubnet { network: spec.name.clone(), reason };
    let gateway = match spec.gateway {
        Some(gateway) => gateway,
        None => ipam::default_gateway(&subnet).ok_or_else(|| unfit(format!("{subnet} has no room for hosts")))?,
    };
    if subnet.prefix_len() > 30 || !ipam::is_host_address(&subnet, gateway) {
        return Err(unfit(format!("{gateway} cannot be the gateway of {subnet}")));
    }
    if spec.ip_range.is_some_and(|range| !subnet.contains(&range)) {
        return Err(unfit(format!("the address range is outside of {subnet}")));
    }
    Ok(NetworkDefinition {
        version: 1,
        id,
        name: spec.name.clone(),
        driver: NetworkDriver::Bridge,
        created_seconds: now_seconds(),
        subnet: Some(subnet),
        gateway: Some(gateway),
        ip_range: spec.ip_range,
        bridge: Some(bridge),
        internal: spec.internal,
        icc: flag(spec, ICC_OPTION)?,
        masquerade: flag(spec, "com.docker.network.bridge.enable_ip_masquerade")?,
        mtu: mtu(spec)?,
        labels: spec.labels.clone(),
        options: spec.options.clone(),
    })
}

fn free_subnet(existing: &[NetworkDefinition], bridge: &str) -> Result<Ipv4Net> {
    let ours = existing.iter().filter_map(|network| network.subnet);
    // A route of the very bridge is not in the way: a bridge outlives the loss of its definition.
    let routes = crate::observe::host_routes()?;
    let foreign = routes.iter().filter(|route| route.device != bridge).map(|route| route.destination);
    let taken: Vec<Ipv4Net> = ours.chain(foreign.filter(|route| route.prefix_len() > 0)).collect();
    ipam::default_pools().iter().find_map(|pool| pool.first_free(&taken)).ok_or(Error::PoolExhausted)
}

fn flag(spec: &NetworkSpec, option: &str) -> Result<bool> {
    match spec.options.get(option).map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(value) => Err(Error::InvalidSubnet {
            network: spec.name.clone(),
            reason: format!("option {option}={value} is neither true nor false"),
        }),
    }
}

fn mtu(spec: &NetworkSpec) -> Result<Option<u32>> {
    let Some(text) = spec.options.get("com.docker.network.driver.mtu") else { return Ok(None) };
    match text.parse() {
        Ok(mtu @ 68..=65535) => Ok(Some(mtu)),
        _ => Err(Error::InvalidSubnet {
            network: spec.name.clone(),
            reason: format!("MTU {text} is not between 68 and 65535"),
        }),
    }
}

fn blank(name: &str, driver: NetworkDriver, directory: &Path) -> Result<NetworkDefinition> {
    tracing::debug!(name, directory = %directory.display(), "defining network");
    Ok(NetworkDefinition {
        version: 1,
        id: NetworkId::new(random_id())?,
        name: name.to_owned(),
        driver,
        created_seconds: now_seconds(),
        subnet: None,
        gateway: None,
        ip_range: None,
        bridge: None,
        internal: false,
        icc: true,
        masquerade: true,
        mtu: None,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    })
}

#[expect(clippy::disallowed_methods, reason = "when a network was made is only shown")]
fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
