//! No other program is ever called: what is executed is `skep` itself and what containers are made of. And what a short
//! command does without.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use skep_tests::program::{Finished, Running, start};
use skep_tests::{Lab, Node, skep, swarm, wait_until};

const EXECUTIONS: &str = "trace=execve,execveat";

/// `skep` with `arguments` on `node`, each of these system calls of it and its children written down in `log`.
fn traced(node: &Node, log: &Path, calls: &str, arguments: &[&str]) -> Running {
    let inner = node.command(arguments);
    let mut command = Command::new("/usr/bin/strace");
    command.args(["-f", "-qq", "-s", "4096", "-e", calls, "-e", "signal=none", "-o"]).arg(log);
    command.arg(inner.get_program()).args(inner.get_args()).env_clear();
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    start(&mut command).unwrap()
}

/// What was executed, by path; the one that enters the node's namespaces is the lab's own.
fn executed(log: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(log).unwrap();
    let calls = text.lines().filter(|line| line.contains("exec") && line.ends_with(" = 0"));
    let paths = calls.map(|line| line.split('"').nth(1).unwrap_or(line).to_owned());
    paths.filter(|path| path != "/usr/bin/nsenter").collect()
}

/// Other names of the binary: that by which a process finds itself.
fn is_skep(path: &str) -> bool {
    let path = PathBuf::from(path);
    path.starts_with("/proc") || path == skep::binary().unwrap()
}

fn finish(running: Running) -> Finished {
    running.finish(Duration::from_secs(120)).unwrap()
}

#[test]
fn running_a_container_executes_skep_and_the_containers_program() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let log = lab.directory().join("run.strace");
    let run = ["run", "--rm", "-m", "64m", "-p", "8080:80", "-v", "kept:/kept", "busybox", "/bin/echo", "hello"];
    assert_eq!(finish(traced(node, &log, EXECUTIONS, &run)).ok(), "hello");
    let others: Vec<String> = executed(&log).into_iter().filter(|path| !is_skep(path)).collect();
    assert_eq!(others, ["/bin/echo"]);
}

#[test]
fn a_swarm_executes_skep_and_the_tasks_programs() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let log = lab.directory().join("swarm.strace");
    let address = node.address.to_string();
    // With the agent that it leaves behind, which goes when the node leaves.
    let init = traced(node, &log, EXECUTIONS, &["swarm", "init", "--advertise-addr", &address]);
    wait_until(Duration::from_secs(60), "the swarm", || {
        let listed = node.skep(&["node", "ls", "--format", "{{.Status}}"]);
        (listed.stdout.trim() == "Ready").then_some(()).ok_or(listed.to_string())
    });
    node.skep(&["network", "create", "-d", "overlay", "app"]).ok();
    let create = ["service", "create", "-d", "--name", "web", "--network", "app", "-p", "8080:80", "nginx"];
    node.skep(&create).ok();
    swarm::wait_running(node, "web", 1);
    swarm::wait_mesh(&lab, 8080, "Welcome to nginx!");
    node.skep(&["service", "rm", "web"]).ok();
    wait_until(Duration::from_secs(40), "no containers", || {
        let left = swarm::containers(node);
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    });
    node.skep(&["swarm", "leave", "--force"]).ok();
    finish(init).ok();
    let others: Vec<String> = executed(&log).into_iter().filter(|path| !is_skep(path)).collect();
    assert!(others.iter().all(|path| path.ends_with("/nginx")) && !others.is_empty(), "{others:?}");
}

#[test]
fn what_this_machine_does_alone_starts_no_async_runtime() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    // A runtime's threads give themselves a name.
    let names_of_runtime = |arguments: &[&str]| {
        let log = lab.directory().join("threads.strace");
        finish(traced(node, &log, "trace=prctl", arguments)).ok();
        let text = fs::read_to_string(&log).unwrap();
        text.lines().filter(|line| line.contains("PR_SET_NAME, \"tokio-")).count()
    };
    assert_ne!(names_of_runtime(&["pull", "busybox"]), 0, "what a runtime looks like");
    for arguments in [
        ["network", "create", "app"].as_slice(),
        &["network", "ls"],
        &["network", "inspect", "app"],
        &["network", "rm", "app"],
        &["network", "prune", "-f"],
        &["inspect", "bridge"],
        &["create", "--name", "web", "busybox", "true"],
        &["rm", "web"],
    ] {
        assert_eq!(names_of_runtime(arguments), 0, "{arguments:?}");
    }
}
