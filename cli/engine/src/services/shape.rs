//! Services and tasks of the swarm as docker's JSON. The way back is in [`super::request`].

use std::collections::BTreeMap;

use serde_json::{Map, json};
use skep_cluster::api::{
    ContainerSpec, Mount, PortConfig, Resources, Service, ServiceCounts, ServiceSpec, Task, TaskSpec, UpdateConfig,
    UpdateState, service_spec,
};
use skep_cluster::model::{GRACE_DEFAULT_NS, MONITOR_DEFAULT_NS};

use super::words::Word;
use crate::docker::create::HealthConfig;
use crate::docker::mount::{self as docker_mount, Driver};
use crate::docker::{Empty, service as docker, task as docker_task};
use crate::time::{rfc3339, timestamp};

/// Go's `omitempty`: what is empty is not written.
trait UnlessEmpty: Sized {
    fn unless_empty(self) -> Option<Self>;
}

macro_rules! unless_empty {
    ($($kind:ty: $is_empty:expr),+ $(,)?) => {$(
        impl UnlessEmpty for $kind {
            fn unless_empty(self) -> Option<Self> {
                let is_empty: fn(&Self) -> bool = $is_empty;
                (!is_empty(&self)).then_some(self)
            }
        }
    )+};
}

unless_empty! {
    String: String::is_empty,
    BTreeMap<String, String>: BTreeMap::is_empty,
    bool: |flag| !flag,
    i64: |number| *number == 0,
    u64: |number| *number == 0,
    u32: |number| *number == 0,
}

impl<T> UnlessEmpty for Vec<T> {
    fn unless_empty(self) -> Option<Self> {
        (!self.is_empty()).then_some(self)
    }
}

/// What differs from the empty value of its type.
fn unless_default<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn time(nanoseconds: i64) -> String {
    rfc3339(timestamp(nanoseconds))
}

/// A service; with the counts of its tasks where they were asked for.
pub(super) fn service(service: &Service, counts: Option<ServiceCounts>) -> docker::Service {
    let meta = service.meta.unwrap_or_default();
    let status = service.update_status.as_ref().filter(|status| status.state() != UpdateState::Unknown);
    docker::Service {
        id: service.id.clone(),
        version: docker::Version { index: meta.version },
        created_at: time(meta.created_at_ns),
        updated_at: time(meta.updated_at_ns),
        spec: spec(service.spec.as_ref()),
        previous_spec: service.previous_spec.as_ref().map(|previous| spec(Some(previous))),
        endpoint: endpoint(service),
        update_status: status.map(|status| docker::UpdateStatus {
            state: Some(status.state().word().to_owned()),
            started_at: Some(time(status.started_at_ns)),
            completed_at: (status.completed_at_ns != 0).then(|| time(status.completed_at_ns)),
            message: Some(status.message.clone()),
        }),
        service_status: counts.map(|counts| docker::ServiceStatus {
            running_tasks: counts.running,
            desired_tasks: counts.desired,
            completed_tasks: 0,
        }),
        job_status: None,
        allocation_error: service.allocation_error.clone().unless_empty(),
    }
}

/// What is asked of a service.
pub(super) fn spec(spec: Option<&ServiceSpec>) -> docker::ServiceSpec {
    let spec = spec.cloned().unwrap_or_default();
    let annotations = spec.annotations.unwrap_or_default();
    let mode = match spec.mode {
        Some(service_spec::Mode::Global(_)) => docker::Mode { global: Some(Empty {}), ..docker::Mode::default() },
        Some(service_spec::Mode::Replicated(mode)) => docker::Mode {
            replicated: Some(docker::Replicated { replicas: Some(mode.replicas) }),
            ..docker::Mode::default()
        },
        None => docker::Mode::default(),
    };
    let endpoint = spec.endpoint.unwrap_or_default();
    docker::ServiceSpec {
        name: Some(annotations.name),
        labels: Some(annotations.labels),
        task_template: task_spec(&spec.task.unwrap_or_default()),
        mode,
        update_config: spec.update.as_ref().map(update_config),
        rollback_config: spec.rollback.as_ref().map(update_config),
        networks: None,
        endpoint_spec: Some(docker::EndpointSpec {
            mode: Some(endpoint.mode().word().to_owned()),
            ports: ports(&endpoint.ports).unless_empty(),
        }),
    }
}

fn task_spec(task: &TaskSpec) -> docker::TaskSpec {
    let requirements = task.resources.clone().unwrap_or_default();
    let mut limits = amounts(requirements.limits.as_ref());
    limits.pids = requirements.limit_pids.unless_empty();
    let networks: Vec<docker::NetworkAttachmentConfig> = task
        .networks
        .iter()
        .map(|network| docker::NetworkAttachmentConfig {
            target: Some(network.target.clone()),
            aliases: network.aliases.clone().unless_empty(),
            driver_opts: network.driver_opts.clone().unless_empty(),
        })
        .collect();
    docker::TaskSpec {
        container_spec: Some(container(&task.container.clone().unwrap_or_default())),
        resources: Some(docker::ResourceRequirements {
            limits: Some(limits),
            reservations: Some(amounts(requirements.reservations.as_ref())),
        }),
        restart_policy: task.restart.as_ref().map(|policy| docker::RestartPolicy {
            condition: Some(policy.condition().word().to_owned()),
            delay: policy.delay_ns.filter(|delay| *delay != 0),
            max_attempts: Some(policy.max_attempts),
            window: policy.window_ns.unless_empty(),
        }),
        placement: Some(placement(task)),
        networks: networks.unless_empty(),
        log_driver: task
            .log_driver
            .as_ref()
            .map(|driver| Driver { name: Some(driver.name.clone()), options: Some(driver.options.clone()) }),
        force_update: task.force_update,
        runtime: Some("container".to_owned()),
        ..docker::TaskSpec::default()
    }
}

fn placement(task: &TaskSpec) -> docker::Placement {
    let placement = task.placement.clone().unwrap_or_default();
    let spread = |descriptor: &String| docker::Preference {
        spread: Some(docker::Spread { spread_descriptor: descriptor.clone() }),
    };
    let platform = |platform: &skep_cluster::api::Platform| docker::Platform {
        architecture: Some(platform.architecture.clone()),
        os: Some(platform.os.clone()),
    };
    docker::Placement {
        preferences: placement.spread.iter().map(spread).collect::<Vec<_>>().unless_empty(),
        max_replicas: placement.max_replicas_per_node.unless_empty(),
        platforms: placement.platforms.iter().map(platform).collect::<Vec<_>>().unless_empty(),
        constraints: placement.constraints.unless_empty(),
    }
}

fn amounts(resources: Option<&Resources>) -> docker::Amounts {
    let resources = resources.cloned().unwrap_or_default();
    docker::Amounts {
        nano_cpus: resources.nano_cpus.unless_empty(),
        memory_bytes: resources.memory_bytes.unless_empty(),
        ..docker::Amounts::default()
    }
}

fn container(spec: &ContainerSpec) -> docker::ContainerSpec {
    let ulimits = spec.ulimits.iter().map(|limit| docker::Ulimit {
        name: Some(limit.name.clone()),
        hard: Some(limit.hard),
        soft: Some(limit.soft),
    });
    docker::ContainerSpec {
        image: Some(spec.image.clone()),
        labels: spec.labels.clone().unless_empty(),
        command: spec.command.clone().unless_empty(),
        args: spec.args.clone().unless_empty(),
        hostname: spec.hostname.clone().unless_empty(),
        env: spec.env.clone().unless_empty(),
        dir: spec.dir.clone().unless_empty(),
        user: spec.user.clone().unless_empty(),
        groups: spec.groups.clone().unless_empty(),
        init: Some(spec.init),
        stop_signal: spec.stop_signal.clone().unless_empty(),
        tty: spec.tty.unless_empty(),
        open_stdin: spec.open_stdin.unless_empty(),
        read_only: spec.read_only.unless_empty(),
        mounts: spec.mounts.iter().map(mount).collect::<Vec<_>>().unless_empty(),
        stop_grace_period: Some(spec.stop_grace_period_ns.unwrap_or(GRACE_DEFAULT_NS)),
        healthcheck: spec.health_check.as_ref().map(|check| HealthConfig {
            test: check.test.clone().unless_empty(),
            interval: check.interval_ns.unless_empty(),
            timeout: check.timeout_ns.unless_empty(),
            start_period: check.start_period_ns.unless_empty(),
            start_interval: check.start_interval_ns.unless_empty(),
            retries: i64::from(check.retries).unless_empty(),
        }),
        hosts: spec.hosts.clone().unless_empty(),
        dns_config: Some(docker::DnsConfig {
            nameservers: spec.dns_nameservers.clone().unless_empty(),
            search: spec.dns_search.clone().unless_empty(),
            options: spec.dns_options.clone().unless_empty(),
        }),
        isolation: Some("default".to_owned()),
        sysctls: spec.sysctls.clone().unless_empty(),
        capability_add: spec.cap_add.clone().unless_empty(),
        capability_drop: spec.cap_drop.clone().unless_empty(),
        ulimits: ulimits.collect::<Vec<_>>().unless_empty(),
        oom_score_adj: spec.oom_score_adj.unless_empty(),
        ..docker::ContainerSpec::default()
    }
}

fn mount(mount: &Mount) -> docker_mount::Mount {
    docker_mount::Mount {
        kind: mount.r#type().word().to_owned(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only.unless_empty(),
        bind_options: unless_default(docker_mount::BindOptions {
            propagation: mount.bind_propagation.clone().unless_empty(),
            create_mountpoint: mount.bind_create_source.unless_empty(),
            ..docker_mount::BindOptions::default()
        }),
        volume_options: unless_default(docker_mount::VolumeOptions {
            no_copy: mount.volume_no_copy.unless_empty(),
            labels: mount.volume_labels.clone().unless_empty(),
            ..docker_mount::VolumeOptions::default()
        }),
        tmpfs_options: unless_default(docker_mount::TmpfsOptions {
            size_bytes: mount.tmpfs_size_bytes.unless_empty(),
            mode: mount.tmpfs_mode.unless_empty(),
            ..docker_mount::TmpfsOptions::default()
        }),
        ..docker_mount::Mount::default()
    }
}

fn update_config(config: &UpdateConfig) -> docker::UpdateConfig {
    docker::UpdateConfig {
        parallelism: Some(config.parallelism),
        delay: config.delay_ns.unless_empty(),
        failure_action: Some(config.failure_action().word().to_owned()),
        monitor: Some(config.monitor_ns.unwrap_or(MONITOR_DEFAULT_NS)),
        max_failure_ratio: docker::Ratio::try_from(config.max_failure_ratio).ok(),
        order: Some(config.order().word().to_owned()),
    }
}

fn ports(ports: &[PortConfig]) -> Vec<docker::PortConfig> {
    let one = |port: &PortConfig| docker::PortConfig {
        name: None,
        protocol: Some(port.protocol().word().to_owned()),
        target_port: Some(port.target_port),
        published_port: port.published_port.unless_empty(),
        publish_mode: Some(port.publish_mode().word().to_owned()),
    };
    ports.iter().map(one).collect()
}

fn endpoint(service: &Service) -> docker::Endpoint {
    let endpoint = service.endpoint.clone().unwrap_or_default();
    let wanted = service.spec.as_ref().and_then(|spec| spec.endpoint.clone()).unwrap_or_default();
    let address = |vip: &skep_cluster::api::VirtualIp| docker::VirtualIp {
        network_id: Some(vip.network_id.clone()),
        addr: Some(vip.address.clone()),
    };
    docker::Endpoint {
        spec: docker::EndpointSpec {
            mode: Some(wanted.mode().word().to_owned()),
            ports: ports(&wanted.ports).unless_empty(),
        },
        ports: ports(&endpoint.ports).unless_empty(),
        virtual_ips: endpoint.virtual_ips.iter().map(address).collect::<Vec<_>>().unless_empty(),
    }
}

/// A task.
pub(super) fn task(task: &Task) -> docker_task::Task {
    let meta = task.meta.unwrap_or_default();
    let status = task.status.clone().unwrap_or_default();
    let bound = status.port_status.clone().unwrap_or_default();
    let attachment = |network: &skep_cluster::api::NetworkAttachment| docker_task::NetworkAttachment {
        network: Map::from_iter([("ID".to_owned(), json!(network.network_id))]),
        addresses: Some(vec![network.address.clone()]),
    };
    docker_task::Task {
        id: task.id.clone(),
        version: docker::Version { index: meta.version },
        created_at: time(meta.created_at_ns),
        updated_at: time(meta.updated_at_ns),
        labels: Some(BTreeMap::new()),
        spec: task_spec(&task.spec.clone().unwrap_or_default()),
        service_id: Some(task.service_id.clone()),
        slot: task.slot.unless_empty(),
        node_id: task.node_id.clone().unless_empty(),
        status: docker_task::TaskStatus {
            timestamp: time(status.timestamp_ns),
            state: Some(status.state().word().to_owned()),
            message: status.message.clone().unless_empty(),
            err: status.err.clone().unless_empty(),
            container_status: status.container.as_ref().map(|container| docker_task::ContainerStatus {
                container_id: container.container_id.clone(),
                pid: container.pid,
                exit_code: container.exit_code,
            }),
            port_status: docker_task::PortStatus { ports: ports(&bound.ports).unless_empty() },
        },
        desired_state: Some(task.desired_state().word().to_owned()),
        networks_attachments: task.networks.iter().map(attachment).collect::<Vec<_>>().unless_empty(),
        ..docker_task::Task::default()
    }
}
