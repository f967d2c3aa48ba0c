//! docker's rules, one by one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::records::config::Ulimit;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: strings(&["/entry"]),
        cmd: strings(&["serve", "-v"]),
        env: strings(&["PATH=/image", "LANG=C"]),
        exposed_ports: strings(&["80/tcp", "53/udp"]),
        working_dir: "/srv".to_owned(),
        user: "www".to_owned(),
        labels: [("a".to_owned(), "image".to_owned()), ("b".to_owned(), "image".to_owned())].into(),
        stop_signal: Some("SIGQUIT".to_owned()),
        ..ImageConfig::default()
    }
}

fn args(config: &ContainerConfig) -> Vec<String> {
    let resolved = resolve(config, &image()).unwrap();
    resolved.entrypoint.into_iter().chain(resolved.cmd).collect()
}

#[test]
fn entrypoint_and_arguments_combine_as_docker_does() {
    let with = |entrypoint: Option<&[&str]>, cmd: &[&str]| {
        args(&ContainerConfig { entrypoint: entrypoint.map(strings), cmd: strings(cmd), ..Default::default() })
    };
    assert_eq!(with(None, &[]), ["/entry", "serve", "-v"]);
    assert_eq!(with(None, &["sh"]), ["/entry", "sh"]);
    assert_eq!(with(Some(&["/bin/x"]), &[]), ["/bin/x"]);
    assert_eq!(with(Some(&["/bin/x"]), &["y"]), ["/bin/x", "y"]);
    assert_eq!(with(Some(&[""]), &["sh"]), ["sh"]);
    let nothing = ContainerConfig { entrypoint: Some(strings(&[""])), ..Default::default() };
    assert!(matches!(resolve(&nothing, &image()), Err(Error::NoCommand)));
}

#[test]
fn the_users_environment_wins_and_a_bare_name_removes() {
    let user = strings(&["A=1", "A=2", "LANG", "B=3"]);
    assert_eq!(merge_environment(&user, &image().env), ["A=2", "B=3", "PATH=/image"]);
}

#[test]
fn path_hostname_and_term_are_there_unless_given() {
    let config = ContainerConfig { tty: true, ..Default::default() };
    let resolved = resolve(&config, &ImageConfig { cmd: strings(&["sh"]), ..Default::default() }).unwrap();
    assert_eq!(process(&config, &resolved, "h").unwrap().env, [DEFAULT_PATH, "HOSTNAME=h", "TERM=xterm"]);
    let resolved = resolve(&config, &image()).unwrap();
    assert_eq!(process(&config, &resolved, "h").unwrap().env, ["HOSTNAME=h", "TERM=xterm", "PATH=/image", "LANG=C"]);
}

#[test]
fn the_rest_of_the_image_fills_what_is_not_given() {
    let mut config = ContainerConfig::default();
    config.labels.insert("a".to_owned(), "user".to_owned());
    let resolved = resolve(&config, &image()).unwrap();
    assert_eq!((resolved.working_dir.as_str(), resolved.user.as_str()), ("/srv", "www"));
    assert_eq!((resolved.stop_signal.as_str(), resolved.stop_timeout), ("SIGQUIT", 10));
    assert_eq!((resolved.labels["a"].as_str(), resolved.labels["b"].as_str()), ("user", "image"));
    assert_eq!(resolve(&config, &ImageConfig { cmd: strings(&["x"]), ..Default::default() }).unwrap().working_dir, "/");
    let bad = ContainerConfig { stop_signal: Some("NOPE".to_owned()), ..Default::default() };
    assert!(matches!(resolve(&bad, &image()), Err(Error::InvalidSignal(_))));
}

#[test]
fn an_image_does_not_make_its_containers_tasks() {
    let task = "com.docker.swarm.task.id".to_owned();
    let mut image = image();
    image.labels.insert(task.clone(), "x".to_owned());
    let mut config = ContainerConfig::default();
    assert!(!resolve(&config, &image).unwrap().labels.contains_key(&task));
    config.labels.insert(task.clone(), "y".to_owned());
    assert_eq!(resolve(&config, &image).unwrap().labels[&task], "y");
}

#[test]
fn publishing_all_adds_what_is_not_published() {
    let port = PortMapping { host_ip: None, host_port: Some(8080), container_port: 80, protocol: PortProtocol::Tcp };
    let config = ContainerConfig { publish_all: true, ports: vec![port], ..Default::default() };
    let ports = resolve(&config, &image()).unwrap().ports;
    assert_eq!(ports.len(), 2);
    assert_eq!((ports[1].container_port, ports[1].protocol, ports[1].host_port), (53, PortProtocol::Udp, None));
}

#[test]
fn health_checks_merge_field_by_field() {
    let with_check = ImageConfig {
        healthcheck: Some(HealthCheck {
            test: strings(&["CMD", "/probe"]),
            interval_ns: 7_000_000,
            ..Default::default()
        }),
        ..image()
    };
    let user = HealthCheck { retries: 5, ..Default::default() };
    let config = ContainerConfig { health: Some(user), ..Default::default() };
    let check = resolve(&config, &with_check).unwrap().health.unwrap();
    assert_eq!((check.test[1].as_str(), check.interval_ns, check.retries), ("/probe", 7_000_000, 5));
    assert_eq!(check.timeout_ns, 30_000_000_000);
    let off = HealthCheck { test: strings(&["NONE"]), ..Default::default() };
    let config = ContainerConfig { health: Some(off), ..Default::default() };
    assert_eq!(resolve(&config, &with_check).unwrap().health, None);
    let short = HealthCheck { test: strings(&["CMD", "x"]), interval_ns: 5, ..Default::default() };
    assert!(resolve(&ContainerConfig { health: Some(short), ..Default::default() }, &image()).is_err());
}

#[test]
fn capabilities_are_added_and_taken() {
    let default = capabilities(&[], &[]).unwrap();
    assert_eq!(default.len(), 14);
    let changed = capabilities(&strings(&["net_admin"]), &strings(&["CAP_CHOWN"])).unwrap();
    assert!(changed.contains(&"CAP_NET_ADMIN".to_owned()) && !changed.contains(&"CAP_CHOWN".to_owned()));
    assert_eq!(capabilities(&strings(&["KILL"]), &strings(&["all"])).unwrap(), ["CAP_KILL"]);
    let all = capabilities(&strings(&["ALL"]), &strings(&["SYS_ADMIN"])).unwrap();
    assert!(all.len() > 30 && !all.contains(&"CAP_SYS_ADMIN".to_owned()));
    let error = capabilities(&strings(&["nope"]), &[]).unwrap_err().to_string();
    assert_eq!(error, "invalid CapAdd: unknown capability: \"CAP_NOPE\"");
}

#[test]
fn security_options_are_read() {
    let read = |options: &[&str]| security(&ContainerConfig { security_opt: strings(options), ..Default::default() });
    assert!(read(&["no-new-privileges"]).unwrap().no_new_privileges);
    assert!(!read(&["no-new-privileges=false"]).unwrap().no_new_privileges);
    assert_eq!(read(&["seccomp=unconfined"]).unwrap().seccomp, Seccomp::Unconfined);
    assert!(matches!(read(&["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]).unwrap().seccomp, Seccomp::Profile(_)));
    assert!(read(&["seccomp=/no/json"]).is_err());
    assert!(read(&["systempaths=unconfined"]).unwrap().system_paths_unconfined);
    assert!(read(&["nonsense"]).is_err());
}

#[test]
fn limits_are_checked_and_converted() {
    let limits = |limits: Limits| resources(&limits, &[], 2);
    let made = limits(Limits { memory: Some(64 << 20), nano_cpus: Some(1_500_000_000), ..Default::default() }).unwrap();
    assert_eq!((made.memory, made.memory_swap), (Some(64 << 20), Some(128 << 20)));
    assert_eq!((made.cpu_quota, made.cpu_period), (Some(150_000), Some(100_000)));
    let message = |given: Limits| limits(given).unwrap_err().to_string();
    assert_eq!(message(Limits { memory: Some(1024), ..Default::default() }), "Minimum memory limit allowed is 6MB");
    assert!(message(Limits { nano_cpus: Some(3_000_000_000), ..Default::default() }).contains("only 2 CPUs available"));
    assert!(limits(Limits { memory_swap: Some(1 << 30), ..Default::default() }).is_err());
}

#[test]
fn log_options_are_checked() {
    let read = |driver: &str, options: &[(&str, &str)]| {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        log_limits(driver, &options)
    };
    assert_eq!(read("json-file", &[("max-size", "10m"), ("max-file", "3")]).unwrap(), (Some(10 << 20), 3));
    assert_eq!(read("", &[]).unwrap(), (None, 1));
    assert!(read("syslog", &[]).is_err());
    assert!(read("json-file", &[("max-size", "many")]).is_err());
    assert!(read("json-file", &[("max-file", "0")]).is_err());
}

#[test]
fn rlimits_and_user_reach_the_process() {
    let config = ContainerConfig {
        ulimits: vec![Ulimit { name: "nofile".to_owned(), soft: 10, hard: 20 }],
        user: Some("1000:1000".to_owned()),
        group_add: strings(&["audio"]),
        ..Default::default()
    };
    let process = process(&config, &resolve(&config, &image()).unwrap(), "h").unwrap();
    assert_eq!((process.rlimits[0].soft, process.rlimits[0].hard), (10, 20));
    assert_eq!((process.user.spec.as_str(), process.user.additional_groups[0].as_str()), ("1000:1000", "audio"));
}
