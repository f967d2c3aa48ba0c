//! A swarm of three nodes: nodes, services, updates, failures of tasks, several managers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skep_tests::images::Format;
use skep_tests::images::tutorial::{self, welcome};
use skep_tests::pty::Terminal;
use skep_tests::rogue::{Fault, RogueRegistry};
use skep_tests::swarm::{self, running, wait_mesh, wait_running, wait_status};
use skep_tests::{Lab, Node, wait_until};

fn columns(listed: &str) -> String {
    let header: Vec<&str> = listed.lines().next().unwrap_or_default().split_whitespace().collect();
    header.join(" ")
}

fn images(node: &Node, service: &str) -> BTreeSet<String> {
    running(node, service).into_iter().map(|task| task.image).collect()
}

fn nodes_of(node: &Node, service: &str) -> BTreeSet<String> {
    running(node, service).into_iter().map(|task| task.node).collect()
}

/// From nothing to three nodes, by the very commands that are printed.
#[test]
fn the_tutorial() {
    let lab = Lab::new(3).unwrap();
    let (one, two, three) = (lab.node(1), lab.node(2), lab.node(3));
    let said = swarm::init(one);
    assert!(said.contains("Swarm initialized: current node (") && said.contains(") is now a manager."), "{said}");
    assert!(said.contains("To add a worker to this swarm, run the following command:"), "{said}");
    let printed = said.lines().find(|line| line.contains("swarm join --token")).unwrap();
    let words: Vec<&str> = printed.split_whitespace().collect();
    assert_eq!(words[0], "skep", "the printed command can be pasted");
    assert_eq!(*words.last().unwrap(), format!("{}:2377", one.address));
    for node in [two, three] {
        assert_eq!(node.skep(&words[1..]).ok(), "This node joined a swarm as a worker.");
    }
    for node in &lab.nodes {
        wait_status(one, &node.name, "Ready");
    }
    let listed = one.skep(&["node", "ls"]).ok();
    assert_eq!(columns(&listed), "ID HOSTNAME STATUS AVAILABILITY MANAGER STATUS ENGINE VERSION");
    let own = listed.lines().find(|line| line.contains("node1")).unwrap();
    assert!(own.contains(" * ") && own.contains("Leader") && own.contains("Active"), "{listed}");

    let said =
        one.skep(&["service", "create", "--name", "nginx", "--replicas", "2", "--publish", "8080:80", "nginx"]).ok();
    assert!(said.contains("overall progress: 2 out of 2 tasks"), "{said}");
    assert!(said.contains("verify: Service") && said.contains("converged"), "{said}");
    let listed = one.skep(&["service", "ls"]).ok();
    assert_eq!(columns(&listed), "ID NAME MODE REPLICAS IMAGE PORTS");
    let line: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(line[1..].join(" "), "nginx replicated 2/2 nginx:latest *:8080->80/tcp");
    let listed = one.skep(&["service", "ps", "nginx"]).ok();
    assert_eq!(columns(&listed), "ID NAME IMAGE NODE DESIRED STATE CURRENT STATE ERROR PORTS");
    assert_eq!(nodes_of(one, "nginx").len(), 2, "two tasks are spread over two nodes");
    let pretty = one.skep(&["service", "inspect", "--pretty", "nginx"]).ok();
    for words in [
        "Name:",
        "nginx",
        "Service Mode:",
        "Replicated",
        "Replicas:",
        "UpdateConfig:",
        "PublishedPort = 8080",
        "TargetPort = 80",
        "Endpoint Mode:",
        "nginx:latest@sha256:",
    ] {
        assert!(pretty.contains(words), "no {words:?} in:\n{pretty}");
    }
    let image =
        one.skep(&["service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", "nginx"]).ok();
    assert!(image.starts_with("nginx:latest@sha256:"), "{image}");
    wait_mesh(&lab, 8080, &welcome("latest"));

    let said = one.skep(&["service", "update", "--image", "nginx:alpine", "nginx"]).ok();
    assert!(said.contains("converged"), "{said}");
    assert_eq!(images(one, "nginx"), BTreeSet::from(["nginx:alpine".to_owned()]));
    wait_mesh(&lab, 8080, &welcome("alpine"));
    one.skep(&["service", "update", "--env-add", "COLOUR=blue", "nginx"]).ok();
    wait_running(one, "nginx", 2);
    let holder = lab.nodes.iter().find(|node| nodes_of(one, "nginx").contains(&node.name)).unwrap();
    let container = swarm::container_of(holder, "nginx");
    assert_eq!(holder.skep(&["exec", &container, "sh", "-c", "echo $COLOUR"]).ok(), "blue");

    let said = one.skep(&["service", "scale", "nginx=5"]).ok();
    assert!(said.contains("nginx scaled to 5") && said.contains("converged"), "{said}");
    wait_running(one, "nginx", 5);
    assert_eq!(nodes_of(one, "nginx").len(), 3);
    let logs = wait_until(Duration::from_secs(20), "service logs", || {
        swarm::fetch(one, one, 8080, "/")?;
        let logs = one.skep(&["service", "logs", "nginx"]).ok();
        logs.contains("GET / HTTP/1.1").then_some(logs.clone()).ok_or(logs)
    });
    assert!(logs.contains("nginx.") && logs.contains("@node"), "{logs}");
    one.skep(&["service", "scale", "nginx=0"]).ok();
    wait_until(Duration::from_secs(20), "no containers", || {
        let all: Vec<String> = lab.nodes.iter().flat_map(swarm::containers).collect();
        all.is_empty().then_some(()).ok_or(format!("{all:?}"))
    });
    let listed = one.skep(&["service", "ls", "--format", "{{.Replicas}}"]).ok();
    assert_eq!(listed, "0/0");
    assert_eq!(one.skep(&["service", "rm", "nginx"]).ok(), "nginx");
    for node in [two, three] {
        assert_eq!(node.skep(&["swarm", "leave"]).ok(), "Node left the swarm.");
    }
    for node in [two, three] {
        wait_status(one, &node.name, "Down");
    }
    assert_eq!(one.skep(&["node", "rm", "node2", "node3"]).ok(), "node2\nnode3");
    assert_eq!(one.skep(&["swarm", "leave", "--force"]).ok(), "Node left the swarm.");
    for node in &lab.nodes {
        wait_until(Duration::from_secs(10), "everything of the swarm to be gone", || {
            let left = node.leftovers();
            left.is_empty().then_some(()).ok_or(format!("{}: {left:#?}", node.name))
        });
    }
    // And once more, on the same machines.
    swarm::form(&lab, 1);
}

/// Tasks that fail, nodes that drain, global services, labels and constraints, modes of updating.
#[test]
fn services_follow_their_nodes() {
    let lab = Lab::new(3).unwrap();
    let (one, three) = (lab.node(1), lab.node(3));
    swarm::form(&lab, 1);
    let create = |words: &[&str]| {
        let mut all = vec!["service", "create", "-d", "--restart-delay", "100ms", "--name"];
        all.extend_from_slice(words);
        one.skep(&all).ok()
    };
    create(&["web", "--replicas", "3", "nginx"]);
    create(&["everywhere", "--mode", "global", "busybox", "sleep", "1000"]);
    one.skep(&["node", "update", "--label-add", "disk=ssd", "node3"]).ok();
    create(&["picky", "--replicas", "2", "--constraint", "node.labels.disk==ssd", "busybox", "sleep", "1000"]);
    create(&["nowhere", "--constraint", "node.labels.disk==tape", "busybox", "sleep", "1000"]);
    wait_running(one, "web", 3);
    wait_running(one, "everywhere", 3);
    wait_running(one, "picky", 2);
    assert_eq!(nodes_of(one, "picky"), BTreeSet::from(["node3".to_owned()]));
    wait_until(Duration::from_secs(10), "the reason to be told", || {
        let tasks = swarm::tasks(one, "nowhere");
        let told =
            tasks.iter().any(|task| task.current.starts_with("Pending") && task.error.contains("no suitable node"));
        told.then_some(()).ok_or(format!("{tasks:?}"))
    });

    // A task whose process dies is replaced in its slot.
    let task = swarm::container_of(three, "everywhere");
    let pid = three.skep(&["inspect", "--format", "{{.State.Pid}}", &task]).ok();
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    wait_until(Duration::from_secs(30), "the failure and its replacement", || {
        let tasks = swarm::tasks(one, "everywhere");
        let failed = tasks.iter().any(|task| task.current.starts_with("Failed") && task.error.contains("137"));
        let replaced = running(one, "everywhere").len() == 3;
        (failed && replaced).then_some(()).ok_or(format!("{tasks:#?}"))
    });

    // A drained node gives its tasks away; one that comes back gets its global ones.
    one.skep(&["node", "update", "--availability", "drain", "node3"]).ok();
    wait_until(Duration::from_secs(40), "node3 to be drained", || {
        let left = swarm::containers(three);
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    });
    wait_running(one, "web", 3);
    assert_eq!(wait_running(one, "everywhere", 2).len(), 2);
    assert!(!nodes_of(one, "web").contains("node3"));
    assert_eq!(one.skep(&["node", "ls", "--filter", "name=node3", "--format", "{{.Availability}}"]).ok(), "Drain");
    one.skep(&["node", "update", "--availability", "active", "node3"]).ok();
    wait_running(one, "everywhere", 3);
    wait_running(one, "picky", 2);
    let listed = one.skep(&["node", "ps", "node3", "--filter", "desired-state=running", "--format", "{{.Name}}"]).ok();
    assert!(listed.contains("picky.1") && listed.contains("everywhere."), "{listed}");

    // An update to an image that fails is paused, and the others go on.
    one.skep(&[
        "service",
        "update",
        "-d",
        "--update-failure-action",
        "pause",
        "--update-monitor",
        "2s",
        "--args",
        "false",
        "--image",
        "busybox",
        "web",
    ])
    .ok();
    wait_until(Duration::from_secs(60), "the update to be paused", || {
        let state = one.skep(&["service", "inspect", "--format", "{{.UpdateStatus.State}}", "web"]);
        (state.stdout.trim() == "paused").then_some(()).ok_or(state.to_string())
    });
    assert!(images(one, "web").contains("nginx:latest"), "a paused update leaves the rest alone");
    one.skep(&["service", "rollback", "-d", "web"]);
    one.skep(&[
        "service",
        "update",
        "-d",
        "--args",
        "",
        "--image",
        "nginx:alpine",
        "--update-order",
        "start-first",
        "--update-parallelism",
        "2",
        "web",
    ])
    .ok();
    one.skep(&["service", "rm", "web", "everywhere", "picky", "nowhere"]).ok();
    wait_until(Duration::from_secs(40), "no containers", || {
        let all: Vec<String> = lab.nodes.iter().flat_map(swarm::containers).collect();
        all.is_empty().then_some(()).ok_or(format!("{all:?}"))
    });
}

/// Credentials travel with the service where they are asked to, and a terminal sees the progress.
#[test]
fn images_behind_a_password() {
    let lab = Lab::new(2).unwrap();
    let one = lab.node(1);
    swarm::form(&lab, 1);
    let address = SocketAddr::new(IpAddr::V4(lab.gateway()), 5001);
    let image = tutorial::busybox("latest", Format::Oci).unwrap();
    let fault = Fault::Basic("someone".to_owned(), "a secret".to_owned());
    let _registry = RogueRegistry::start(&lab.switch, address, &[image], fault).unwrap();
    let reference = format!("{address}/library/busybox");
    one.skep(&["login", "-u", "someone", "-p", "a secret", &address.to_string()]).ok();
    let create = ["service", "create", "--constraint", "node.hostname==node2", "--restart-delay", "100ms"];
    let with = |more: &[&str]| {
        let mut all = create.to_vec();
        all.extend_from_slice(more);
        all.extend_from_slice(&[&reference, "sleep", "100000"]);
        one.command(&all)
    };
    let command = with(&["--name", "known", "--with-registry-auth"]);
    let mut terminal = Terminal::start(&command, 30, 100).unwrap();
    terminal.expect("overall progress: 1 out of 1 tasks").unwrap();
    assert_eq!(terminal.finish().unwrap(), 0);
    assert!(terminal.screen().contains("converged"), "{}", terminal.screen());
    one.skep(&["service", "rm", "known"]).ok();
    wait_until(Duration::from_secs(30), "the image to be out of use", || {
        // As long as a container is there, removal takes the image's names only.
        let containers = lab.node(2).skep(&["ps", "-a", "-q"]).ok();
        if !containers.is_empty() {
            return Err(containers);
        }
        // Pulled by digest, it has no tag.
        let image = lab.node(2).skep(&["images", "-q"]).ok();
        let removed = lab.node(2).skep(&["rmi", "-f", &image]);
        (removed.code == 0).then_some(()).ok_or(removed.to_string())
    });
    skep_tests::program::run(&mut with(&["--name", "unknown", "-d"])).unwrap().ok();
    wait_until(Duration::from_secs(30), "the refusal to be told", || {
        let tasks = swarm::tasks(one, "unknown");
        let told = tasks.iter().any(|task| task.current.starts_with("Rejected") && !task.error.is_empty());
        told.then_some(()).ok_or(format!("{tasks:?}"))
    });
}

/// Tokens, roles, three managers, commands sent to a follower.
#[test]
fn managers_and_tokens() {
    let lab = Lab::new(3).unwrap();
    let (one, two, three) = (lab.node(1), lab.node(2), lab.node(3));
    swarm::form(&lab, 3);
    let status = |node: &str| {
        let filter = format!("name={node}");
        one.skep(&["node", "ls", "--filter", &filter, "--format", "{{.ManagerStatus}}"]).ok()
    };
    assert_eq!(status("node1"), "Leader");
    wait_until(Duration::from_secs(20), "all managers to be reachable", || {
        let both = format!("{} {}", status("node2"), status("node3"));
        (both == "Reachable Reachable").then_some(()).ok_or(both)
    });
    // A follower serves writes and reads.
    two.skep(&["service", "create", "-d", "--name", "web", "nginx"]).ok();
    assert_eq!(three.skep(&["service", "ls", "-q"]).ok(), one.skep(&["service", "ls", "-q"]).ok());
    wait_running(three, "web", 1);

    let token = one.skep(&["swarm", "join-token", "-q", "worker"]).ok();
    assert!(token.starts_with("SWMTKN-1-") && token.len() == 9 + 50 + 1 + 25, "{token}");
    let said = one.skep(&["swarm", "join-token", "worker"]).ok();
    assert!(said.contains(&format!("skep swarm join --token {token} {}:2377", one.address)), "{said}");
    let rotated = two.skep(&["swarm", "join-token", "-q", "--rotate", "worker"]).ok();
    assert_ne!(token, rotated);

    assert_eq!(one.skep(&["node", "demote", "node3"]).ok(), "Manager node3 demoted in the swarm.");
    wait_until(Duration::from_secs(30), "node3 to be a worker", || {
        let refused = three.skep(&["node", "ls"]);
        (refused.code == 1 && status("node3").is_empty()).then_some(()).ok_or(refused.to_string())
    });
    three.skep(&["swarm", "leave"]).ok();
    wait_status(one, "node3", "Down");
    one.skep(&["node", "rm", "node3"]).ok();
    let there = format!("{}:2377", one.address);
    three.skep(&["swarm", "join", "--token", &token, &there]).fails_saying(1, &["token"]);
    three.skep(&["swarm", "join", "--token", &rotated, &there]).ok();
    wait_status(one, "node3", "Ready");
    assert_eq!(one.skep(&["node", "promote", "node3"]).ok(), "Node node3 promoted to a manager in the swarm.");
    wait_until(Duration::from_secs(30), "node3 to be a manager", || {
        let status = status("node3");
        (status == "Reachable").then_some(()).ok_or(status)
    });
    three.skep(&["service", "scale", "-d", "web=2"]).ok();
    wait_running(three, "web", 2);
    let inspected = one.skep(&["node", "inspect", "--pretty", "self"]).ok();
    assert!(inspected.contains("Hostname:") && inspected.contains("node1"), "{inspected}");
}
