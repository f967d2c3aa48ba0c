//! What depends on the kernel. Run by `make test-vm` only, inside the virtual machine: some of it takes modules away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use skep_tests::{Lab, program, swarm, wait_until};

#[test]
fn a_ipvs_is_chosen_where_the_kernel_has_it() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    swarm::init(node);
    let information = node.skep(&["info"]).ok();
    assert!(information.to_lowercase().contains("ipvs"), "{information}");
}

#[test]
fn b_cgroup_v2_limits_and_an_oom_kill() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    assert!(node.skep(&["info"]).ok().contains("Cgroup Version: 2"));
    let eat = "head -c 200m /dev/zero | tail -c 150m | wc -c";
    node.skep(&["run", "--name", "hungry", "-m", "32m", "busybox", "sh", "-c", eat]);
    let state = node.skep(&["inspect", "--format", "{{.State.OOMKilled}}", "hungry"]).ok();
    assert_eq!(state, "true");
    node.skep(&["rm", "hungry"]).ok();
    wait_until(Duration::from_secs(5), "everything to be gone", || {
        let left = node.leftovers();
        left.is_empty().then_some(()).ok_or(format!("{left:#?}"))
    });
}

/// The choice of a kernel without IPVS, made on one with it.
#[test]
fn c_nftables_balances_where_it_is_asked_to() {
    let mut lab = Lab::new(2).unwrap();
    for node in &mut lab.nodes {
        node.environment.push(("SKEP_LOAD_BALANCER".to_owned(), "nftables".to_owned()));
    }
    let one = lab.node(1);
    swarm::form(&lab, 1);
    let information = one.skep(&["info"]).ok();
    assert!(information.contains("nftables") && !information.to_lowercase().contains("ipvs"), "{information}");
    one.skep(&["network", "create", "-d", "overlay", "--attachable", "app"]).ok();
    let words = ["service", "create", "-d", "--name", "web", "--replicas", "2", "--network", "app", "-p", "8080:80"];
    one.skep(&[&words[..], &["nginx"]].concat()).ok();
    swarm::wait_running(one, "web", 2);
    swarm::wait_mesh(&lab, 8080, "Welcome to nginx!");
    one.skep(&["run", "-d", "--name", "client", "--network", "app", "busybox", "sleep", "100000"]).ok();
    let ask = |address: &str| {
        let said = one.skep(&["exec", "client", "timeout", "10", "wget", "-q", "-O", "-", address]);
        (said.code == 0).then_some(said.stdout.trim().to_owned()).ok_or(said.to_string())
    };
    // The virtual address, and a node's address through the mesh.
    for address in ["http://web/host".to_owned(), format!("http://{}:8080/host", lab.node(2).address)] {
        let mut hosts = BTreeSet::new();
        wait_until(Duration::from_secs(30), &format!("both tasks behind {address}"), || {
            hosts.insert(ask(&address)?);
            (hosts.len() == 2).then_some(()).ok_or(format!("{hosts:?}"))
        });
    }
    let sandbox = format!("--net={}", one.run_root.join("netns/ingress_sbox").display());
    let rules = program::tool(&["nsenter", &sandbox, "nft", "list", "ruleset"]).unwrap();
    assert!(rules.contains("numgen inc mod 2"), "{rules}");
    let servers = program::tool(&["nsenter", &sandbox, "ipvsadm", "-S", "-n"]).unwrap();
    assert_eq!(servers, "", "nothing is left to IPVS");
    one.skep(&["rm", "-f", "client"]).ok();
}

/// Last, for the module does not come back.
#[test]
fn z_without_vxlan_an_overlay_is_refused_with_a_reason() {
    program::tool(&["modprobe", "-r", "vxlan"]).unwrap();
    let version = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    fs::remove_file(format!("/lib/modules/{}/kernel/drivers/net/vxlan/vxlan.ko", version.trim())).unwrap();
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    assert_eq!(node.skep(&["run", "--rm", "busybox", "echo", "fine"]).ok(), "fine");
    swarm::init(node);
    let said = node.skep(&["network", "create", "-d", "overlay", "app"]);
    if said.code != 0 {
        said.fails_saying(1, &["vxlan"]);
        return;
    }
    // Another node may have it: then the task on this one says why it cannot.
    node.skep(&["service", "create", "-d", "--name", "web", "--network", "app", "nginx"]).ok();
    wait_until(Duration::from_secs(30), "the reason", || {
        let tasks = swarm::tasks(node, "web");
        let told = tasks.iter().any(|task| task.error.to_lowercase().contains("vxlan"));
        told.then_some(()).ok_or(format!("{tasks:#?}"))
    });
}
