//! What has to stay up when parts of a swarm do not: agents, leaders, cables, everything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skep_tests::images::tutorial::welcome;
use skep_tests::swarm::{self, containers, running, wait_mesh, wait_running, wait_status};
use skep_tests::{Lab, slow, sweep, wait_until};

#[test]
fn a_worker_loses_its_agent_and_then_its_cable() {
    let lab = Lab::new(3).unwrap();
    let (one, three) = (lab.node(1), lab.node(3));
    swarm::form(&lab, 1);
    one.skep(&["service", "create", "-d", "--name", "web", "--replicas", "3", "-p", "8080:80", "nginx"]).ok();
    wait_running(one, "web", 3);
    wait_mesh(&lab, 8080, &welcome("latest"));
    let before = containers(three);
    let pid = |name: &str| three.skep(&["inspect", "--format", "{{.State.Pid}}", name]).ok();
    let process = pid(&before[0]);

    // Without its agent: containers, their traffic and their names go on; a new agent adopts them.
    three.kill_agent();
    assert_eq!(containers(three), before);
    for _ in 0..6 {
        assert!(swarm::fetch(one, three, 8080, "/").unwrap().contains(&welcome("latest")));
    }
    three.start_agent().unwrap();
    wait_status(one, "node3", "Ready");
    wait_running(one, "web", 3);
    assert_eq!(containers(three), before, "the new agent adopts what runs");
    assert_eq!(pid(&before[0]), process);
    wait_mesh(&lab, 8080, &welcome("latest"));

    // Without its cable: the tasks run elsewhere; when it is back, the old ones go.
    three.partition().unwrap();
    wait_status(one, "node3", "Down");
    let elsewhere = || {
        let nodes: BTreeSet<String> = running(one, "web").into_iter().map(|task| task.node).collect();
        let enough = running(one, "web").len() == 3 && !nodes.contains("node3");
        enough.then_some(()).ok_or(format!("{nodes:?}"))
    };
    wait_until(Duration::from_secs(40), "the tasks to run elsewhere", elsewhere);
    assert_eq!(containers(three), before, "a node that is cut off keeps what it has");
    for _ in 0..6 {
        assert!(swarm::fetch(one, one, 8080, "/").unwrap().contains(&welcome("latest")));
    }
    three.heal().unwrap();
    wait_status(one, "node3", "Ready");
    wait_until(Duration::from_secs(40), "the old tasks to go", || {
        let left = containers(three);
        left.iter().all(|name| !before.contains(name)).then_some(()).ok_or(format!("{left:?}"))
    });
    wait_mesh(&lab, 8080, &welcome("latest"));
    assert_eq!(running(one, "web").len(), 3);
}

#[test]
fn managers_die_one_by_one_and_all_at_once() {
    let lab = Lab::new(3).unwrap();
    let (one, two, three) = (lab.node(1), lab.node(2), lab.node(3));
    swarm::form(&lab, 3);
    two.skep(&["network", "create", "-d", "overlay", "app"]).ok();
    two.skep(&[
        "service",
        "create",
        "-d",
        "--name",
        "web",
        "--replicas",
        "3",
        "--network",
        "app",
        "-p",
        "8080:80",
        "nginx",
    ])
    .ok();
    wait_running(two, "web", 3);
    wait_mesh(&lab, 8080, &welcome("latest"));

    // The leader: another serves writes.
    one.kill_agent();
    wait_until(Duration::from_secs(40), "another leader to serve a write", || {
        let scaled = two.skep(&["service", "scale", "-d", "web=4"]);
        (scaled.code == 0).then_some(()).ok_or(scaled.to_string())
    });
    wait_running(two, "web", 4);
    let status = two.skep(&["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"]).ok();
    assert!(status.contains(" Leader") && !status.contains("node1 Leader"), "{status}");

    // The majority: an answer within seconds, never a hang, and the containers go on.
    two.kill_agent();
    let begun = Instant::now();
    let refused = three.skep(&["service", "scale", "-d", "web=5"]);
    assert!(begun.elapsed() < slow(Duration::from_secs(25)), "{:?}", begun.elapsed());
    refused.fails_saying(1, &["leader"]);
    assert!(swarm::fetch(three, three, 8080, "/").unwrap().contains(&welcome("latest")));

    // All of them, and all of them again: everything is as it was.
    let seen = |what: &[&str]| one.skep(what).ok();
    three.kill_agent();
    for node in &lab.nodes {
        node.start_agent().unwrap();
    }
    wait_until(Duration::from_secs(60), "the managers to agree again", || {
        let listed = one.skep(&["service", "ls", "--format", "{{.Name}} {{.Replicas}}"]);
        (listed.stdout.trim() == "web 4/4").then_some(()).ok_or(listed.to_string())
    });
    assert!(seen(&["network", "ls", "--format", "{{.Name}}"]).contains("app"));
    for node in &lab.nodes {
        wait_status(one, &node.name, "Ready");
    }
    wait_mesh(&lab, 8080, &welcome("latest"));
    wait_until(Duration::from_secs(30), "one container for each task", || {
        let all: Vec<String> = lab.nodes.iter().flat_map(containers).collect();
        (all.len() == 4).then_some(()).ok_or(format!("{all:?}"))
    });
    one.skep(&["service", "scale", "-d", "web=1"]).ok();
    wait_running(three, "web", 1);
}

#[test]
fn strangers_are_refused() {
    let lab = Lab::new(3).unwrap();
    let (one, two, three) = (lab.node(1), lab.node(2), lab.node(3));
    swarm::init(one);
    let there = format!("{}:2377", one.address);
    let token = one.skep(&["swarm", "join-token", "-q", "worker"]).ok();
    let mut wrong = token.clone();
    let last = if wrong.pop() == Some('0') { '1' } else { '0' };
    wrong.push(last);
    two.skep(&["swarm", "join", "--token", &wrong, &there]).fails_saying(1, &["token"]);
    // The token of another swarm names another authority.
    swarm::init(three);
    let foreign = three.skep(&["swarm", "join-token", "-q", "worker"]).ok();
    two.skep(&["swarm", "join", "--token", &foreign, &there]).fails_saying(1, &["fingerprint"]);
    let mut foreign_digest = foreign.clone();
    foreign_digest.replace_range(59.., &token[59..]);
    two.skep(&["swarm", "join", "--token", &foreign_digest, &there]).fails_saying(1, &["fingerprint"]);
    two.skep(&["swarm", "join", "--token", &token, &format!("{}:2399", one.address)]).fails_saying(1, &["2399"]);
    assert!(two.skep(&["info"]).ok().contains("inactive"), "a refused node is in no swarm");

    // Plain text gets nowhere: no answer that is not an alert or an end.
    let address = one.at(2377);
    let said = one.namespace.inside(move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(slow(Duration::from_secs(5))))?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said).ok();
        Ok(said)
    });
    let said = said.unwrap();
    assert!(said.is_empty() || said[0] == 0x15, "a plain-text client was answered: {said:?}");
    // A swarm of its own certificates gets nowhere either: node3 cannot even see node1's services.
    one.skep(&["service", "create", "-d", "--name", "secret", "nginx"]).ok();
    assert_eq!(three.skep(&["service", "ls", "-q"]).ok(), "");
    assert_eq!(one.skep(&["node", "ls", "-q"]).ok().lines().count(), 1);
    two.skep(&["swarm", "join", "--token", &token, &there]).ok();
    wait_status(one, "node2", "Ready");
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("output");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_skep-demo"))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&path).unwrap())
        .spawn()
        .unwrap();
    let output = wait_until(Duration::from_secs(60), "the demo to have a service", || {
        let output = std::fs::read_to_string(&path).unwrap();
        if output.contains("node1# skep service ls") { Ok(output) } else { Err(output) }
    });
    let lab = output.lines().find_map(|line| line.split(sweep::BASE).nth(1)).unwrap();
    let lab = format!("{}{}", sweep::BASE, lab.split_whitespace().next().unwrap().trim_end_matches('.'));
    assert!(std::path::Path::new(&lab).exists(), "{lab}");
    kill(Pid::from_raw(i32::try_from(demo.id()).unwrap()), Signal::SIGINT).unwrap();
    let status = demo.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(!std::path::Path::new(&lab).exists());
    let inside = format!("{lab}/");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&inside), "{mounts}");
    let left: Vec<i32> = sweep::pids()
        .into_iter()
        .filter(|pid| skep_tests::leaks::belongs(*pid, std::path::Path::new(&inside)))
        .collect();
    assert_eq!(left, Vec::<i32>::new());
}
