//! The crate's front door: containers' sandboxes and the node's overlay data plane.
//!
//! Called by `runtime` (connect, disconnect, redirect_dns, gc), by the swarm agent (apply_node,
//! teardown_node) and by `cli` (inspect, diagnose). All calls block; an async caller uses
//! `spawn_blocking`. Invariant: intents are on disk before the kernel changes, and every change is
//! made under one lock, so each call finds the kernel as the intents say, or makes it so.

use std::fs;

use skep_common::PortProtocol;
use skep_common::files::{FileError, FileLock, load, load_all, remove_replaced};

use crate::diff::{self, Op};
use crate::dns::records;
use crate::error::{Error, Result};
use crate::files::{self, NetPaths};
use crate::ids::{NetworkId, SandboxId};
use crate::intent::{DnsPorts, NetworkRef, SandboxIntent};
use crate::linux::Linux;
use crate::model::{Place, Plan, Reach, Scope, Space};
use crate::netlink::Protocol;
use crate::netns::outside_of_event_loops;
use crate::nft::foreign;
use crate::results::{Backend, Sandbox};
use crate::state::{self, SandboxRecord, State};
use crate::store::{NetworkDefinition, NetworkStore};
use crate::{apply, names, observe, plan, ports, resolve};

/// The networks of one machine (or of one of the nodes on it).
#[derive(Debug, Clone)]
pub struct Net {
    pub(crate) paths: NetPaths,
    pub(crate) networks: NetworkStore,
    pub(crate) chosen_balancer: Option<Backend>,
}

impl Net {
    /// Opens the networks below two roots, whose directories are made. Touches no kernel state.
    ///
    /// # Errors
    /// [`Error::File`] when a directory cannot be made.
    pub fn open(paths: NetPaths) -> Result<Self> {
        for directory in [paths.networks(), paths.sandboxes(), paths.namespaces()] {
            fs::create_dir_all(&directory).map_err(FileError::context("create directory", directory))?;
        }
        let networks = NetworkStore::new(paths.networks());
        Ok(Self { paths, networks, chosen_balancer: None })
    }

    /// Balances services in this way, whatever the kernel offers; `None` takes what is best there.
    #[must_use]
    pub fn with_load_balancer(mut self, chosen: Option<Backend>) -> Self {
        self.chosen_balancer = chosen;
        self
    }

    /// Where state is kept.
    pub fn paths(&self) -> &NetPaths {
        &self.paths
    }

    /// The networks defined on this machine.
    pub fn networks(&self) -> &NetworkStore {
        &self.networks
    }

    /// Gives a container its network, or brings it to a changed intent. Doing it twice is once.
    ///
    /// # Errors
    /// Any; what was done is undone first.
    pub fn connect(&self, intent: &SandboxIntent) -> Result<Sandbox> {
        outside_of_event_loops(|| self.connect_now(intent))
    }

    fn connect_now(&self, intent: &SandboxIntent) -> Result<Sandbox> {
        intent.validate()?;
        if intent.endpoints.iter().any(|endpoint| matches!(endpoint.network, NetworkRef::Overlay(_))) {
            self.networks.gateway_bridge()?;
        }
        let _lock = FileLock::exclusive(&self.paths.lock())?;
        let mut state = State::load(&self.paths, &self.networks)?;
        let previous = state.sandboxes.remove(&intent.id);
        let mut intent = intent.clone();
        intent.dns = intent.dns.or(previous.as_ref().and_then(|record| record.intent.dns));
        self.check_namespace_is_free(&state, &intent)?;
        let sandbox = resolve::resolve(&state, &self.paths, &intent, previous.as_ref())?;
        let record = SandboxRecord { version: state::VERSION, intent, sandbox };
        let id = record.intent.id.clone();
        files::store_volatile(&self.paths.sandbox(&id), &record)?;
        state.sandboxes.insert(id.clone(), record.clone());
        match self.make(&state, &record, previous.as_ref()) {
            Ok(()) => {
                self.write_local_names(&state, previous.iter().chain([&record]))?;
                Ok(record.sandbox)
            }
            Err(failure) => {
                state.sandboxes.remove(&id);
                if let Err(left) = self.unmake(&state, &record) {
                    tracing::warn!(sandbox = %id, %left, "undoing a failed connect");
                }
                Err(failure)
            }
        }
    }

    /// Takes a container's network away. Nothing there is fine.
    ///
    /// # Errors
    /// When something could not be removed; the rest is removed all the same.
    pub fn disconnect(&self, id: &SandboxId) -> Result<()> {
        outside_of_event_loops(|| self.disconnect_now(id))
    }

    fn disconnect_now(&self, id: &SandboxId) -> Result<()> {
        let _lock = FileLock::exclusive(&self.paths.lock())?;
        let mut state = State::load(&self.paths, &self.networks)?;
        match state.sandboxes.remove(id) {
            Some(record) => self.unmake(&state, &record),
            None => Ok(()),
        }
    }

    /// Leads the container's 127.0.0.11:53 to these ports on 127.0.0.11 in its own namespace.
    ///
    /// # Errors
    /// [`Error::SandboxNotFound`], or the kernel refuses.
    pub fn redirect_dns(&self, id: &SandboxId, ports: DnsPorts) -> Result<()> {
        let _lock = FileLock::exclusive(&self.paths.lock())?;
        let mut state = State::load(&self.paths, &self.networks)?;
        let Some(mut record) = state.sandboxes.remove(id) else {
            return Err(Error::SandboxNotFound { id: id.to_string() });
        };
        record.intent.dns = Some(ports);
        record.sandbox.dns = Some(ports);
        files::store_volatile(&self.paths.sandbox(id), &record)?;
        let firewall = plan::sandbox_firewall(&state, &record);
        let place = Place::Named(names::sandbox_namespace(id));
        let ruleset = firewall.and_then(|firewall| firewall.ruleset).unwrap_or_default();
        apply::up(&mut Linux::new(&self.paths), &[Op::SetFirewall { place, ruleset }])
    }

    /// The connected sandbox of a container.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn sandbox(&self, id: &SandboxId) -> Result<Option<Sandbox>> {
        let record: Option<SandboxRecord> = load(&self.paths.sandbox(id))?;
        Ok(record.map(|record| record.sandbox))
    }

    /// All connected sandboxes, by id.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn sandboxes(&self) -> Result<Vec<Sandbox>> {
        let records: Vec<SandboxRecord> = load_all(&self.paths.sandboxes())?;
        Ok(records.into_iter().map(|record| record.sandbox).collect())
    }

    /// Takes away the network of every container that is not `live`. Returns whose it took.
    ///
    /// # Errors
    /// When something could not be removed; the rest is removed all the same.
    pub fn gc(&self, live: impl Fn(&SandboxId) -> bool) -> Result<Vec<SandboxId>> {
        let mut gone = Vec::new();
        let mut failure = None;
        for sandbox in self.sandboxes()?.into_iter().filter(|sandbox| !live(&sandbox.id)) {
            match self.disconnect(&sandbox.id) {
                Ok(()) => gone.push(sandbox.id),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(gone), Err)
    }

    /// Removes a local network, by name, id or prefix, with its Linux bridge. Returns what it was.
    ///
    /// # Errors
    /// [`Error::NetworkPredefined`], [`Error::NetworkInUse`], [`Error::NetworkNotFound`].
    pub fn remove_network(&self, name: &str) -> Result<NetworkDefinition> {
        outside_of_event_loops(|| self.remove_network_now(name))
    }

    fn remove_network_now(&self, name: &str) -> Result<NetworkDefinition> {
        let _lock = FileLock::exclusive(&self.paths.lock())?;
        let mut state = State::load(&self.paths, &self.networks)?;
        let definition = self.networks.get(name)?;
        if definition.is_predefined() {
            return Err(Error::NetworkPredefined { name: definition.name, verb: "removed" });
        }
        if state.in_use(&definition) {
            let on_it = state
                .sandboxes
                .values()
                .filter(|record| record.sandbox.endpoints.iter().any(|leg| leg.network == definition.id));
            let mut users: Vec<String> = on_it.map(|record| record.intent.name.clone()).collect();
            if users.is_empty() {
                users.push(names::INGRESS_SANDBOX.to_owned());
            }
            return Err(Error::NetworkInUse { name: definition.name, users: users.join(", ") });
        }
        state.networks.remove(&definition.id);
        self.remove_bridge(&state, &definition)?;
        self.networks.forget(&definition.id)?;
        remove_replaced(&self.paths.dns_records(&definition.id))?;
        Ok(definition)
    }

    /// Removes a local network's bridge from the host.
    pub(crate) fn remove_bridge(&self, state: &State, definition: &NetworkDefinition) -> Result<()> {
        let (mut desired, mut scope) = (Plan::default(), Scope::new());
        plan::look_at(&mut scope, &Place::Host, &plan::bridge_name(definition));
        self.plan_host(state, &mut desired, &mut scope);
        let mut linux = Linux::new(&self.paths);
        let observed = observe::observe(&mut linux, &scope, &desired)?;
        apply::down(&mut linux, &diff::diff(&observed, &desired))?;
        self.let_through(state, &mut linux);
        Ok(())
    }

    /// Two ids may begin with the same twelve characters; their namespaces would be one.
    fn check_namespace_is_free(&self, state: &State, intent: &SandboxIntent) -> Result<()> {
        let name = names::sandbox_namespace(&intent.id);
        match state.sandboxes.keys().find(|other| names::sandbox_namespace(other) == name) {
            None => Ok(()),
            Some(other) => Err(Error::InvalidIntent {
                subject: format!("container {}", intent.name),
                reason: format!("its id begins as that of container {other}"),
            }),
        }
    }

    /// Makes a sandbox as recorded.
    fn make(&self, state: &State, record: &SandboxRecord, previous: Option<&SandboxRecord>) -> Result<()> {
        let (mut desired, mut scope) = (Plan::default(), Scope::new());
        if let Some(previous) = previous {
            plan::look_into(previous, &mut scope);
        }
        plan::sandbox(state, record, &mut desired, &mut scope)?;
        self.plan_host(state, &mut desired, &mut scope);
        let mut linux = Linux::new(&self.paths);
        let observed = observe::observe(&mut linux, &scope, &desired)?;
        let missing = |place: &&Place| is_overlay(place) && !observed.places.contains_key(*place);
        if let Some(place) = desired.places.keys().find(missing) {
            return Err(Error::OverlayNotHere { network: place.to_string() });
        }
        apply::up(&mut linux, &diff::diff(&observed, &desired))?;
        self.let_through(state, &mut linux);
        let udp = record.sandbox.ports.iter().filter(|port| port.protocol == PortProtocol::Udp);
        let ports: Vec<u16> = udp.map(|port| port.host_port).collect();
        forget_untranslated(&ports, &mut linux);
        Ok(())
    }

    /// Removes a sandbox as recorded, and its record last.
    fn unmake(&self, state: &State, record: &SandboxRecord) -> Result<()> {
        let (mut desired, mut scope) = (Plan::default(), Scope::new());
        plan::look_into(record, &mut scope);
        // Namespaces that others share are only looked into, and stay.
        for (place, reach) in &scope {
            if matches!(reach, Reach::Links { .. }) {
                desired.space(place);
            }
        }
        self.plan_host(state, &mut desired, &mut scope);
        let mut linux = Linux::new(&self.paths);
        let mut observed = observe::observe(&mut linux, &scope, &desired)?;
        desired.places.retain(|place, _| observed.places.contains_key(place));
        let own = Place::Named(names::sandbox_namespace(&record.intent.id));
        // Its addresses, routes and rules go with it.
        if let Some(space) = observed.places.get_mut(&own) {
            *space = Space { links: std::mem::take(&mut space.links), ..Space::default() };
        }
        apply::down(&mut linux, &diff::diff(&observed, &desired))?;
        // A namespace file without a namespace is what a killed connect leaves.
        crate::netns::remove(&record.sandbox.namespace)?;
        self.let_through(state, &mut linux);
        forget_translated(record, &mut linux);
        remove_replaced(&self.paths.sandbox(&record.intent.id))?;
        self.write_local_names(state, std::iter::once(record))
    }

    /// Adds the host's rules, which are always planned whole.
    pub(crate) fn plan_host(&self, state: &State, desired: &mut Plan, scope: &mut Scope) {
        plan::look_at_host_firewall(scope);
        desired.space(&Place::Host).firewall = plan::host_firewall(state);
    }

    /// Lets our bridges' traffic through a FORWARD policy of drop. That this fails is no reason to
    /// fail a container: `diagnose` tells.
    pub(crate) fn let_through(&self, state: &State, linux: &mut Linux) {
        let bridges: Vec<String> = state
            .networks
            .values()
            .filter(|network| network.subnet.is_some() && state.in_use(network))
            .map(plan::bridge_name)
            .collect();
        let Ok(socket) = linux.socket(&Place::Host, Protocol::Netfilter) else { return };
        let result = foreign::forward_chain(socket).and_then(|chain| foreign::let_through(socket, &chain, &bridges));
        if let Err(failure) = result {
            tracing::warn!(%failure, "letting containers through the FORWARD chain");
        }
    }

    /// Writes the names of every local network that one of these records is on.
    fn write_local_names<'a>(&self, state: &State, records: impl Iterator<Item = &'a SandboxRecord>) -> Result<()> {
        let legs = records.flat_map(|record| &record.sandbox.endpoints).filter(|leg| !leg.overlay);
        let mut touched: Vec<&NetworkId> = legs.map(|leg| &leg.network).collect();
        touched.sort();
        touched.dedup();
        for network in touched.into_iter().filter_map(|id| state.networks.get(id)).filter(|network| network.has_names())
        {
            records::store(&self.paths.dns_records(&network.id), &plan::names_of::local(state, network))?;
        }
        Ok(())
    }
}

/// Who sends to a port over UDP without a pause goes on to be unanswered, unless what he sends is seen
/// as new after the port was published.
pub(crate) fn forget_untranslated(ports: &[u16], linux: &mut Linux) {
    if !ports.is_empty() {
        linux.forget(&Place::Host, |connection| {
            connection.protocol == PortProtocol::Udp.number()
                && connection.destination == connection.answered_by
                && ports.contains(&connection.destination_port)
        });
    }
}

/// The next container to have the address would get what was meant for this one.
fn forget_translated(record: &SandboxRecord, linux: &mut Linux) {
    if let Some(address) = ports::published_address(&record.sandbox).filter(|_| !record.sandbox.ports.is_empty()) {
        linux.forget(&Place::Host, |connection| connection.answered_by == address);
    }
}

fn is_overlay(place: &Place) -> bool {
    matches!(place, Place::Named(name) if name.starts_with(names::OVERLAY_PREFIX))
}
