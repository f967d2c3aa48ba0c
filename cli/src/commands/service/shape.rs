//! Services and tasks in the shape of docker's JSON.

use serde_json::{Map, Value, json};
use skep_cluster::api::{
    ContainerSpec, EndpointMode, Mount, MountType, PortConfig, PublishMode, Resources, RestartCondition, Service,
    ServiceSpec, Task, TaskSpec, UpdateConfig, UpdateFailureAction, UpdateOrder, UpdateState, service_spec,
};

use super::{converge, list};
use crate::format::human;

/// An object being built, where empty fields are left out as docker's `omitempty` does.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves out `null`, `""`, `0`, `false`, `[]` and `{}`.
    fn unless_empty(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        let empty = match &value {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
        };
        if !empty {
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    fn build(&mut self) -> Value {
        Value::Object(std::mem::take(&mut self.0))
    }
}

fn time(nanoseconds: i64) -> String {
    human::rfc3339(human::timestamp(nanoseconds))
}

/// A service.
pub fn service(service: &Service) -> Value {
    let meta = service.meta.unwrap_or_default();
    let mut fields = Fields::default();
    fields
        .set("ID", service.id.clone())
        .set("Version", json!({"Index": meta.version}))
        .set("CreatedAt", time(meta.created_at_ns))
        .set("UpdatedAt", time(meta.updated_at_ns))
        .set("Spec", spec(service.spec.as_ref()));
    if let Some(previous) = &service.previous_spec {
        fields.set("PreviousSpec", spec(Some(previous)));
    }
    fields.set("Endpoint", endpoint(service));
    if let Some(status) = service.update_status.as_ref().filter(|status| status.state() != UpdateState::Unknown) {
        let mut update = Fields::default();
        update.set("State", update_state(status.state())).set("StartedAt", time(status.started_at_ns));
        if status.completed_at_ns != 0 {
            update.set("CompletedAt", time(status.completed_at_ns));
        }
        update.set("Message", status.message.clone());
        fields.set("UpdateStatus", update.build());
    }
    fields.unless_empty("AllocationError", service.allocation_error.clone());
    fields.build()
}

/// Docker's word for the state of an update.
pub fn update_state(state: UpdateState) -> &'static str {
    match state {
        UpdateState::Unknown => "",
        UpdateState::Updating => "updating",
        UpdateState::Paused => "paused",
        UpdateState::Completed => "completed",
        UpdateState::RollbackStarted => "rollback_started",
        UpdateState::RollbackPaused => "rollback_paused",
        UpdateState::RollbackCompleted => "rollback_completed",
    }
}

fn spec(spec: Option<&ServiceSpec>) -> Value {
    let spec = spec.cloned().unwrap_or_default();
    let annotations = spec.annotations.unwrap_or_default();
    let mode = match spec.mode {
        Some(service_spec::Mode::Global(_)) => json!({"Global": {}}),
        Some(service_spec::Mode::Replicated(mode)) => json!({"Replicated": {"Replicas": mode.replicas}}),
        None => json!({}),
    };
    let mut fields = Fields::default();
    fields
        .set("Name", annotations.name)
        .set("Labels", json!(annotations.labels))
        .set("TaskTemplate", task_spec(&spec.task.unwrap_or_default()))
        .set("Mode", mode);
    if let Some(config) = &spec.update {
        fields.set("UpdateConfig", update_config(config));
    }
    if let Some(config) = &spec.rollback {
        fields.set("RollbackConfig", update_config(config));
    }
    let endpoint = spec.endpoint.unwrap_or_default();
    let mut shown = Fields::default();
    shown.set("Mode", endpoint_mode(endpoint.mode())).unless_empty("Ports", ports(&endpoint.ports));
    fields.set("EndpointSpec", shown.build());
    fields.build()
}

/// `vip` or `dnsrr`.
pub fn endpoint_mode(mode: EndpointMode) -> &'static str {
    match mode {
        EndpointMode::Vip => "vip",
        EndpointMode::Dnsrr => "dnsrr",
    }
}

fn task_spec(task: &TaskSpec) -> Value {
    let mut fields = Fields::default();
    fields.set("ContainerSpec", container(&task.container.clone().unwrap_or_default()));
    let requirements = task.resources.clone().unwrap_or_default();
    let mut resources = Fields::default();
    let mut limits = amounts(requirements.limits.as_ref());
    limits.unless_empty("Pids", requirements.limit_pids);
    resources.set("Limits", limits.build()).set("Reservations", amounts(requirements.reservations.as_ref()).build());
    fields.set("Resources", resources.build());
    if let Some(policy) = &task.restart {
        let mut restart = Fields::default();
        restart.set("Condition", condition(policy.condition()));
        restart.unless_empty("Delay", policy.delay_ns).set("MaxAttempts", policy.max_attempts);
        restart.unless_empty("Window", policy.window_ns);
        fields.set("RestartPolicy", restart.build());
    }
    let placement = task.placement.clone().unwrap_or_default();
    let spread: Vec<Value> =
        placement.spread.iter().map(|descriptor| json!({"Spread": {"SpreadDescriptor": descriptor}})).collect();
    let platforms: Vec<Value> = placement
        .platforms
        .iter()
        .map(|platform| json!({"Architecture": platform.architecture, "OS": platform.os}))
        .collect();
    let mut shown = Fields::default();
    shown
        .unless_empty("Constraints", placement.constraints)
        .unless_empty("Preferences", spread)
        .unless_empty("MaxReplicas", placement.max_replicas_per_node)
        .unless_empty("Platforms", platforms);
    fields.set("Placement", shown.build());
    let networks: Vec<Value> = task
        .networks
        .iter()
        .map(|network| {
            let mut attached = Fields::default();
            attached.set("Target", network.target.clone()).unless_empty("Aliases", network.aliases.clone());
            attached.unless_empty("DriverOpts", json!(network.driver_opts));
            attached.build()
        })
        .collect();
    fields.unless_empty("Networks", networks);
    if let Some(driver) = &task.log_driver {
        fields.set("LogDriver", json!({"Name": driver.name, "Options": driver.options}));
    }
    fields.set("ForceUpdate", task.force_update).set("Runtime", "container");
    fields.build()
}

/// Docker's word for when a task is made again.
pub fn condition(condition: RestartCondition) -> &'static str {
    match condition {
        RestartCondition::Any => "any",
        RestartCondition::OnFailure => "on-failure",
        RestartCondition::None => "none",
    }
}

fn amounts(resources: Option<&Resources>) -> Fields {
    let resources = resources.cloned().unwrap_or_default();
    let mut fields = Fields::default();
    fields.unless_empty("NanoCPUs", resources.nano_cpus).unless_empty("MemoryBytes", resources.memory_bytes);
    fields
}

fn container(spec: &ContainerSpec) -> Value {
    let mut fields = Fields::default();
    fields
        .set("Image", spec.image.clone())
        .unless_empty("Labels", json!(spec.labels))
        .unless_empty("Command", spec.command.clone())
        .unless_empty("Args", spec.args.clone())
        .unless_empty("Hostname", spec.hostname.clone())
        .unless_empty("Env", spec.env.clone())
        .unless_empty("Dir", spec.dir.clone())
        .unless_empty("User", spec.user.clone())
        .unless_empty("Groups", spec.groups.clone())
        .set("Init", spec.init)
        .unless_empty("StopSignal", spec.stop_signal.clone())
        .unless_empty("TTY", spec.tty)
        .unless_empty("OpenStdin", spec.open_stdin)
        .unless_empty("ReadOnly", spec.read_only)
        .unless_empty("Mounts", spec.mounts.iter().map(mount).collect::<Vec<_>>())
        .set("StopGracePeriod", spec.stop_grace_period_ns.unwrap_or(10_000_000_000));
    if let Some(check) = &spec.health_check {
        let mut health = Fields::default();
        health
            .unless_empty("Test", check.test.clone())
            .unless_empty("Interval", check.interval_ns)
            .unless_empty("Timeout", check.timeout_ns)
            .unless_empty("StartPeriod", check.start_period_ns)
            .unless_empty("StartInterval", check.start_interval_ns)
            .unless_empty("Retries", check.retries);
        fields.set("Healthcheck", health.build());
    }
    let mut dns = Fields::default();
    dns.unless_empty("Nameservers", spec.dns_nameservers.clone())
        .unless_empty("Search", spec.dns_search.clone())
        .unless_empty("Options", spec.dns_options.clone());
    let ulimits: Vec<Value> =
        spec.ulimits.iter().map(|limit| json!({"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft})).collect();
    fields
        .unless_empty("Hosts", spec.hosts.clone())
        .set("DNSConfig", dns.build())
        .set("Isolation", "default")
        .unless_empty("Sysctls", json!(spec.sysctls))
        .unless_empty("CapabilityAdd", spec.cap_add.clone())
        .unless_empty("CapabilityDrop", spec.cap_drop.clone())
        .unless_empty("Ulimits", ulimits)
        .unless_empty("OomScoreAdj", spec.oom_score_adj);
    fields.build()
}

/// `bind`, `volume` or `tmpfs`.
pub fn mount_type(kind: MountType) -> &'static str {
    match kind {
        MountType::Bind => "bind",
        MountType::Volume => "volume",
        MountType::Tmpfs => "tmpfs",
    }
}

fn mount(mount: &Mount) -> Value {
    let mut fields = Fields::default();
    fields
        .set("Type", mount_type(mount.r#type()))
        .unless_empty("Source", mount.source.clone())
        .set("Target", mount.target.clone())
        .unless_empty("ReadOnly", mount.read_only);
    let mut bind = Fields::default();
    bind.unless_empty("Propagation", mount.bind_propagation.clone())
        .unless_empty("CreateMountpoint", mount.bind_create_source);
    let mut volume = Fields::default();
    volume.unless_empty("NoCopy", mount.volume_no_copy).unless_empty("Labels", json!(mount.volume_labels));
    let mut tmpfs = Fields::default();
    tmpfs.unless_empty("SizeBytes", mount.tmpfs_size_bytes).unless_empty("Mode", mount.tmpfs_mode);
    fields
        .unless_empty("BindOptions", bind.build())
        .unless_empty("VolumeOptions", volume.build())
        .unless_empty("TmpfsOptions", tmpfs.build());
    fields.build()
}

fn update_config(config: &UpdateConfig) -> Value {
    let action = match config.failure_action() {
        UpdateFailureAction::Pause => "pause",
        UpdateFailureAction::Continue => "continue",
        UpdateFailureAction::Rollback => "rollback",
    };
    let order = match config.order() {
        UpdateOrder::StopFirst => "stop-first",
        UpdateOrder::StartFirst => "start-first",
    };
    let mut fields = Fields::default();
    fields
        .set("Parallelism", config.parallelism)
        .unless_empty("Delay", config.delay_ns)
        .set("FailureAction", action)
        .set("Monitor", config.monitor_ns.unwrap_or(5_000_000_000))
        .set("MaxFailureRatio", f64::from(config.max_failure_ratio))
        .set("Order", order);
    fields.build()
}

fn ports(ports: &[PortConfig]) -> Vec<Value> {
    let one = |port: &PortConfig| {
        let mode = if port.publish_mode() == PublishMode::Host { "host" } else { "ingress" };
        let mut fields = Fields::default();
        fields
            .set("Protocol", list::protocol(port.protocol()))
            .set("TargetPort", port.target_port)
            .unless_empty("PublishedPort", port.published_port)
            .set("PublishMode", mode);
        fields.build()
    };
    ports.iter().map(one).collect()
}

fn endpoint(service: &Service) -> Value {
    let endpoint = service.endpoint.clone().unwrap_or_default();
    let wanted = service.spec.as_ref().and_then(|spec| spec.endpoint.clone()).unwrap_or_default();
    let mut spec = Fields::default();
    spec.set("Mode", endpoint_mode(wanted.mode())).unless_empty("Ports", ports(&wanted.ports));
    let addresses: Vec<Value> =
        endpoint.virtual_ips.iter().map(|vip| json!({"NetworkID": vip.network_id, "Addr": vip.address})).collect();
    let mut fields = Fields::default();
    fields
        .set("Spec", spec.build())
        .unless_empty("Ports", ports(&endpoint.ports))
        .unless_empty("VirtualIPs", addresses);
    fields.build()
}

/// A task.
pub fn task(task: &Task) -> Value {
    let meta = task.meta.unwrap_or_default();
    let status = task.status.clone().unwrap_or_default();
    let mut shown = Fields::default();
    shown
        .set("Timestamp", time(status.timestamp_ns))
        .set("State", converge::state_name(status.state()))
        .unless_empty("Message", status.message.clone())
        .unless_empty("Err", status.err.clone());
    if let Some(container) = &status.container {
        shown.set(
            "ContainerStatus",
            json!({"ContainerID": container.container_id, "PID": container.pid, "ExitCode": container.exit_code}),
        );
    }
    let bound = status.port_status.clone().unwrap_or_default();
    let mut port_status = Fields::default();
    port_status.unless_empty("Ports", ports(&bound.ports));
    shown.set("PortStatus", port_status.build());
    let networks: Vec<Value> = task
        .networks
        .iter()
        .map(|network| json!({"Network": {"ID": network.network_id}, "Addresses": [network.address]}))
        .collect();
    let mut fields = Fields::default();
    fields
        .set("ID", task.id.clone())
        .set("Version", json!({"Index": meta.version}))
        .set("CreatedAt", time(meta.created_at_ns))
        .set("UpdatedAt", time(meta.updated_at_ns))
        .set("Labels", json!({}))
        .set("Spec", task_spec(&task.spec.clone().unwrap_or_default()))
        .set("ServiceID", task.service_id.clone())
        .unless_empty("Slot", task.slot)
        .unless_empty("NodeID", task.node_id.clone())
        .set("Status", shown.build())
        .set("DesiredState", converge::state_name(task.desired_state()))
        .unless_empty("NetworksAttachments", networks);
    fields.build()
}
