//! The node's overlay data plane: applied whole, taken away whole.
//!
//! Called by the swarm agent. Invariant: the intent is on disk before the kernel changes; what is in
//! the kernel and in no intent is found by name, so a killed call leaves nothing that the next does
//! not see.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use skep_common::PortProtocol;
use skep_common::files::{FileLock, remove_replaced};

use crate::diff::{self, Op};
use crate::dns::records;
use crate::error::{Error, Result};
use crate::files;
use crate::ids::SandboxId;
use crate::intent::NodeIntent;
use crate::linux::Linux;
use crate::model::{Place, Plan, Reach, Scope};
use crate::net::{Net, forget_untranslated};
use crate::netlink::route;
use crate::netns::outside_of_event_loops;
use crate::parts::{self, Part, Parts};
use crate::results::{Backend, NodeFailure, NodeReport};
use crate::state::{self, NodeRecord, State};
use crate::{apply, ipam, names, observe, plan};

/// MTU taken for the underlay when no link holds the data-path address, in octets.
const USUAL_MTU: u32 = 1500;

impl Net {
    /// Makes this node's overlay data plane as the intent says. Applying the same again does nothing.
    ///
    /// A network that cannot be made does not stop the others: it is told in the report, and keeps what it had.
    ///
    /// # Errors
    /// What concerns all networks: the state or the kernel cannot be read. Applying again continues where this ended.
    pub fn apply_node(&self, intent: &NodeIntent) -> Result<NodeReport> {
        outside_of_event_loops(|| self.apply_node_now(intent))
    }

    fn apply_node_now(&self, intent: &NodeIntent) -> Result<NodeReport> {
        let wanted = intent.clone().without_strays();
        if wanted.networks.iter().any(|network| !network.internal) {
            self.networks.gateway_bridge()?;
        }
        let _lock = FileLock::exclusive(&self.paths.lock())?;
        let mut state = State::load(&self.paths, &self.networks)?;
        let mut linux = Linux::new(&self.paths);
        let before = state.node.take();
        let (intent, mut failures) =
            parts::without_contradictions(wanted, before.as_ref().map(|record| &record.intent));
        intent.validate()?;
        let record = self.node_record(&state, before.as_ref(), &intent, &mut linux)?;
        if before.as_ref() != Some(&record) {
            files::store_volatile(&self.paths.node(), &record)?;
        }
        state.node = Some(record);
        let (desired, observed) = self.compare(&state, &mut linux)?;
        let ops = diff::diff(&observed, &desired);
        let parts = Parts::new(Some(&intent), &desired);
        let failed = apply::up_in_parts(&mut linux, &ops, |op| parts.of(op));
        failures.extend(failed.into_iter().map(|(part, error)| failure(part, error)));
        forget_lost_backends(&state, &ops, &mut linux);
        forget_unpublished(&state, &ops, &mut linux);
        self.let_through(&state, &mut linux);
        self.write_overlay_names(&state)?;
        Ok(NodeReport { operations: ops.len(), displaced: plan::displaced(&state), failures })
    }

    /// Removes the node's whole overlay data plane (`swarm leave`).
    ///
    /// # Errors
    /// When something could not be removed; the rest is removed all the same.
    pub fn teardown_node(&self) -> Result<()> {
        outside_of_event_loops(|| self.teardown_node_now())
    }

    fn teardown_node_now(&self) -> Result<()> {
        let _lock = FileLock::exclusive(&self.paths.lock())?;
        let mut state = State::load(&self.paths, &self.networks)?;
        let mut linux = Linux::new(&self.paths);
        state.node = None;
        let (desired, observed) = self.compare(&state, &mut linux)?;
        apply::down(&mut linux, &diff::diff(&observed, &desired))?;
        remove_replaced(&self.paths.node())?;
        self.write_overlay_names(&state)?;
        if let Some(bridge) = state.gateway_bridge().filter(|bridge| !state.in_use(bridge)).cloned() {
            state.networks.remove(&bridge.id);
            self.remove_bridge(&state, &bridge)?;
            self.networks.forget(&bridge.id)?;
        }
        self.let_through(&state, &mut linux);
        Ok(())
    }

    /// Which load balancer this node uses: the one that was chosen, or else IPVS if the kernel has it.
    pub fn load_balancer(&self) -> Backend {
        if let Some(chosen) = self.chosen_balancer {
            return chosen;
        }
        match Linux::new(&self.paths).ipvs_family() {
            Ok(Some(_)) => Backend::Ipvs,
            Ok(None) => Backend::Nftables,
            Err(failure) => {
                tracing::warn!(%failure, "asking the kernel for IPVS");
                Backend::Nftables
            }
        }
    }

    /// What should be and what is, of everything that belongs to the node.
    fn compare(&self, state: &State, linux: &mut Linux) -> Result<(Plan, Plan)> {
        let (mut desired, mut scope) = (Plan::default(), Scope::new());
        for name in self.node_namespaces()? {
            if !linux.exists(&Place::Named(name.clone())) {
                // What a reboot leaves of a run root that is on a disk.
                crate::netns::remove(&self.paths.namespace(&name))?;
            }
            scope.insert(Place::Named(name), Reach::Whole);
        }
        if let Some(bridge) = state.gateway_bridge() {
            plan::look_at(&mut scope, &Place::Host, &names::veth("ingress", bridge.id.as_str()));
        }
        let on_disk = |id: &&SandboxId| linux.exists(&Place::Named(names::sandbox_namespace(id)));
        let present: BTreeSet<SandboxId> = state.sandboxes.keys().filter(on_disk).cloned().collect();
        plan::node(state, &present, &mut desired, &mut scope)?;
        self.plan_host(state, &mut desired, &mut scope);
        let observed = observe::observe(linux, &scope, &desired)?;
        Ok((desired, observed))
    }

    /// Namespace files that only a node's data plane has.
    fn node_namespaces(&self) -> Result<Vec<String>> {
        let ours = |name: &String| {
            name == names::INGRESS_SANDBOX
                || name.starts_with(names::BALANCER_PREFIX)
                || name.starts_with(names::OVERLAY_PREFIX)
        };
        Ok(files::names_in(&self.paths.namespaces())?.into_iter().filter(ours).collect())
    }

    fn node_record(
        &self,
        state: &State,
        before: Option<&NodeRecord>,
        intent: &NodeIntent,
        linux: &mut Linux,
    ) -> Result<NodeRecord> {
        let (underlay_mtu, is_local) = underlay(linux, intent.data_path_address)?;
        let ingress = intent.networks.iter().any(|network| network.ingress && network.lb_address.is_some());
        let held = before.and_then(|record| record.ingress_gateway_address);
        let no_marks = std::collections::BTreeMap::new();
        let marks = before.map_or(&no_marks, |record| &record.marks);
        Ok(NodeRecord {
            version: state::VERSION,
            marks: state::assign_marks(marks, &intent.services),
            intent: intent.clone(),
            tunnel_address: if is_local { intent.data_path_address } else { Ipv4Addr::UNSPECIFIED },
            underlay_mtu,
            ingress_gateway_address: if ingress { Some(held.map_or_else(|| mesh_address(state), Ok)?) } else { None },
            backend: self.load_balancer(),
        })
    }

    fn write_overlay_names(&self, state: &State) -> Result<()> {
        let overlays =
            state.node.iter().flat_map(|node| node.intent.networks.iter().map(move |network| (node, network)));
        let mut known: BTreeSet<String> = state.networks.keys().map(ToString::to_string).collect();
        for (node, network) in overlays {
            records::store(&self.paths.dns_records(&network.id), &plan::names_of::overlay(node, network))?;
            known.insert(network.id.to_string());
        }
        let directory = self.paths.run_root.join("dns");
        for name in files::names_in(&directory)? {
            let network = name.strip_suffix(".json").filter(|network| !network.starts_with('.'));
            if network.is_some_and(|network| !known.contains(network)) {
                remove_replaced(&directory.join(&name))?;
            }
        }
        Ok(())
    }
}

fn failure(part: Part, error: Error) -> NodeFailure {
    let network = match part {
        Part::Network(network) => Some(network),
        Part::Leg(..) | Part::Other(_) | Part::Host => None,
    };
    NodeFailure { network, error }
}

/// Where rules that balance were replaced, connections to backends that are gone are forgotten, so
/// that they are refused instead of hanging. IPVS does so by itself.
fn forget_lost_backends(state: &State, ops: &[Op], linux: &mut Linux) {
    let Some(node) = state.node.as_ref().filter(|node| node.backend == Backend::Nftables) else { return };
    for network in node.intent.networks.iter().filter(|network| network.lb_address.is_some()) {
        let place = plan::balancer_place(network);
        if !ops.iter().any(|op| matches!(op, Op::SetFirewall { place: changed, .. } if *changed == place)) {
            continue;
        }
        let endpoints = node.intent.endpoints.iter().filter(|endpoint| endpoint.network == network.id);
        let present: BTreeSet<Ipv4Addr> = endpoints.map(|endpoint| endpoint.address).collect();
        linux.forget(&place, |connection| {
            let backend = connection.answered_by;
            backend != connection.destination && network.subnet.contains(&backend) && !present.contains(&backend)
        });
    }
}

/// Where the host's rules were replaced, senders to ports that the mesh publishes over UDP are seen as new.
fn forget_unpublished(state: &State, ops: &[Op], linux: &mut Linux) {
    let Some(node) = state.node.as_ref().filter(|node| node.ingress_gateway_address.is_some()) else { return };
    if !ops.iter().any(|op| matches!(op, Op::SetFirewall { place: Place::Host, .. })) {
        return;
    }
    let published = node.intent.services.iter().flat_map(|service| &service.ports);
    let udp = published.filter(|port| port.protocol == PortProtocol::Udp);
    forget_untranslated(&udp.map(|port| port.published).collect::<Vec<u16>>(), linux);
}

/// The mesh's address on the gateway bridge.
fn mesh_address(state: &State) -> Result<Ipv4Addr> {
    let missing = || Error::NetworkNotFound { name: names::GATEWAY_BRIDGE.to_owned() };
    let bridge = state.gateway_bridge().ok_or_else(missing)?;
    let subnet = bridge.subnet.ok_or_else(missing)?;
    let free = ipam::lowest_free(&subnet, bridge.ip_range.as_ref(), &state.used_addresses(bridge));
    free.ok_or_else(|| Error::SubnetExhausted { network: bridge.name.clone(), subnet })
}

/// MTU of the link that holds an address, and whether one does. Without one: the smallest of the
/// links with a default route, over which its packets will leave.
fn underlay(linux: &mut Linux, address: Ipv4Addr) -> Result<(u32, bool)> {
    let failed = |source| Error::Observe { what: "links", place: Place::Host.to_string(), source };
    let socket = linux.route(&Place::Host)?;
    let links = route::links(socket).map_err(failed)?;
    let mtu_of = |index: u32| links.iter().find(|link| link.index == index && link.mtu > 0).map(|link| link.mtu);
    let addresses = route::addresses(socket).map_err(failed)?;
    if let Some((index, _)) = addresses.iter().find(|(_, held)| held.addr() == address) {
        return Ok((mtu_of(*index).map_or(USUAL_MTU, |mtu| mtu.min(MTU_MAX)), true));
    }
    let routes = route::routes(socket).map_err(failed)?;
    let defaults = routes.iter().filter(|route| route.destination.prefix_len() == 0);
    Ok((defaults.filter_map(|route| mtu_of(route.link)).min().unwrap_or(USUAL_MTU), false))
}

/// The largest MTU an Ethernet link can have; the loopback's is larger, in octets.
const MTU_MAX: u32 = 65_535;
