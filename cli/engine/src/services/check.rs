//! What contradicts itself in a specification is refused before a registry or a manager is asked.

use skep_cluster::api::{EndpointMode, Mount, PublishMode, ServiceSpec};
use skep_cluster::model::constraints;
use skep_common::{mount_point, names};

use crate::error::{Error, Result};

/// Checks a service's specification; one without a name may still get one.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`].
pub(super) fn check(spec: &ServiceSpec) -> Result<()> {
    let name = spec.annotations.as_ref().map_or("", |annotations| annotations.name.as_str());
    if !name.is_empty() {
        names::check_swarm_name(name).map_err(|error| Error::bad_argument(error.to_string()))?;
    }
    let placement = spec.task.as_ref().and_then(|task| task.placement.as_ref());
    constraints::parse(placement.map_or(&[], |placement| placement.constraints.as_slice()))
        .map_err(|error| Error::bad_argument(error.to_string()))?;
    let container = spec.task.as_ref().and_then(|task| task.container.as_ref());
    mounts(container.map_or(&[], |container| container.mounts.as_slice()))?;
    let endpoint = spec.endpoint.clone().unwrap_or_default();
    let is_ingress = |mode| mode == PublishMode::Ingress;
    if endpoint.mode() == EndpointMode::Dnsrr && endpoint.ports.iter().any(|port| is_ingress(port.publish_mode())) {
        return Err(Error::bad_argument(
            "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
        ));
    }
    Ok(())
}

/// Refuses two mounts at one place.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`], with the target as it was written.
pub(super) fn mounts(mounts: &[Mount]) -> Result<()> {
    match mount_point::duplicate(mounts.iter().map(|mount| mount.target.as_str())) {
        Some(target) => Err(Error::bad_argument(format!("Duplicate mount point: {target}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use skep_cluster::api::{Annotations, EndpointSpec, PortConfig};

    use super::*;

    fn named(name: &str) -> ServiceSpec {
        let annotations = Annotations { name: name.to_owned(), ..Annotations::default() };
        ServiceSpec { annotations: Some(annotations), ..ServiceSpec::default() }
    }

    #[test]
    fn names_are_the_managers() {
        assert!(check(&named("web_1-a")).is_ok());
        assert!(check(&named("")).is_ok());
        let error = check(&named("a.b")).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("invalid name \"a.b\": name must be valid as a DNS name component"));
    }

    #[test]
    fn the_mesh_needs_an_address() {
        let mut endpoint = EndpointSpec { ports: vec![PortConfig::default()], ..EndpointSpec::default() };
        endpoint.set_mode(EndpointMode::Dnsrr);
        let spec = ServiceSpec { endpoint: Some(endpoint), ..named("web") };
        assert!(check(&spec).is_err_and(|error| error.kind() == crate::ErrorKind::BadArgument));
    }
}
