//! Which names a network knows: the content of its DNS record file.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::dns::records::RecordFile;
use crate::ids::ServiceId;
use crate::intent::OverlayIntent;
use crate::state::{NodeRecord, State};
use crate::store::NetworkDefinition;

/// Containers of a user-defined bridge network by their names and aliases.
pub(crate) fn local(state: &State, network: &NetworkDefinition) -> RecordFile {
    let mut file = RecordFile::new(&network.name);
    if !network.has_names() {
        return file;
    }
    for record in state.sandboxes.values() {
        for leg in record.sandbox.endpoints.iter().filter(|leg| leg.network == network.id) {
            file.add(&record.intent.name, leg.address.addr());
            for alias in &leg.aliases {
                file.add(alias, leg.address.addr());
            }
        }
    }
    file
}

/// Services and tasks of an overlay. The mesh's network has no names: it is not for talking.
pub(crate) fn overlay(node: &NodeRecord, network: &OverlayIntent) -> RecordFile {
    let mut file = RecordFile::new(&network.name);
    if network.ingress {
        return file;
    }
    let mut serving: BTreeMap<&ServiceId, Vec<Ipv4Addr>> = BTreeMap::new();
    for endpoint in node.intent.endpoints.iter().filter(|endpoint| endpoint.network == network.id && endpoint.serving) {
        for name in &endpoint.names {
            file.add(name, endpoint.address);
        }
        if let Some(service) = &endpoint.service {
            serving.entry(service).or_default().push(endpoint.address);
        }
    }
    for service in node.intent.services.iter().filter(|service| service.network == network.id) {
        let tasks = serving.get(&service.id).map(Vec::as_slice).unwrap_or_default();
        for name in std::iter::once(&service.name).chain(&service.aliases) {
            let of_tasks = format!("tasks.{name}");
            file.add_empty(&of_tasks);
            file.add_empty(name);
            for task in tasks {
                file.add(&of_tasks, *task);
            }
            for address in service.vip.as_ref().map_or(tasks, std::slice::from_ref) {
                file.add(name, *address);
            }
        }
    }
    file
}
