//! From the wire's and the log's form to the model's and back. Nowhere else is a part looked for that may be missing:
//! what an older release did not write is what its default says.

use super::{
    Attachment, Cluster, Endpoint, EndpointSpec, Mode, Network, NetworkAttachment, NetworkAttachmentSpec, NetworkSpec,
    Node, NodeAttachment, NodeSpec, NodeStatus, PortConfig, PortStatus, ResourceRequirements, RestartPolicy, Service,
    ServiceSpec, Task, TaskSpec, TaskStatus, UpdateConfig, UpdateStatus, VirtualIp,
};
use crate::api::{self, service_spec};

/// Fields by how they are converted: `plain` ones are the same or convert by themselves, a `part` is a message that the
/// model always has, a `kind` is an enumeration, `maybe` and `many` hold messages.
macro_rules! mirror {
    ($name:ident {
        plain: [$($plain:ident)*] $(, part: [$($part:ident)*])? $(, kind: [$($kind:ident)*])?
        $(, maybe: [$($maybe:ident)*])? $(, many: [$($many:ident)*])?
    }) => {
        impl From<api::$name> for $name {
            fn from(given: api::$name) -> Self {
                $($(let $kind = given.$kind();)*)?
                Self {
                    $($plain: given.$plain.into(),)*
                    $($($part: given.$part.unwrap_or_default().into(),)*)?
                    $($($kind,)*)?
                    $($($maybe: given.$maybe.map(Into::into),)*)?
                    $($($many: given.$many.into_iter().map(Into::into).collect(),)*)?
                }
            }
        }

        impl From<$name> for api::$name {
            fn from(given: $name) -> Self {
                Self {
                    $($plain: given.$plain.into(),)*
                    $($($part: Some(given.$part.into()),)*)?
                    $($($kind: given.$kind.into(),)*)?
                    $($($maybe: given.$maybe.map(Into::into),)*)?
                    $($($many: given.$many.into_iter().map(Into::into).collect(),)*)?
                }
            }
        }
    };
}

mod assignments;
mod logs;

mirror! { NodeSpec { plain: [], part: [annotations], kind: [desired_role availability] } }
mirror! { NodeStatus { plain: [message addr since_ns], kind: [state] } }
mirror! { NodeAttachment { plain: [network_id address] } }
mirror! { Node {
    plain: [id data_path_addr],
    part: [meta spec status],
    kind: [role],
    maybe: [description manager_status],
    many: [attachments]
}}

mirror! { ResourceRequirements { plain: [limit_pids], part: [limits reservations] } }
mirror! { RestartPolicy { plain: [delay_ns max_attempts window_ns], kind: [condition] } }
mirror! { NetworkAttachmentSpec { plain: [target aliases driver_opts] } }
mirror! { TaskSpec {
    plain: [force_update],
    part: [container resources placement],
    maybe: [restart log_driver],
    many: [networks]
}}
mirror! { UpdateConfig {
    plain: [parallelism delay_ns monitor_ns max_failure_ratio],
    kind: [failure_action order]
}}
mirror! { PortConfig { plain: [name target_port published_port], kind: [protocol publish_mode] } }
mirror! { EndpointSpec { plain: [], kind: [mode], many: [ports] } }
mirror! { VirtualIp { plain: [network_id address] } }
mirror! { Endpoint { plain: [], kind: [mode], many: [ports virtual_ips] } }
mirror! { UpdateStatus { plain: [started_at_ns completed_at_ns message], kind: [state] } }
mirror! { Service {
    plain: [id spec_version previous_spec_version pending_delete allocation_error],
    part: [meta spec],
    maybe: [previous_spec endpoint update_status]
}}

mirror! { PortStatus { plain: [], many: [ports] } }
mirror! { TaskStatus {
    plain: [timestamp_ns message err applied_at_ns running_at_ns draining],
    kind: [state],
    maybe: [container port_status]
}}
mirror! { NetworkAttachment { plain: [network_id address aliases] } }
mirror! { Task {
    plain: [id spec_version service_id slot node_id restarts_ns not_before_ns],
    part: [meta spec annotations service_annotations status endpoint],
    kind: [desired_state],
    many: [networks]
}}

mirror! { NetworkSpec { plain: [driver driver_options internal attachable ingress ipam], part: [annotations] } }
mirror! { Network { plain: [id ipam vni pending_delete allocation_error], part: [meta spec] } }
mirror! { Attachment {
    plain: [id network_id node_id container_id container_name aliases address allocation_error],
    part: [meta]
}}

impl From<api::Cluster> for Cluster {
    fn from(given: api::Cluster) -> Self {
        Self {
            id: given.id.into(),
            meta: given.meta.unwrap_or_default(),
            spec: given.spec.unwrap_or_default(),
            root_ca: given.root_ca,
            default_address_pool: given.default_address_pool,
            subnet_size: given.subnet_size,
            data_path_port: given.data_path_port,
            blacklisted_nodes: given.blacklisted_nodes.into_iter().map(|(id, until)| (id.into(), until)).collect(),
            removed_raft_ids: given.removed_raft_ids,
        }
    }
}

impl From<Cluster> for api::Cluster {
    fn from(given: Cluster) -> Self {
        Self {
            id: given.id.into(),
            meta: Some(given.meta),
            spec: Some(given.spec),
            root_ca: given.root_ca,
            default_address_pool: given.default_address_pool,
            subnet_size: given.subnet_size,
            data_path_port: given.data_path_port,
            blacklisted_nodes: given.blacklisted_nodes.into_iter().map(|(id, until)| (id.into(), until)).collect(),
            removed_raft_ids: given.removed_raft_ids,
        }
    }
}

impl From<api::ServiceSpec> for ServiceSpec {
    fn from(given: api::ServiceSpec) -> Self {
        Self {
            annotations: given.annotations.unwrap_or_default(),
            task: given.task.unwrap_or_default().into(),
            mode: match given.mode {
                Some(service_spec::Mode::Global(_)) => Mode::Global,
                Some(service_spec::Mode::Replicated(mode)) => Mode::Replicated(mode.replicas),
                None => Mode::default(),
            },
            update: given.update.map(Into::into),
            rollback: given.rollback.map(Into::into),
            endpoint: given.endpoint.unwrap_or_default().into(),
        }
    }
}

impl From<ServiceSpec> for api::ServiceSpec {
    fn from(given: ServiceSpec) -> Self {
        Self {
            annotations: Some(given.annotations),
            task: Some(given.task.into()),
            mode: Some(match given.mode {
                Mode::Global => service_spec::Mode::Global(api::GlobalService {}),
                Mode::Replicated(replicas) => service_spec::Mode::Replicated(api::ReplicatedService { replicas }),
            }),
            update: given.update.map(Into::into),
            rollback: given.rollback.map(Into::into),
            endpoint: Some(given.endpoint.into()),
        }
    }
}

/// As an object of the log.
macro_rules! object {
    ($($name:ident)*) => {$(
        impl From<$name> for api::object::Object {
            fn from(object: $name) -> Self {
                Self::$name(object.into())
            }
        }
    )*};
}

object! { Cluster Node Service Task Network Attachment }

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written back is what was read, apart from parts that were missing and are their defaults now.
    fn check<M: From<W>, W: From<M> + Clone + PartialEq + std::fmt::Debug>(written: W) {
        assert_eq!(W::from(M::from(written.clone())), written);
    }

    #[test]
    fn nothing_is_lost_on_the_way_through_the_model() {
        let annotations = Some(api::Annotations { name: "web".into(), labels: [("a".into(), "b".into())].into() });
        let meta = Some(api::Meta { version: 3, created_at_ns: 4, updated_at_ns: 5 });
        let mut port =
            api::PortConfig { name: "p".into(), target_port: 80, published_port: 8080, ..Default::default() };
        port.set_protocol(api::PortProtocol::Udp);
        port.set_publish_mode(api::PublishMode::Host);
        let mut endpoint = api::Endpoint { ports: vec![port.clone()], ..Default::default() };
        endpoint.virtual_ips = vec![api::VirtualIp { network_id: "n".into(), address: "10.0.0.2/24".into() }];
        endpoint.set_mode(api::EndpointMode::Dnsrr);
        let spec = api::TaskSpec {
            container: Some(api::ContainerSpec { image: "i".into(), ..Default::default() }),
            resources: Some(api::ResourceRequirements {
                limits: Some(api::Resources { nano_cpus: 1, ..Default::default() }),
                reservations: Some(api::Resources { memory_bytes: 2, ..Default::default() }),
                limit_pids: 3,
            }),
            restart: Some(api::RestartPolicy { condition: 2, delay_ns: Some(0), max_attempts: 4, window_ns: 5 }),
            placement: Some(api::Placement { constraints: vec!["node.id==a".into()], ..Default::default() }),
            networks: vec![api::NetworkAttachmentSpec { target: "n".into(), ..Default::default() }],
            log_driver: Some(api::LogDriver { name: "none".into(), ..Default::default() }),
            force_update: 7,
        };
        let status = api::TaskStatus {
            state: api::TaskState::Running.into(),
            timestamp_ns: 1,
            message: "m".into(),
            err: "e".into(),
            container: Some(api::ContainerStatus { container_id: "c".into(), pid: 2, exit_code: 3 }),
            port_status: Some(api::PortStatus { ports: vec![port.clone()] }),
            applied_at_ns: 4,
            running_at_ns: 5,
            draining: true,
        };
        check::<Task, _>(api::Task {
            id: "t".into(),
            meta,
            spec: Some(spec.clone()),
            spec_version: 2,
            service_id: "s".into(),
            slot: 1,
            node_id: "n".into(),
            annotations: annotations.clone(),
            service_annotations: annotations.clone(),
            status: Some(status),
            desired_state: api::TaskState::Shutdown.into(),
            networks: vec![api::NetworkAttachment { network_id: "n".into(), ..Default::default() }],
            endpoint: Some(endpoint.clone()),
            restarts_ns: vec![1, 2],
            not_before_ns: 9,
        });
        let update = api::UpdateConfig { parallelism: 2, failure_action: 1, order: 1, ..Default::default() };
        let service_spec = api::ServiceSpec {
            annotations: annotations.clone(),
            task: Some(spec),
            mode: Some(service_spec::Mode::Global(api::GlobalService {})),
            update: Some(update),
            rollback: None,
            endpoint: Some(api::EndpointSpec { mode: 1, ports: vec![port] }),
        };
        check::<Service, _>(api::Service {
            id: "s".into(),
            meta,
            spec: Some(service_spec.clone()),
            spec_version: 1,
            previous_spec: Some(service_spec),
            previous_spec_version: 2,
            endpoint: Some(endpoint),
            update_status: Some(api::UpdateStatus { state: 3, message: "m".into(), ..Default::default() }),
            pending_delete: true,
            allocation_error: "full".into(),
        });
        check::<Node, _>(api::Node {
            id: "n".into(),
            meta,
            spec: Some(api::NodeSpec { annotations: annotations.clone(), desired_role: 1, availability: 2 }),
            description: Some(api::NodeDescription { hostname: "h".into(), ..Default::default() }),
            status: Some(api::NodeStatus { state: 2, message: "m".into(), addr: "a".into(), since_ns: 4 }),
            role: 1,
            manager_status: Some(api::ManagerStatus { raft_id: 7, ..Default::default() }),
            attachments: vec![api::NodeAttachment { network_id: "n".into(), address: "10.0.0.3/24".into() }],
            data_path_addr: "10.1.1.1".into(),
        });
        check::<Network, _>(api::Network {
            id: "n".into(),
            meta,
            spec: Some(api::NetworkSpec { annotations, ingress: true, attachable: true, ..Default::default() }),
            ipam: vec![api::IpamConfig { subnet: "10.0.0.0/24".into(), ..Default::default() }],
            vni: 4097,
            pending_delete: true,
            allocation_error: "none".into(),
        });
        check::<Cluster, _>(api::Cluster {
            id: "c".into(),
            meta,
            spec: Some(api::ClusterSpec { task_history_limit: Some(0), ..Default::default() }),
            root_ca: Some(api::RootCa { cert_digest: "d".into(), ..Default::default() }),
            default_address_pool: vec!["10.0.0.0/8".into()],
            subnet_size: 24,
            data_path_port: 4789,
            blacklisted_nodes: [("n".into(), 5)].into(),
            removed_raft_ids: vec![1],
        });
        check::<Attachment, _>(api::Attachment {
            id: "a".into(),
            meta,
            network_id: "n".into(),
            node_id: "m".into(),
            container_id: "c".into(),
            container_name: "web".into(),
            aliases: vec!["w".into()],
            address: "10.0.0.4/24".into(),
            allocation_error: "e".into(),
        });
    }
}
