//! Everything a person reads, word for word: help, tables, inspect, refusals. The pages are in `tests/golden`.

use std::time::Duration;

use skep_tests::golden::Page;
use skep_tests::swarm::wait_running;
use skep_tests::{Lab, program, wait_until};

/// The names below `Commands:` in what `--help` prints.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn help() {
    let lab = Lab::without_images(1).unwrap();
    let node = lab.node(1);
    let mut page = Page::new(&lab, node);
    let mut paths: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let mut words: Vec<&str> = path.iter().map(String::as_str).collect();
        words.push("--help");
        // Help says what the environment holds.
        let mut command = node.command(&words);
        for name in ["SKEP_ROOT", "SKEP_RUN_ROOT", "SKEP_CGROUP_PARENT"] {
            command.env_remove(name);
        }
        let mut said = program::run(&mut command).unwrap();
        said.command = format!("# skep {}", program::shown_words(&words));
        page.note(&said);
        for name in commands(&said.stdout).into_iter().rev() {
            paths.push([path.clone(), vec![name]].concat());
        }
    }
    page.compare("help");
}

#[test]
fn one_machine() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let mut page = Page::new(&lab, node);
    for words in [
        &["ps"][..],
        &["images"],
        &["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"],
        &["volume", "ls"],
        &["pull", "-q", "busybox"],
        &["pull", "-q", "nginx:latest"],
        &["images", "--format", "{{.Repository}} {{.Tag}} {{.ID}}"],
        &["images", "--digests", "--no-trunc", "--format", "{{.Repository}} {{.Digest}} {{.ID}}"],
        &["tag", "busybox", "local/box:1"],
        &["image", "inspect", "busybox"],
        &["image", "inspect", "nope"],
        &["rmi", "local/box:1"],
        &["network", "create", "--subnet", "10.77.0.0/24", "--gateway", "10.77.0.1", "--label", "a=b", "app"],
        &["network", "create", "app"],
        &["network", "inspect", "app"],
        &["network", "inspect", "bridge", "host", "none"],
        &["network", "ls", "-f", "driver=bridge"],
        &["network", "ls", "-f", "name=app", "--format", "json"],
        &["network", "inspect", "nope"],
        &["network", "rm", "nope"],
        &["volume", "create", "--label", "k=v", "data"],
        &["volume", "create", "a b"],
        &["volume", "inspect", "data"],
        &["volume", "ls", "--format", "{{.Name}} {{.Driver}} {{.Labels}} {{.Mountpoint}}"],
        &["volume", "inspect", "nope"],
    ] {
        page.run(words);
    }
    let everything = [
        "run",
        "-d",
        "--name",
        "whole",
        "--network",
        "app",
        "--ip",
        "10.77.0.9",
        "--network-alias",
        "second",
        "-p",
        "127.0.0.1:18080:80",
        "-p",
        "19090:90/udp",
        "-v",
        "data:/data",
        "-v",
        "/tmp:/host:ro",
        "--mount",
        "type=tmpfs,target=/t,tmpfs-size=1m",
        "--tmpfs",
        "/t2:size=64k",
        "-e",
        "A=1",
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "--cap-add",
        "NET_ADMIN",
        "--cap-drop",
        "MKNOD",
        "--restart",
        "on-failure:3",
        "--label",
        "k=v",
        "--hostname",
        "inside",
        "--add-host",
        "x:1.2.3.4",
        "--dns",
        "1.1.1.1",
        "--ulimit",
        "nofile=100:200",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--health-cmd",
        "true",
        "--health-interval",
        "1h",
        "--device",
        "/dev/null",
        "--log-opt",
        "max-size=1m",
        "--stop-signal",
        "INT",
        "--stop-timeout",
        "3",
        "--user",
        "1000:1000",
        "--workdir",
        "/data",
        "--pids-limit",
        "50",
        "--shm-size",
        "8m",
        "--group-add",
        "5",
        "-i",
        "busybox",
        "sleep",
        "1000",
    ];
    page.run(&everything);
    for words in [
        &["run", "-d", "--name", "plain", "busybox", "sleep", "1000"][..],
        &["create", "--name", "made", "--network", "none", "--entrypoint", "/bin/true", "busybox"],
        &["run", "--name", "ended", "--network", "host", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3"],
        &["run", "--name", "ended", "busybox"],
        &["inspect", "whole"],
        &["inspect", "-s", "plain"],
        &["container", "inspect", "made", "ended"],
        &["inspect", "--type", "image", "busybox", "-f", "{{json .Config}}"],
        &["inspect", "nope"],
        &["inspect", "data"],
        &["inspect", "app", "-f", "{{.Name}} {{.IPAM.Config}}"],
        &["ps"],
        &[
            "ps",
            "-a",
            "--no-trunc",
            "--format",
            "table {{.Names}}\t{{.Image}}\t{{.Command}}\t{{.Ports}}\t{{.Networks}}",
        ],
        &["ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}} {{.Mounts}} {{.Labels}} {{.LocalVolumes}}"],
        &["ps", "-a", "-f", "name=pl", "--format", "json"],
        &["ps", "-a", "-f", "status=exited", "-f", "exited=3", "-q"],
        &["ps", "-a", "-f", "nope=1"],
        &["ps", "-aq", "-f", "ancestor=busybox"],
        &["ps", "-aq", "-f", "network=app"],
        &["ps", "-aq", "-f", "volume=data"],
        &["ps", "-aq", "-f", "label=k=v"],
        &["port", "whole"],
        &["port", "whole", "80/tcp"],
        &["port", "whole", "81"],
        &["logs", "ended"],
        &["logs", "--tail", "1", "nope"],
        &["exec", "plain", "sh", "-c", "exit 9"],
        &["exec", "plain", "nothing"],
        &["exec", "made", "true"],
        &["network", "inspect", "app"],
        &["network", "rm", "app"],
        &["volume", "rm", "data"],
        &["rename", "plain", "renamed"],
        &["rename", "nope", "x"],
        &["update", "-m", "128m", "--memory-swap", "256m", "whole"],
        &["inspect", "-f", "{{json .HostConfig}}", "whole"],
        &["pause", "renamed"],
        &["pause", "renamed"],
        &["exec", "renamed", "true"],
        &["rm", "renamed"],
        &["unpause", "renamed"],
        &["unpause", "renamed"],
        &["rm", "renamed"],
        &["kill", "-s", "NOPE", "renamed"],
        &["stop", "-t", "0", "renamed", "nope"],
        &["start", "nope"],
        &["wait", "ended"],
        &["container", "prune", "-f", "--filter", "label=nothing"],
        &["system", "info", "-f", "{{.Driver}} {{.Containers}} {{.ContainersRunning}} {{.Images}} {{.OSType}}"],
        &["version", "-f", "{{.Client.Version}}"],
        &["stats", "--no-stream", "nope"],
        &["top", "made"],
    ] {
        page.run(words);
    }
    for words in [
        &["run", "--rm", "-p", "eighty:80", "busybox"][..],
        &["run", "--rm", "-m", "1m", "busybox"],
        &["run", "--rm", "-m", "lots", "busybox"],
        &["run", "--rm", "--cpus", "1000", "busybox"],
        &["run", "--rm", "--mount", "type=bind,source=/nowhere-at-all,target=/x", "busybox"],
        &["run", "--rm", "--mount", "type=what,target=/x", "busybox"],
        &["run", "--rm", "-v", "/tmp:relative", "busybox"],
        &["run", "--rm", "-v", "/tmp:/x", "-v", "/var:/x", "busybox"],
        &["run", "--rm", "--network", "nope", "busybox"],
        &["run", "--rm", "--network", "host", "-p", "80:80", "busybox", "true"],
        &["run", "--rm", "--restart", "always", "busybox"],
        &["run", "--rm", "--name", "a b", "busybox"],
        &["run", "--rm", "--name", "odd", "busybox", "no-such-program"],
        &["run", "--rm", "--name", "odd", "busybox", "/etc/passwd"],
        &["run", "--rm", "--pull", "never", "nobody/nothing"],
        &["run", "--rm", "--platform", "linux/arm64", "busybox"],
        &["run", "--rm", "nobody/nothing"],
        &["run", "--nope", "busybox"],
        &["run"],
        &["nope"],
        &["pull", "Busybox"],
        &["service", "ls"],
        &["node", "ls"],
        &["swarm", "leave"],
        &["swarm", "join-token", "worker"],
        &["network", "create", "-d", "overlay", "wide"],
        &["rm", "-f", "whole", "renamed", "made", "ended", "nope"],
        &["network", "rm", "app"],
        &["volume", "rm", "data", "nope"],
        &["rmi", "busybox"],
        &["ps", "-a"],
    ] {
        page.run(words);
    }
    page.compare("one-machine");
}

#[test]
fn a_swarm() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let mut page = Page::new(&lab, node);
    let address = node.address.to_string();
    page.run(&["swarm", "init", "--advertise-addr", &address]);
    wait_until(Duration::from_secs(20), "the ingress network", || {
        let listed = node.skep(&["network", "ls", "-q", "-f", "name=ingress"]);
        (!listed.stdout.is_empty()).then_some(()).ok_or(listed.to_string())
    });
    for words in [
        &["swarm", "init", "--advertise-addr", &address][..],
        &["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}} {{.TLSStatus}}"],
        &["node", "update", "--label-add", "zone=a", "node1"],
        &["node", "inspect", "--format", "{{json .Spec}} {{json .ManagerStatus}} {{json .Status}}", "self"],
        &["node", "inspect", "nope"],
        &["node", "demote", "node1"],
        &["swarm", "join-token", "worker"],
        &["swarm", "update", "--cert-expiry", "48h", "--task-history-limit", "3"],
        &["swarm", "update", "--cert-expiry", "1s"],
        &["network", "create", "-d", "overlay", "--attachable", "--subnet", "10.88.0.0/24", "wide"],
        &["network", "inspect", "wide"],
        &["network", "ls", "--no-trunc", "-f", "driver=overlay"],
    ] {
        page.run(words);
    }
    let everything = [
        "service",
        "create",
        "-d",
        "--name",
        "all",
        "--replicas",
        "2",
        "--publish",
        "8081:80",
        "--publish",
        "published=8082,target=82,protocol=udp",
        "--network",
        "wide",
        "--env",
        "A=B",
        "--label",
        "sl=v",
        "--container-label",
        "cl=v",
        "--constraint",
        "node.role==manager",
        "--placement-pref",
        "spread=node.labels.zone",
        "--limit-cpu",
        "0.5",
        "--limit-memory",
        "64m",
        "--reserve-memory",
        "32m",
        "--limit-pids",
        "20",
        "--mount",
        "type=volume,source=vv,target=/v",
        "--mount",
        "type=bind,source=/tmp,target=/h,readonly",
        "--mount",
        "type=tmpfs,target=/t,tmpfs-size=1048576",
        "--update-parallelism",
        "2",
        "--update-delay",
        "1s",
        "--update-order",
        "start-first",
        "--rollback-parallelism",
        "1",
        "--restart-condition",
        "on-failure",
        "--restart-max-attempts",
        "3",
        "--restart-delay",
        "2s",
        "--restart-window",
        "10s",
        "--stop-grace-period",
        "1s",
        "--stop-signal",
        "KILL",
        "--health-cmd",
        "true",
        "--health-interval",
        "5s",
        "--hostname",
        "h-{{.Task.Slot}}",
        "--host",
        "x:1.2.3.4",
        "--dns",
        "1.1.1.1",
        "--dns-search",
        "example.org",
        "--user",
        "1:1",
        "--workdir",
        "/w",
        "--cap-add",
        "NET_ADMIN",
        "--cap-drop",
        "MKNOD",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--ulimit",
        "nofile=10:20",
        "--log-driver",
        "json-file",
        "--log-opt",
        "max-size=1m",
        "--replicas-max-per-node",
        "5",
        "busybox",
        "sleep",
        "1000",
    ];
    page.run(&everything);
    wait_running(node, "all", 2);
    page.run(&["service", "create", "-q", "--name", "web", "--publish", "8080:80", "nginx"]);
    page.run(&[
        "service",
        "create",
        "-q",
        "--name",
        "each",
        "--mode",
        "global",
        "--stop-grace-period",
        "0s",
        "busybox",
        "sleep",
        "1000",
    ]);
    for words in [
        &["service", "ls"][..],
        &["service", "ls", "--format", "json", "-f", "name=web"],
        &["service", "ls", "-q", "-f", "mode=global"],
        &["service", "ps", "--format", "{{.Name}} {{.Image}} {{.Node}} {{.DesiredState}} {{.Error}} {{.Ports}}", "all"],
        &["service", "ps", "--no-trunc", "web"],
        &["service", "ps", "nope"],
        &["service", "inspect", "all"],
        &["service", "inspect", "web", "each"],
        &["service", "inspect", "--pretty", "all"],
        &["service", "inspect", "--pretty", "web", "each"],
        &["service", "inspect", "nope"],
        &["service", "create", "-q", "--name", "web", "nginx"],
        &["service", "create", "-q", "--name", "a.b", "nginx"],
        &["service", "create", "-q", "--publish", "8080:81", "nginx"],
        &["service", "create", "-q", "--network", "nope", "nginx"],
        &["service", "create", "-q", "--mode", "odd", "nginx"],
        &["service", "create", "-q", "--constraint", "node.role", "nginx"],
        &["service", "scale", "each=2"],
        &["service", "scale", "-d", "all=1"],
        &["service", "update", "-q", "--env-add", "C=D", "--label-add", "x=y", "web"],
        &["service", "update", "-q", "nope"],
        &["service", "inspect", "-f", "{{json .Spec}}", "web"],
        &["service", "rollback", "-q", "web"],
        &[
            "service",
            "inspect",
            "-f",
            "{{json .PreviousSpec}} {{.UpdateStatus.State}} {{.UpdateStatus.Message}}",
            "web",
        ],
        &["service", "logs", "nope"],
        &["network", "rm", "wide"],
        &["node", "ps", "--format", "{{.Name}} {{.Image}} {{.DesiredState}}", "-f", "desired-state=running"],
        &["info", "-f", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.Managers}} {{.Swarm.Nodes}}"],
        &["service", "rm", "all", "web", "each", "nope"],
        &["service", "ls"],
        &["swarm", "leave"],
        &["swarm", "leave", "--force"],
    ] {
        page.run(words);
    }
    page.compare("a-swarm");
}
