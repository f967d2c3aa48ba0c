//! Published ports of the routing mesh: one owner for each protocol and number in the whole swarm.

use std::collections::BTreeMap;

use crate::model::{PortConfig, PortProtocol, Service, ServiceId};

/// Ports given to services that ask for none in particular.
pub(crate) const DYNAMIC_PORTS: std::ops::RangeInclusive<u32> = 30000..=32767;

/// Which service has which (protocol, port): (id, name).
#[derive(Debug, Default)]
pub(crate) struct Ports {
    owners: BTreeMap<(PortProtocol, u32), (ServiceId, String)>,
}

/// The committed port for what the specification asks.
fn allocated(spec: &PortConfig, service: &Service) -> Option<u32> {
    let ports = service.allocated_ports().iter().filter(|p| p.is_ingress() && p.published_port != 0);
    let same = |p: &&PortConfig| {
        (&p.name, p.protocol, p.target_port) == (&spec.name, spec.protocol, spec.target_port)
            && (spec.published_port == 0 || spec.published_port == p.published_port)
    };
    ports.into_iter().find(same).map(|p| p.published_port)
}

impl Ports {
    /// What `services` (without those to be deleted) hold already.
    pub(crate) fn new<'a>(services: impl Iterator<Item = &'a Service>) -> Self {
        let mut ports = Self::default();
        for service in services {
            for port in service.ingress_ports() {
                if let Some(number) = allocated(port, service) {
                    ports.owners.entry((port.protocol, number)).or_insert_with(|| owner(service));
                }
            }
        }
        ports
    }

    /// The service's ports with every number filled in; or why one cannot be had.
    ///
    /// # Errors
    /// In words for the user, if a port is taken or none is left.
    pub(crate) fn resolve(&mut self, service: &Service) -> Result<Vec<PortConfig>, String> {
        let mut resolved = Vec::new();
        let mut dynamic: Vec<u32> = Vec::new();
        for port in &service.spec.endpoint.ports {
            let mut port = port.clone();
            if port.is_ingress() {
                let number = match allocated(&port, service).filter(|n| !dynamic.contains(n)) {
                    Some(number) => number,
                    None if port.published_port != 0 => port.published_port,
                    None => self.free(port.protocol)?,
                };
                if port.published_port == 0 {
                    dynamic.push(number);
                }
                let owner = self.owners.entry((port.protocol, number)).or_insert_with(|| owner(service));
                if owner.0 != service.id {
                    return Err(format!(
                        "port '{number}' is already in use by service '{}' ({}) as an ingress port",
                        owner.1, owner.0
                    ));
                }
                port.published_port = number;
            }
            resolved.push(port);
        }
        Ok(resolved)
    }

    fn free(&self, protocol: PortProtocol) -> Result<u32, String> {
        let mut range = DYNAMIC_PORTS;
        range
            .find(|number| !self.owners.contains_key(&(protocol, *number)))
            .ok_or_else(|| "all dynamic ports (30000-32767) are in use: publish on a certain port".to_owned())
    }
}

fn owner(service: &Service) -> (ServiceId, String) {
    (service.id.clone(), service.name().to_owned())
}
