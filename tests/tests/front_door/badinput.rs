//! Bad input: each is refused with docker's exit code and a message that names the thing, and nothing is left behind.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use skep_tests::images::layer::{Layer, LayerBuilder, Packing};
use skep_tests::images::{Format, Image, tutorial};
use skep_tests::rogue::{Fault, RogueRegistry};
use skep_tests::{Lab, Node, program, skep, slow, swarm, wait_until};
use tar::EntryType;

#[track_caller]
fn nothing_left(node: &Node) {
    wait_until(Duration::from_secs(5), "everything to be gone", || {
        let left = node.leftovers();
        left.is_empty().then_some(()).ok_or(format!("{left:#?}"))
    });
    assert_eq!(node.skep(&["ps", "-aq"]).ok(), "");
}

#[test]
fn unknown_images_and_malformed_words() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    node.skep(&["pull", "busybox:nope"]).fails_saying(1, &["busybox:nope", "not found"]);
    node.skep(&["pull", "nobody/nothing"]).fails_saying(1, &["nobody/nothing"]);
    node.skep(&["run", "--rm", "nobody/nothing"]).fails_saying(125, &["nobody/nothing"]);
    node.skep(&["pull", "Busybox"]).fails_saying(1, &["must be lowercase"]);
    node.skep(&["pull", "busybox:a b"]).fails_saying(1, &["invalid reference format"]);
    node.skep(&["pull", "busybox@sha256:12"]).fails_saying(1, &["invalid reference format"]);
    node.skep(&["rmi", "nope"]).fails_saying(1, &["no such image", "nope"]);
    node.skep(&["inspect", "nope"]).fails_saying(1, &["no such object", "nope"]);
    for command in ["stop", "start", "rm", "logs", "wait", "kill"] {
        node.skep(&[command, "nope"]).fails_saying(1, &["no such container", "nope"]);
    }
    node.skep(&["exec", "nope", "true"]).fails_saying(1, &["no such container", "nope"]);
    let run = |words: &[&str]| {
        let mut all = vec!["run", "--rm"];
        all.extend_from_slice(words);
        all.extend_from_slice(&["busybox", "true"]);
        node.skep(&all)
    };
    run(&["-p", "eighty:80"]).fails_saying(125, &["eighty"]);
    run(&["-p", "80:99999"]).fails_saying(125, &["99999"]);
    run(&["-m", "lots"]).fails_saying(125, &["lots"]);
    run(&["-m", "1m"]).fails_saying(125, &["6MB"]);
    run(&["--cpus", "-1"]).fails_saying(125, &["cpus"]);
    run(&["--mount", "type=bind,source=/nowhere-at-all,target=/x"]).fails_saying(125, &["/nowhere-at-all"]);
    run(&["--mount", "type=what,target=/x"]).fails_saying(125, &["what"]);
    run(&["--mount", "type=tmpfs"]).fails_saying(125, &["target"]);
    run(&["-v", "/tmp:relative"]).fails_saying(125, &["relative"]);
    run(&["--network", "nope"]).fails_saying(125, &["network nope not found"]);
    run(&["--restart", "sometimes"]).fails_saying(125, &["sometimes"]);
    run(&["--cap-add", "MAGIC"]).fails_saying(125, &["magic"]);
    run(&["--security-opt", "seccomp=/nowhere.json"]).fails_saying(125, &["/nowhere.json"]);
    run(&["-u", "nobody-at-all"]).fails_saying(125, &["nobody-at-all"]);
    run(&["--name", "/bad name"]).fails_saying(125, &["bad name"]);
    run(&["--no-such-flag"]).fails_saying(125, &["no-such-flag"]);
    node.skep(&["run"]).fails(1);
    node.skep(&["exec", "web"]).fails(1);
    node.skep(&["nonsense"]).fails_saying(1, &["nonsense"]);
    nothing_left(node);
}

#[test]
fn names_ports_and_things_in_use() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    node.skep(&["network", "create", "mine"]).ok();
    node.skep(&["run", "-d", "--name", "first", "--network", "mine", "-p", "8080:80", "nginx"]).ok();
    node.skep(&["run", "-d", "--name", "first", "nginx"]).fails_saying(125, &["/first", "already in use"]);
    node.skep(&["run", "-d", "--name", "second", "-p", "8080:80", "nginx"])
        .fails_saying(125, &["8080", "already allocated"]);
    node.skep(&["rm", "-f", "second"]);
    node.skep(&["rmi", "nginx"]).fails_saying(1, &["nginx", "container"]);
    node.skep(&["rm", "first"]).fails_saying(1, &["first", "running", "stop"]);
    node.skep(&["network", "rm", "mine"]).fails_saying(1, &["mine", "active endpoints"]);
    node.skep(&["network", "create", "mine"]).fails_saying(1, &["mine", "already exists"]);
    node.skep(&["network", "rm", "bridge"]).fails_saying(1, &["bridge", "pre-defined"]);
    node.skep(&["network", "create", "--subnet", "10.0.0.0/40", "bad"]).fails_saying(125, &["10.0.0.0/40"]);
    assert_eq!(node.skep(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok(), "first running");
    node.skep(&["rm", "-f", "first"]).ok();
    node.skep(&["network", "rm", "mine"]).ok();
    node.skep(&["rmi", "nginx"]).ok();
    nothing_left(node);
}

#[test]
fn registries_that_misbehave() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let image = tutorial::busybox("latest", Format::Oci).unwrap();
    let cases: [(u16, Fault, &[&str]); 4] = [
        (5001, Fault::Status(500), &["500"]),
        (5002, Fault::WrongDigest, &["digest"]),
        (5003, Fault::Truncated, &["5003", "broke"]),
        (5004, Fault::Silent, &["5004"]),
    ];
    for (port, fault, words) in cases {
        let address = SocketAddr::new(IpAddr::V4(lab.gateway()), port);
        let _registry =
            RogueRegistry::start(&lab.switch, address, std::slice::from_ref(&image), fault.clone()).unwrap();
        let reference = format!("{}:{port}/library/busybox", lab.gateway());
        let begun = Instant::now();
        node.skep(&["pull", &reference]).fails_saying(1, words);
        assert!(begun.elapsed() < slow(Duration::from_secs(60)), "{fault:?} took {:?}", begun.elapsed());
        assert_eq!(node.skep(&["images", "-q"]).ok(), "", "{fault:?} left an image");
    }
    // Slow is not wrong.
    let address = SocketAddr::new(IpAddr::V4(lab.gateway()), 5005);
    let _registry = RogueRegistry::start(&lab.switch, address, &[image], Fault::Slow).unwrap();
    let reference = format!("{}:5005/library/busybox", lab.gateway());
    node.skep(&["pull", &reference]).ok();
    // Nobody listens there.
    let reference = format!("{}:5009/library/busybox", lab.gateway());
    node.skep(&["pull", &reference]).fails_saying(1, &["5009", "refused"]);
    assert_eq!(node.skep(&["run", "--rm", "busybox", "echo", "fine"]).ok(), "fine");
}

/// Kind, path, and the target of a link.
type Entry<'a> = (EntryType, &'a str, Option<&'a str>);

fn hostile(entries: &[Entry<'_>]) -> Layer {
    let mut layer = LayerBuilder::default();
    for (kind, path, target) in entries {
        let data: &[u8] = if *kind == EntryType::Regular { b"escaped\n" } else { b"" };
        layer.entry(*kind, path, 0o755, *target, data).unwrap();
    }
    layer.finish(Packing::Gzip).unwrap()
}

#[test]
fn layers_that_try_to_escape() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let outside = lab.directory().join("outside");
    fs::create_dir(&outside).unwrap();
    let victim = outside.join("victim");
    fs::write(&victim, "untouched\n").unwrap();
    let out = outside.to_str().unwrap();
    let target = victim.to_str().unwrap();
    let relative = format!("../../../../../../../../../../..{out}/new");
    let absolute = format!("{out}/new");
    let through = "link/new".to_owned();
    let cases: Vec<(&str, Vec<Entry<'_>>)> = vec![
        ("dotdot", vec![(EntryType::Regular, &relative, None)]),
        ("absolute", vec![(EntryType::Regular, &absolute, None)]),
        ("symlink", vec![(EntryType::Symlink, "link", Some(out)), (EntryType::Regular, &through, None)]),
        ("hardlink", vec![(EntryType::Link, "hard", Some(target)), (EntryType::Regular, "hard", None)]),
        (
            "directory-over-symlink",
            vec![(EntryType::Symlink, "link", Some(out)), (EntryType::Directory, "link/", None)],
        ),
        ("whiteout", vec![(EntryType::Symlink, "link", Some(out)), (EntryType::Regular, "link/.wh.victim", None)]),
    ];
    let before = fs::metadata(&outside).unwrap().permissions();
    for (name, entries) in cases {
        let layers = [hostile(&entries)];
        let image = Image::build("library/hostile", name, Format::Oci, &layers, &json!({"Cmd": ["x"]})).unwrap();
        lab.push(&image).unwrap();
        let pulled = node.skep(&["pull", &format!("hostile:{name}")]);
        match name {
            // Where the path itself does not leave: it is taken from the image's root, as docker takes it.
            "absolute" | "directory-over-symlink" => pulled.ok(),
            "hardlink" => pulled.fails_saying(1, &["layer", "hard"]),
            _ => pulled.fails_saying(1, &["layer", "escapes the image root"]),
        };
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched\n", "{name}");
        assert!(!outside.join("new").exists(), "{name} escaped");
        assert_eq!(fs::metadata(&outside).unwrap().permissions(), before, "{name} changed a mode outside");
    }
}

#[test]
fn commands_that_need_a_swarm_or_a_manager() {
    let lab = Lab::new(2).unwrap();
    let (manager, worker) = (lab.node(1), lab.node(2));
    manager.skep(&["service", "ls"]).fails_saying(1, &["not a swarm manager", "swarm init"]);
    manager.skep(&["node", "ls"]).fails_saying(1, &["not a swarm manager"]);
    manager.skep(&["swarm", "leave"]).fails_saying(1, &["not part of a swarm"]);
    manager.skep(&["swarm", "join", "--token", "SWMTKN-1-nonsense", "127.0.0.1:2377"]).fails_saying(1, &["token"]);
    swarm::form(&lab, 1);
    worker.skep(&["service", "ls"]).fails_saying(1, &["not a swarm manager", "worker"]);
    worker.skep(&["node", "ls"]).fails_saying(1, &["not a swarm manager"]);
    manager.skep(&["swarm", "init"]).fails_saying(1, &["already part of a swarm"]);
    manager.skep(&["swarm", "leave"]).fails_saying(1, &["manager", "--force"]);
    let create = |words: &[&str]| {
        let mut all = vec!["service", "create", "-d", "--name", "bad"];
        all.extend_from_slice(words);
        all.push("nginx");
        manager.skep(&all)
    };
    create(&["--constraint", "node.hostname=~x"]).fails_saying(1, &["constraint"]);
    create(&["--constraint", "nonsense"]).fails_saying(1, &["constraint", "nonsense"]);
    create(&["--network", "nope"]).fails_saying(1, &["network nope not found"]);
    create(&["--publish", "mode=sideways,target=80"]).fails_saying(125, &["sideways"]);
    create(&["--publish", "70000:80"]).fails_saying(125, &["70000"]);
    create(&["--mode", "everywhere"]).fails_saying(1, &["everywhere"]);
    create(&["--mode", "global", "--replicas", "2"]).fails_saying(1, &["replicas", "replicated"]);
    create(&["--endpoint-mode", "dnsrr", "--publish", "8080:80"]).fails_saying(1, &["dnsrr", "ingress"]);
    create(&["--limit-memory", "much"]).fails_saying(125, &["much"]);
    manager.skep(&["service", "create", "-d", "--name", "bad name", "nginx"]).fails_saying(1, &["name"]);
    manager.skep(&["service", "create", "-d", "--name", "web", "--publish", "8080:80", "nginx"]).ok();
    manager.skep(&["service", "create", "-d", "--name", "web", "nginx"]).fails_saying(1, &["web", "already exists"]);
    manager
        .skep(&["service", "create", "-d", "--name", "other", "--publish", "8080:80", "nginx"])
        .fails_saying(1, &["8080", "web"]);
    manager.skep(&["service", "scale", "nope=2"]).fails_saying(1, &["service nope not found"]);
    manager.skep(&["service", "scale", "web"]).fails_saying(1, &["web"]);
    manager.skep(&["service", "scale", "web=many"]).fails_saying(1, &["many"]);
    manager.skep(&["service", "rm", "nope"]).fails_saying(1, &["service nope not found"]);
    manager.skep(&["service", "inspect", "nope"]).fails_saying(1, &["no such service", "nope"]);
    manager.skep(&["service", "ps", "nope"]).fails_saying(1, &["no such service", "nope"]);
    manager.skep(&["node", "inspect", "nope"]).fails_saying(1, &["nope"]);
    manager.skep(&["node", "update", "--availability", "asleep", "node2"]).fails_saying(1, &["asleep"]);
    manager.skep(&["network", "create", "-d", "overlay", "net"]).ok();
    manager.skep(&["service", "update", "-d", "--network-add", "net", "web"]).ok();
    manager.skep(&["network", "rm", "net"]).fails_saying(1, &["net", "in use"]);
    manager.skep(&["network", "rm", "ingress"]).fails(1);
    manager.skep(&["node", "rm", "node2"]).fails_saying(1, &["not down"]);
    let listed = manager.skep(&["service", "ls", "--format", "{{.Name}}"]).ok();
    assert_eq!(listed, "web", "a refused service is not there");
}

#[test]
fn without_root() {
    let binary = skep::binary().unwrap();
    let directory = tempfile::tempdir().unwrap();
    // Not where it is built: another user need not be able to go there.
    let copy = std::env::temp_dir().join(format!("skep-without-root-{}", std::process::id()));
    fs::copy(binary, &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
    command.arg("--root").arg(directory.path()).args(["run", "--rm", "busybox", "true"]);
    let refused = program::run(&mut command);
    fs::remove_file(&copy).unwrap();
    refused.unwrap().fails_saying(125, &["root"]);
}

/// `run -m 64m` in a mount namespace that `hide`, a shell script, has prepared.
fn run_limited(node: &Node, hide: &str) -> program::Finished {
    let inner = node.command(&["run", "--rm", "-m", "64m", "busybox", "true"]);
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--propagation=private", "/bin/sh", "-c"]);
    command.arg(format!("{hide}; exec {}", program::shown(&inner)));
    command.env_clear();
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    program::run(&mut command).unwrap()
}

#[test]
fn without_cgroups() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let hide_all = "for at in $(/bin/busybox cut -d' ' -f2 /proc/mounts | /bin/busybox grep ^/sys/fs/cgroup/); do \
                    /bin/busybox umount $at; done; /bin/busybox umount /sys/fs/cgroup";
    run_limited(node, hide_all).fails_saying(125, &["cgroup"]);
    // In version 2 a controller cannot be taken from under a machine that uses it.
    if Path::new("/sys/fs/cgroup/memory/tasks").exists() {
        let refused = run_limited(node, "/bin/busybox umount /sys/fs/cgroup/memory");
        refused.fails_saying(125, &["no cgroup controller \"memory\"", "leave the limit out or enable the controller"]);
    }
    nothing_left(node);
}
