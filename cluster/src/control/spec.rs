//! Checks what users ask for, before anything is stored. The words are Docker's.

use std::collections::BTreeSet;

use skep_common::{mount_point, names};

use super::refs::network;
use crate::api;
use crate::error::Error;
use crate::model::subnet::{self, SubnetError};
use crate::model::{
    Annotations, EndpointMode, EndpointSpec, Mode, NetworkSpec, PREDEFINED_NETWORKS, PortConfig, PublishMode,
    ResourceRequirements, Resources, Service, ServiceSpec, TaskSpec, UpdateConfig, constraints,
};
use crate::store::View;

const CPU_NANOS_MIN: i64 = 1_000_000;
const MEMORY_BYTES_MIN: i64 = 4 << 20;
const REPLICAS_MAX: u64 = 100_000;
/// IPv4's smallest, and the largest that a link can have.
const MTU_MIN: u32 = 68;
const MTU_MAX: u32 = 65535;

fn invalid(text: impl Into<String>) -> Error {
    Error::bad_argument(text)
}

/// A name as DNS knows it: letters, digits, and between them `-` and `_`.
///
/// # Errors
/// If it is not one, in docker's words.
pub(super) fn check_name(annotations: &Annotations) -> Result<(), Error> {
    names::check_swarm_name(&annotations.name).map_err(|error| invalid(error.to_string()))
}

/// A service's spec as it was asked for; an older state may have gaps that a new one must not have.
///
/// # Errors
/// If a part is missing or unknown.
pub(super) fn read_service(asked: api::ServiceSpec) -> Result<ServiceSpec, Error> {
    check_name(asked.annotations.as_ref().unwrap_or(&Annotations::default()))?;
    if asked.task.as_ref().is_none_or(|task| task.container.is_none()) {
        return Err(invalid("TaskSpec: missing runtime"));
    }
    if asked.mode.is_none() {
        return Err(invalid("a service is either replicated or global"));
    }
    Ok(asked.into())
}

/// Checks a service's spec and replaces the names of networks by their ids. `own`: the service's id on an update.
///
/// # Errors
/// What is wrong with it, in docker's words.
pub(super) fn check_service(view: &View, spec: &mut ServiceSpec, own: Option<&str>) -> Result<(), Error> {
    check_name(&spec.annotations)?;
    check_task(view, &mut spec.task)?;
    if let Mode::Replicated(replicas) = spec.mode
        && replicas > REPLICAS_MAX
    {
        return Err(invalid(format!("{replicas} replicas are more than {REPLICAS_MAX}")));
    }
    check_update(spec.update.as_ref())?;
    check_update(spec.rollback.as_ref())?;
    check_endpoint(&spec.endpoint)?;
    check_port_conflicts(view, &spec.endpoint.ports, own)
}

fn check_task(view: &View, task: &mut TaskSpec) -> Result<(), Error> {
    let container = &task.container;
    if container.image.is_empty() {
        return Err(invalid("ContainerSpec: image reference must be provided"));
    }
    if container.image.chars().any(char::is_whitespace) {
        return Err(invalid(format!("ContainerSpec: {:?} is not a valid repository/tag", container.image)));
    }
    let targets = || container.mounts.iter().map(|mount| mount.target.as_str());
    if let Some(target) = targets().find(|target| !target.starts_with('/')) {
        return Err(invalid(format!("invalid mount target {target:?}: it must be an absolute path")));
    }
    if let Some(target) = mount_point::duplicate(targets()) {
        return Err(invalid(format!("ContainerSpec: duplicate mount point: {target}")));
    }
    check_resources(&task.resources)?;
    if let Some(restart) = &task.restart {
        if restart.delay_ns.is_some_and(|delay| delay < 0) {
            return Err(invalid("TaskSpec: restart-delay cannot be negative"));
        }
        if restart.window_ns < 0 {
            return Err(invalid("TaskSpec: restart-window cannot be negative"));
        }
    }
    constraints::parse(&task.placement.constraints).map_err(|error| invalid(error.to_string()))?;
    for attachment in &mut task.networks {
        if PREDEFINED_NETWORKS.contains(&attachment.target.as_str()) {
            continue;
        }
        let found = network(view, &attachment.target)?;
        if found.spec.ingress {
            return Err(invalid(format!(
                "Service cannot be explicitly attached to the ingress network {:?}",
                found.name()
            )));
        }
        attachment.target = found.id.clone();
    }
    let unique: BTreeSet<_> = task.networks.iter().map(|attachment| attachment.target.as_str()).collect();
    if unique.len() < task.networks.len() {
        return Err(invalid("a service cannot be attached to the same network twice"));
    }
    Ok(())
}

fn check_resources(requirements: &ResourceRequirements) -> Result<(), Error> {
    let check = |resources: &Resources| {
        if resources.nano_cpus != 0 && resources.nano_cpus < CPU_NANOS_MIN {
            #[allow(clippy::cast_precision_loss)]
            let cpus = resources.nano_cpus as f64 / 1e9;
            return Err(invalid(format!("invalid cpu value {cpus}: Must be at least 0.001")));
        }
        if resources.memory_bytes != 0 && resources.memory_bytes < MEMORY_BYTES_MIN {
            return Err(invalid(format!("invalid memory value {}: Must be at least 4MiB", resources.memory_bytes)));
        }
        Ok(())
    };
    check(&requirements.limits)?;
    check(&requirements.reservations)?;
    if requirements.limit_pids < 0 {
        return Err(invalid("the limit of processes cannot be negative"));
    }
    Ok(())
}

fn check_update(update: Option<&UpdateConfig>) -> Result<(), Error> {
    let Some(update) = update else { return Ok(()) };
    if update.delay_ns < 0 {
        return Err(invalid("TaskSpec: update-delay cannot be negative"));
    }
    if update.monitor_ns.is_some_and(|monitor| monitor < 0) {
        return Err(invalid("TaskSpec: update-monitor cannot be negative"));
    }
    if !(0.0..=1.0).contains(&update.max_failure_ratio) {
        return Err(invalid("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"));
    }
    Ok(())
}

fn check_endpoint(endpoint: &EndpointSpec) -> Result<(), Error> {
    let mut published = BTreeSet::new();
    for port in &endpoint.ports {
        if port.target_port == 0 || port.target_port > 65535 || port.published_port > 65535 {
            return Err(invalid(format!(
                "invalid port {}:{}: ports are 1 to 65535",
                port.published_port, port.target_port
            )));
        }
        let ingress = port.is_ingress();
        if ingress && endpoint.mode == EndpointMode::Dnsrr {
            return Err(invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode"));
        }
        let key = (port.published_port, port.protocol, ingress);
        if port.published_port != 0 && !published.insert(key) {
            return Err(invalid("EndpointSpec: duplicate published ports provided"));
        }
    }
    Ok(())
}

fn check_port_conflicts(view: &View, ports: &[PortConfig], own: Option<&str>) -> Result<(), Error> {
    let others = || view.services().values().filter(|other| !other.pending_delete && Some(other.id.as_str()) != own);
    for port in ports.iter().filter(|port| port.published_port != 0) {
        for other in others() {
            for taken in ports_of(other).filter(|taken| is_same_port(taken, port)) {
                let text = format!(
                    "port '{}' is already in use by service '{}' ({})",
                    port.published_port,
                    other.name(),
                    other.id
                );
                // Two services may publish the same port in host mode: the scheduler keeps them on different nodes.
                match (port.publish_mode, taken.publish_mode) {
                    (PublishMode::Host, PublishMode::Host) => {}
                    (PublishMode::Ingress, PublishMode::Ingress) => return Err(invalid(text)),
                    (_, PublishMode::Host) => return Err(invalid(format!("{text} as a host-published port"))),
                    (_, PublishMode::Ingress) => return Err(invalid(format!("{text} as an ingress port"))),
                }
            }
        }
    }
    Ok(())
}

/// The ports asked for and those that were given.
fn ports_of(service: &Service) -> impl Iterator<Item = &PortConfig> {
    service.spec.endpoint.ports.iter().chain(service.allocated_ports())
}

fn is_same_port(a: &PortConfig, b: &PortConfig) -> bool {
    a.published_port == b.published_port && a.protocol == b.protocol
}

/// Checks a network's spec.
///
/// # Errors
/// What is wrong with it, in docker's words.
pub(super) fn check_network(view: &View, spec: &mut NetworkSpec) -> Result<(), Error> {
    check_name(&spec.annotations)?;
    if spec.driver.is_empty() {
        spec.driver = "overlay".into();
    }
    if spec.driver != "overlay" {
        return Err(invalid(format!("network driver {:?} cannot span nodes: use overlay", spec.driver)));
    }
    let name = spec.annotations.name.as_str();
    if PREDEFINED_NETWORKS.contains(&name) || name == "skep_gwbridge" || name == "docker_gwbridge" {
        return Err(Error::forbidden(format!("operation is not permitted on predefined {name} network")));
    }
    let live = || view.networks().values().filter(|network| !network.pending_delete);
    if live().any(|network| network.name() == name) {
        return Err(Error::conflict(format!("network with name {name} already exists")));
    }
    if spec.ingress && live().any(|network| network.spec.ingress) {
        return Err(Error::conflict("ingress network already exists"));
    }
    check_driver_options(spec)?;
    if spec.ipam.len() > 1 {
        return Err(invalid("an overlay network has one subnet: leave out the others"));
    }
    let taken = subnet::taken(live().map(|network| (network.ipam.as_slice(), network.name())));
    for config in &spec.ipam {
        subnet::check(config, &taken).map_err(|error| match error {
            SubnetError::Taken { .. } => Error::conflict(format!("invalid pool request: {error}")),
            _ => invalid(error.to_string()),
        })?;
    }
    Ok(())
}

/// What no node could carry out is refused here, before every node fails at it.
fn check_driver_options(spec: &NetworkSpec) -> Result<(), Error> {
    if spec.driver_options.contains_key("encrypted") {
        return Err(invalid("overlay networks cannot be encrypted: create the network without --opt encrypted"));
    }
    if let Some(mtu) = spec.driver_options.get("com.docker.network.driver.mtu")
        && !mtu.parse::<u32>().is_ok_and(|mtu| (MTU_MIN..=MTU_MAX).contains(&mtu))
    {
        return Err(invalid(format!("invalid MTU {mtu:?}: it is between {MTU_MIN} and {MTU_MAX}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Mount, StoreTransaction};
    use crate::model::{ContainerSpec, IpamConfig, Network, NetworkAttachmentSpec};
    use crate::store::create;

    fn spec(name: &str, ports: Vec<PortConfig>) -> ServiceSpec {
        ServiceSpec {
            annotations: Annotations { name: name.into(), ..Annotations::default() },
            task: TaskSpec {
                container: ContainerSpec { image: "nginx".into(), ..ContainerSpec::default() },
                ..TaskSpec::default()
            },
            endpoint: EndpointSpec { ports, ..EndpointSpec::default() },
            ..ServiceSpec::default()
        }
    }

    fn port(published_port: u32, mode: PublishMode) -> PortConfig {
        PortConfig { published_port, target_port: 80, publish_mode: mode, ..PortConfig::default() }
    }

    fn check(view: &View, mut spec: ServiceSpec) -> Result<(), String> {
        check_service(view, &mut spec, None).map_err(|status| status.message().to_owned())
    }

    #[test]
    fn names_are_dns_components() {
        for good in ["a", "web", "web-1", "a_b", "A9"] {
            assert_eq!(check(&View::default(), spec(good, vec![])), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "a b", "ä", "../x", &"a".repeat(64)] {
            assert!(check(&View::default(), spec(bad, vec![])).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_published_port_is_taken_once() {
        let mut view = View::default();
        let web = Service {
            id: "w1".into(),
            spec: spec("web", vec![port(8080, PublishMode::Ingress)]),
            ..Default::default()
        };
        let host =
            Service { id: "h1".into(), spec: spec("host", vec![port(9090, PublishMode::Host)]), ..Default::default() };
        let actions = vec![create(web), create(host)];
        view.apply(&StoreTransaction { actions, time_ns: 1 }, 1).unwrap();
        assert_eq!(
            check(&view, spec("other", vec![port(8080, PublishMode::Ingress)])),
            Err("port '8080' is already in use by service 'web' (w1)".into())
        );
        assert_eq!(
            check(&view, spec("other", vec![port(9090, PublishMode::Ingress)])),
            Err("port '9090' is already in use by service 'host' (h1) as a host-published port".into())
        );
        assert_eq!(check(&view, spec("other", vec![port(9090, PublishMode::Host)])), Ok(()));
        assert_eq!(check(&view, spec("other", vec![port(0, PublishMode::Ingress)])), Ok(()));
        let mut same = spec("web", vec![port(8080, PublishMode::Ingress)]);
        assert!(check_service(&view, &mut same, Some("w1")).is_ok());
    }

    #[test]
    fn what_cannot_work_is_refused_in_dockers_words() {
        let refused = |change: &dyn Fn(&mut ServiceSpec), words: &str| {
            let mut spec = spec("web", vec![port(80, PublishMode::Ingress)]);
            change(&mut spec);
            let error = check(&View::default(), spec).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        refused(&|s| s.endpoint.mode = EndpointMode::Dnsrr, "can't be used with dnsrr mode");
        refused(&|s| s.task.container.image.clear(), "image reference must be provided");
        refused(
            &|s| {
                let mount = Mount { target: "/data".into(), ..Mount::default() };
                s.task.container.mounts = vec![mount.clone(), mount];
            },
            "duplicate mount point: /data",
        );
        refused(
            &|s| {
                let mount = |target: &str| Mount { target: target.into(), ..Mount::default() };
                s.task.container.mounts = vec![mount("/data"), mount("/x/../data/.")];
            },
            "duplicate mount point: /x/../data/.",
        );
        refused(&|s| s.task.resources.limits.memory_bytes = 1024, "Must be at least 4MiB");
        refused(&|s| s.task.placement.constraints = vec!["node.role".into()], "node.role");
        refused(
            &|s| s.task.networks = vec![NetworkAttachmentSpec { target: "app".into(), ..Default::default() }],
            "network app not found",
        );
        refused(&|s| s.endpoint.ports.push(port(80, PublishMode::Ingress)), "duplicate published ports");
        refused(&|s| s.endpoint.ports[0].target_port = 70_000, "ports are 1 to 65535");
        refused(&|s| s.update = Some(UpdateConfig { max_failure_ratio: 2.0, ..Default::default() }), "maxfailureratio");
    }

    #[test]
    fn a_spec_with_gaps_is_refused() {
        let whole = || api::ServiceSpec::from(spec("web", Vec::new()));
        assert!(read_service(whole()).is_ok());
        let refused = |spec: api::ServiceSpec| read_service(spec).unwrap_err().message().to_owned();
        assert_eq!(refused(api::ServiceSpec { annotations: None, ..whole() }), "meta: name must be provided");
        assert_eq!(refused(api::ServiceSpec { task: None, ..whole() }), "TaskSpec: missing runtime");
        let empty = Some(api::TaskSpec::default());
        assert_eq!(refused(api::ServiceSpec { task: empty, ..whole() }), "TaskSpec: missing runtime");
        assert_eq!(refused(api::ServiceSpec { mode: None, ..whole() }), "a service is either replicated or global");
    }

    #[test]
    fn a_network_that_no_node_could_carry_is_refused() {
        let mut view = View::default();
        let ipam = |subnet: &str| vec![IpamConfig { subnet: subnet.into(), ..IpamConfig::default() }];
        let spec = |name: &str| NetworkSpec {
            annotations: Annotations { name: name.into(), ..Annotations::default() },
            ..NetworkSpec::default()
        };
        let app = Network { id: "n1".into(), spec: spec("app"), ipam: ipam("10.0.1.0/24"), ..Default::default() };
        view.apply(&StoreTransaction { actions: vec![create(app)], time_ns: 1 }, 1).unwrap();
        let check = |change: &dyn Fn(&mut NetworkSpec)| {
            let mut spec = spec("web");
            change(&mut spec);
            check_network(&view, &mut spec).map_err(|status| status.message().to_owned())
        };
        let option = |name: &str, value: &str| {
            let (name, value) = (name.to_owned(), value.to_owned());
            check(&move |spec| drop(spec.driver_options.insert(name.clone(), value.clone())))
        };
        assert!(option("encrypted", "").unwrap_err().contains("without --opt encrypted"));
        assert_eq!(option("com.docker.network.driver.mtu", "1400"), Ok(()));
        for bad in ["", "x", "-1", "67", "65536", "1e3"] {
            assert!(option("com.docker.network.driver.mtu", bad).unwrap_err().contains("invalid MTU"), "{bad}");
        }
        assert_eq!(check(&|spec| spec.ipam = ipam("10.0.2.0/24")), Ok(()));
        assert_eq!(
            check(&|spec| spec.ipam = ipam("10.0.1.128/25")),
            Err("invalid pool request: subnet 10.0.1.128/25 overlaps with 10.0.1.0/24 of network app".into())
        );
        assert!(check(&|spec| spec.ipam = [ipam("10.0.2.0/24"), ipam("10.0.3.0/24")].concat()).is_err());
    }
}
