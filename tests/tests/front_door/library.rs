//! The use cases without the command line: the engine's example, a program of its own, does on a node what `skep` does.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use skep_tests::program::{Finished, start};
use skep_tests::{Lab, Node, skep, swarm};

/// The engine's example `container`. Cargo makes it with the tests of the workspace, beside them.
fn example() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(|deps| deps.parent()).unwrap().join("examples/container");
    assert!(path.exists(), "{} is missing: run `cargo build -p skep-engine --examples`", path.display());
    path
}

/// The example on `node`, with the directories of the node's `skep`.
fn run(node: &Node, image: &str) -> Finished {
    let entered = node.command(&[]);
    let binary = skep::binary().unwrap();
    let mut command = Command::new(entered.get_program());
    // What leads into the node's namespaces stays; the program after it is another.
    command.args(entered.get_args().filter(|word| *word != binary.as_os_str())).arg(example()).arg(image);
    command.arg(&node.root).arg(&node.run_root).arg(&node.cgroup_parent).env_clear();
    start(&mut command).unwrap().finish(Duration::from_secs(120)).unwrap()
}

#[test]
fn a_program_of_its_own_runs_containers_and_services() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    node.skep(&["pull", "-q", "busybox"]).ok();
    let said = run(node, "busybox").ok();
    for words in ["40 120", "it says hello", "the program ended with 0", "the log begins"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    assert!(!said.contains("service "), "there is no swarm: {said}");
    assert_eq!(node.skep(&["ps", "-aq"]).ok(), "", "it removes its container");

    node.skep(&["swarm", "init", "--advertise-addr", &node.address.to_string()]).ok();
    let said = run(node, "busybox").ok();
    let id = said.lines().find_map(|line| line.strip_prefix("service ")).unwrap();
    assert_eq!(node.skep(&["service", "inspect", "-f", "{{.ID}}", "example"]).ok(), id);
    swarm::wait_running(node, "example", 1);
}
