//! What has to stay up when parts of a swarm do not: agents, leaders, cables, everything.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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

    // The majority: an answer, never a hang (which would end the test), and the containers go on.
    two.kill_agent();
    three.skep(&["service", "scale", "-d", "web=5"]).fails_saying(1, &["leader"]);
    assert!(swarm::fetch(three, three, 8080, "/").unwrap().contains(&welcome("latest")));

    // All of them, and all of them again: everything is as it was.
    three.kill_agent();
    for node in &lab.nodes {
        node.start_agent().unwrap();
    }
    wait_until(Duration::from_secs(60), "the managers to agree again", || {
        let listed = one.skep(&["service", "ls", "--format", "{{.Name}} {{.Replicas}}"]);
        (listed.stdout.trim() == "web 4/4").then_some(()).ok_or(listed.to_string())
    });
    wait_until(Duration::from_secs(30), "the network to be listed", || {
        let listed = one.skep(&["network", "ls", "--format", "{{.Name}}"]);
        listed.stdout.lines().any(|name| name == "app").then_some(()).ok_or(listed.to_string())
    });
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

/// A running demo; whatever the end of the test, it is asked to clean up.
struct Demo {
    process: Child,
    directory: tempfile::TempDir,
}

impl Demo {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let output = File::create(directory.path().join("output")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep-demo"));
        let process = command.stdin(Stdio::null()).stdout(output).spawn().unwrap();
        Self { process, directory }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap()
    }

    fn output(&self) -> String {
        fs::read_to_string(self.directory.path().join("output")).unwrap()
    }

    /// The number of its lab, once it holds one: by the file that is locked for it.
    fn lab(&self) -> Option<u32> {
        let files = fs::read_dir(format!("/proc/{}/fd", self.process.id())).ok()?;
        files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).find_map(|path| {
            let name = path.strip_prefix(sweep::BASE).ok()?.to_str()?;
            name.strip_suffix(".lock")?.parse().ok()
        })
    }

    /// Interrupts it once `is_time` holds for its lab's directory, and looks at what is left.
    fn interrupted_when(mut self, what: &str, is_time: impl Fn(&Self, &Path) -> bool) {
        let (number, directory) = wait_until(Duration::from_secs(90), what, || {
            let number = self.lab().ok_or_else(|| self.output())?;
            let directory = Path::new(sweep::BASE).join(number.to_string());
            if is_time(&self, &directory) { Ok((number, directory)) } else { Err(self.output()) }
        });
        let begun = |pid: i32| {
            let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            line.rsplit(')').next()?.split(' ').nth(20).map(ToOwned::to_owned)
        };
        let held = sweep::held_namespaces(&directory);
        let of_lab = || sweep::processes_of(number, &directory, &HashSet::new());
        let mut before = sweep::processes_of(number, &directory, &held);
        before.retain(|pid| *pid != self.pid());
        let before: Vec<(i32, Option<String>)> = before.into_iter().map(|pid| (pid, begun(pid))).collect();
        assert!(!before.is_empty(), "at least the registry runs");
        kill(Pid::from_raw(self.pid()), Signal::SIGINT).unwrap();
        let status = self.process.wait().unwrap();
        assert_eq!(status.code(), Some(130), "{}", self.output());
        assert!(!directory.exists());
        assert_eq!(sweep::mounts_below(&directory), Vec::<PathBuf>::new());
        // A process that was killed may still be on its way out, and its number be another's by then.
        wait_until(Duration::from_secs(10), "its processes to be gone", || {
            let mut left: Vec<i32> = of_lab();
            left.extend(
                before.iter().filter(|(pid, time)| time.is_some() && begun(*pid) == *time).map(|(pid, _)| *pid),
            );
            left.is_empty().then_some(()).ok_or(format!("{left:?}"))
        });
        for hierarchy in sweep::hierarchies() {
            let cgroup = hierarchy.join(sweep::cgroup_name(number));
            assert!(!cgroup.exists(), "{} is left", cgroup.display());
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // After a wait that found the end, its number may be another's.
        if matches!(self.process.try_wait(), Ok(None)) {
            kill(Pid::from_raw(self.pid()), Signal::SIGTERM).ok();
            self.process.wait().ok();
        }
    }
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    Demo::start().interrupted_when("the demo to have a service", |demo, directory| {
        let output = demo.output();
        assert!(!output.contains("== ") || output.contains(&directory.display().to_string()), "{output}");
        output.contains("node1# skep service ls")
    });
}

#[test]
fn a_demo_interrupted_while_it_sets_up_leaves_nothing() {
    Demo::start().interrupted_when("the demo to fill its registry", |_, directory| {
        // The first layer of the first image.
        directory.join("registry/data/docker/registry/v2/blobs").exists()
    });
}
