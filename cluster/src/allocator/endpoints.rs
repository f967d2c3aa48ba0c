//! The virtual addresses and published ports of each service.

use std::collections::BTreeMap;

use super::addresses::Spaces;
use super::ports::Ports;
use crate::brain::Decision;
use crate::model::{Endpoint, EndpointMode, NetworkId, PREDEFINED_NETWORKS, Service, ServiceId, VirtualIp};
use crate::store::{View, update};

/// The endpoint of every service that has all it needs, or why it has not, by service id.
pub(super) fn allocate(
    view: &View,
    ingress: Option<&NetworkId>,
    spaces: &mut Spaces,
    decision: &mut Decision,
) -> BTreeMap<ServiceId, Result<Endpoint, String>> {
    let mut services: Vec<&Service> =
        view.services().values().map(AsRef::as_ref).filter(|s| !s.pending_delete).collect();
    services.sort_by_key(|s| (s.meta.created_at_ns, s.id.clone()));
    let mut ports = Ports::new(services.iter().copied());
    let mut endpoints = BTreeMap::new();
    for service in services {
        let outcome = endpoint(service, ingress, spaces, &mut ports);
        let mut changed = service.clone();
        match &outcome {
            Ok(endpoint) => {
                changed.endpoint = Some(endpoint.clone());
                changed.allocation_error.clear();
            }
            Err(reason) => changed.allocation_error.clone_from(reason),
        }
        if &changed != service {
            decision.change(update(changed));
        }
        endpoints.insert(service.id.clone(), outcome);
    }
    endpoints
}

fn endpoint(
    service: &Service,
    ingress: Option<&NetworkId>,
    spaces: &mut Spaces,
    ports: &mut Ports,
) -> Result<Endpoint, String> {
    let mode = service.spec.endpoint.mode;
    let ports = ports.resolve(service)?;
    let mut wanted: Vec<&NetworkId> = Vec::new();
    if mode == EndpointMode::Vip {
        if service.ingress_ports().next().is_some() {
            wanted.push(ingress.ok_or("there is no ingress network: create one to publish ports")?);
        }
        for network in &service.spec.task.networks {
            let target = &network.target;
            if !PREDEFINED_NETWORKS.contains(&target.as_str()) && !wanted.contains(&target) {
                wanted.push(target);
            }
        }
    }
    let present = service.virtual_ips();
    for vip in present.iter().filter(|v| !wanted.contains(&&v.network_id)) {
        spaces.free(&vip.network_id, &vip.address);
    }
    let mut virtual_ips: Vec<VirtualIp> = Vec::new();
    for network in wanted {
        let kept = present.iter().find(|v| v.network_id == *network && spaces.contains(network));
        let taken = match kept {
            Some(vip) => Ok(vip.address.clone()),
            None => spaces.take(network),
        };
        match taken {
            Ok(address) => virtual_ips.push(VirtualIp { network_id: network.clone(), address }),
            Err(reason) => {
                // What was taken just now is not committed: others may have it.
                for vip in virtual_ips.iter().filter(|v| !present.contains(v)) {
                    spaces.free(&vip.network_id, &vip.address);
                }
                return Err(reason);
            }
        }
    }
    Ok(Endpoint { mode, ports, virtual_ips })
}
