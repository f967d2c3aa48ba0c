//! What a request becomes, and what is refused.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::containers::mounts::to_docker;
use crate::mount::{Kind, MountSpec, from_api};
use crate::services::shape;

fn read(body: Value) -> Result<ServiceSpec> {
    spec(&serde_json::from_value(body).unwrap())
}

fn body(container: Value) -> Value {
    json!({"Name": "web", "Labels": {}, "TaskTemplate": {"ContainerSpec": container, "ForceUpdate": 0}, "Mode": {}})
}

#[test]
fn what_is_asked_for_is_shown() {
    let asked = json!({
        "Name": "web", "Labels": {"a": "b"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "bb:1", "Args": ["sleep", "1"], "Env": ["A=B"], "Init": false, "TTY": true,
                "Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/h", "ReadOnly": true}],
                "StopGracePeriod": 3_000_000_000_i64,
                "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5},
                "Hosts": ["1.2.3.4 x"], "DNSConfig": {"Search": ["ex.org"]}, "Isolation": "default",
                "Ulimits": [{"Name": "nofile", "Hard": 20, "Soft": 10}],
            },
            "Resources": {"Limits": {"MemoryBytes": 67_108_864, "Pids": 20}, "Reservations": {}},
            "RestartPolicy": {"Condition": "on-failure", "Delay": 2, "MaxAttempts": 3, "Window": 10},
            "Placement": {
                "Constraints": ["node.role==manager"],
                "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.dc"}}], "MaxReplicas": 5,
            },
            "Networks": [{"Target": "n1", "Aliases": ["w"]}],
            "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m"}},
            "ForceUpdate": 2, "Runtime": "container",
        },
        "Mode": {"Replicated": {"Replicas": 2}},
        "UpdateConfig": {
            "Parallelism": 2, "Delay": 1, "FailureAction": "rollback", "Monitor": 7, "MaxFailureRatio": 0.5,
            "Order": "start-first",
        },
        "EndpointSpec": {
            "Mode": "vip",
            "Ports": [{"Protocol": "udp", "TargetPort": 82, "PublishedPort": 8082, "PublishMode": "host"}],
        },
    });
    let wanted = read(asked.clone()).unwrap();
    assert_eq!(serde_json::to_value(shape::spec(Some(&wanted))).unwrap(), asked);
}

#[test]
fn a_mount_reaches_its_node_as_it_was_asked_for() {
    let spec = MountSpec {
        source: "data".to_owned(),
        target: "/data".to_owned(),
        read_only: true,
        no_copy: true,
        volume_labels: [("a".to_owned(), "b".to_owned())].into(),
        volume_driver: "local".to_owned(),
        volume_options: [("o".to_owned(), "x,y".to_owned())].into(),
        ..MountSpec::default()
    };
    let memory = MountSpec { tmpfs_size: Some(1), tmpfs_mode: Some(0o700), ..MountSpec::tmpfs("/t", "") };
    let bind = MountSpec {
        kind: Kind::Bind,
        source: "/a".to_owned(),
        propagation: "rslave".to_owned(),
        create_source: true,
        target: "/b".to_owned(),
        ..MountSpec::default()
    };
    for spec in [spec, memory, bind] {
        assert_eq!(from_api(&super::mount(&to_docker(&spec)).unwrap()), spec);
    }
}

#[test]
fn one_task_unless_told_otherwise() {
    let wanted = read(body(json!({"Image": "x"}))).unwrap();
    assert_eq!(wanted.mode, Some(service_spec::Mode::Replicated(ReplicatedService { replicas: 1 })));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (container, name) in [
        (json!({"Secrets": [{"SecretID": "x"}]}), "Secrets"),
        (json!({"Privileges": {"CredentialSpec": {"Config": "x"}}}), "Privileges"),
        (json!({"Init": true}), "--init"),
        (json!({"Mounts": [{"Type": "npipe", "Target": "/x"}]}), "mount type unknown"),
        (json!({"Mounts": [{"Type": "volume", "Target": "/x", "ClusterOptions": {"A": 1}}]}), "ClusterOptions"),
        (json!({"Mounts": [{"Type": "volume", "Target": "/x", "ImageOptions": {"Subpath": "y"}}]}), "ImageOptions"),
        (json!({"Mounts": [{"Type": "bind", "Target": "/x"}]}), "field Source must not be empty"),
        (json!({"Mounts": [{"Type": "volume", "Target": "/x", "VolumeOptions": {"Subpath": "y"}}]}), "Subpath"),
        (json!({"Mounts": [{"Type": "bind", "Target": "/x", "BindOptions": {"NonRecursive": true}}]}), "NonRecursive"),
    ] {
        let error = read(body(container)).unwrap_err().to_string();
        assert!(error.contains(name), "{name}: {error}");
    }
    read(body(json!({"Secrets": [], "Privileges": {"CredentialSpec": null}}))).unwrap();
}

fn refused(change: impl FnOnce(&mut docker::ServiceSpec)) -> String {
    let mut request = docker::ServiceSpec::default();
    change(&mut request);
    spec(&request).unwrap_err().to_string()
}

#[test]
fn values_that_cannot_be_are_refused() {
    let text = |text: &str| Some(text.to_owned());
    let limits = |limits| Some(docker::ResourceRequirements { limits: Some(limits), reservations: None });
    let amounts = docker::Amounts::default;
    for (words, said) in [
        (
            "invalid restart condition \"x\", only none, on-failure and any are supported",
            refused(|spec| {
                let policy = docker::RestartPolicy { condition: text("x"), ..docker::RestartPolicy::default() };
                spec.task_template.restart_policy = Some(policy);
            }),
        ),
        (
            "invalid order \"x\", only start-first and stop-first are supported",
            refused(|spec| {
                let config = docker::UpdateConfig { order: text("x"), ..docker::UpdateConfig::default() };
                spec.update_config = Some(config);
            }),
        ),
        (
            "invalid failure action \"rollback\"",
            refused(|spec| {
                let failure_action = text("rollback");
                spec.rollback_config = Some(docker::UpdateConfig { failure_action, ..Default::default() });
            }),
        ),
        (
            "the failure ratio 1.5 is not between 0 and 1",
            refused(|spec| {
                spec.update_config = Some(serde_json::from_value(json!({"MaxFailureRatio": 1.5})).unwrap());
            }),
        ),
        (
            "invalid endpoint mode \"x\", only vip and dnsrr are supported",
            refused(|spec| spec.endpoint_spec = Some(docker::EndpointSpec { mode: text("x"), ports: None })),
        ),
        (
            "logger: no log driver named 'syslog' is registered: use json-file or none",
            refused(|spec| {
                spec.task_template.log_driver = Some(Driver { name: text("syslog"), options: None });
            }),
        ),
        (
            "--limit-pids cannot be negative",
            refused(|spec| {
                spec.task_template.resources = limits(docker::Amounts { pids: Some(-1), ..amounts() });
            }),
        ),
        (
            "Minimum memory limit allowed is 6MB",
            refused(|spec| {
                let tight = docker::Amounts { memory_bytes: Some(6 << 10), ..amounts() };
                spec.task_template.resources = limits(tight);
            }),
        ),
        (
            "replicas-max-per-node can only be used with replicated or replicated-job mode",
            refused(|spec| {
                spec.mode.global = Some(crate::docker::Empty {});
                spec.task_template.placement.get_or_insert_default().max_replicas = Some(1);
            }),
        ),
    ] {
        assert_eq!(said, words);
    }
}

#[test]
fn a_share_is_between_nothing_and_all() {
    for (ratio, good) in [(0.0, true), (1.0, true), (-0.1, false), (f32::INFINITY, false), (f32::NAN, false)] {
        assert_eq!(docker::Ratio::try_from(ratio).is_ok(), good, "{ratio}");
    }
}

#[test]
fn what_is_not_said_has_dockers_defaults() {
    let mut request = docker::ServiceSpec {
        update_config: Some(docker::UpdateConfig { delay: Some(1), ..docker::UpdateConfig::default() }),
        ..docker::ServiceSpec::default()
    };
    let options = Some([("max-size".to_owned(), "1m".to_owned())].into());
    request.task_template.log_driver = Some(Driver { name: None, options });
    let wanted = spec(&request).unwrap();
    let update = wanted.update.unwrap();
    assert_eq!((update.parallelism, update.delay_ns, update.monitor_ns), (1, 1, None));
    assert_eq!(wanted.task.unwrap().log_driver.unwrap().name, "json-file");
    assert_eq!(wanted.rollback, None);
}

#[test]
fn what_is_not_said_stays() {
    let mut there = read(json!({
        "Name": "web", "Labels": {"a": "b"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "x:1", "User": "1", "TTY": true, "StopGracePeriod": 7,
                "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5_000_000, "Retries": 3},
            },
            "Resources": {"Limits": {"NanoCPUs": 5, "Pids": 9}},
            "RestartPolicy": {"Condition": "none", "Delay": 0, "MaxAttempts": 2},
            "Networks": [{"Target": "n"}], "ForceUpdate": 4,
        },
        "Mode": {"Global": {}},
        "UpdateConfig": {"Parallelism": 0, "MaxFailureRatio": 0.5, "Order": "start-first"},
        "EndpointSpec": {"Mode": "dnsrr", "Ports": [{"TargetPort": 1, "PublishMode": "host"}]},
    }))
    .unwrap();
    let before = there.clone();
    set(&mut there, &docker::ServiceSpec::default()).unwrap();
    assert_eq!(there, before, "nothing is asked");

    let asked = json!({
        "TaskTemplate": {
            "ContainerSpec": {"User": "2", "Healthcheck": {"Interval": 9_000_000, "Timeout": 0}},
            "Resources": {"Limits": {"MemoryBytes": 67_108_864}}, "RestartPolicy": {"MaxAttempts": 3},
        },
        "UpdateConfig": {"Delay": 8},
    });
    set(&mut there, &serde_json::from_value(asked).unwrap()).unwrap();
    let task = there.task.unwrap();
    let container = task.container.unwrap();
    assert_eq!((container.image.as_str(), container.user.as_str(), container.tty), ("x:1", "2", true));
    let check = container.health_check.unwrap();
    assert_eq!((check.test.len(), check.interval_ns, check.timeout_ns, check.retries), (2, 9_000_000, 0, 3));
    let resources = task.resources.unwrap();
    let limits = resources.limits.unwrap();
    assert_eq!((limits.nano_cpus, limits.memory_bytes, resources.limit_pids), (5, 64 << 20, 9));
    let restart = task.restart.unwrap();
    assert_eq!((restart.delay_ns, restart.max_attempts), (Some(0), 3));
    let update = there.update.unwrap();
    assert_eq!((update.parallelism, update.delay_ns, update.max_failure_ratio), (0, 8, 0.5));
    assert_eq!((there.endpoint, there.mode), (before.endpoint, before.mode));
}
