//! Callers that are killed, and callers that come all at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Machine, Server, ask_patiently, id, on_a_host, run};
use skep_net::{EndpointIntent, NetworkRef, SandboxIntent};

fn container(machine: &Machine, number: u32) -> SandboxIntent {
    let network = machine.net.networks().get("bridge").unwrap();
    let mut intent = SandboxIntent::new(id(number), format!("c{number}"));
    intent.endpoints.push(EndpointIntent::new(NetworkRef::Local(network.id)));
    intent
}

/// The example `connect`, which `cargo test` builds beside the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().unwrap().parent().unwrap().join("examples/connect");
    assert!(example.exists(), "build it first: cargo build -p skep-net --example connect");
    example
}

#[test]
fn a_caller_killed_anywhere_leaves_what_the_next_call_heals() {
    on_a_host(|| {
        let machine = Machine::new();
        let paths = machine.net.paths();
        for round in 0..24_u64 {
            let mut caller = Command::new(example())
                .args([&paths.root, &paths.run_root])
                .args([id(1).as_str(), "1000"])
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // Primes, so that the kills fall on different steps of the caller's loop.
            std::thread::sleep(Duration::from_millis(5 + round * 7 % 61));
            caller.kill().unwrap();
            assert!(caller.wait().unwrap().code().is_none(), "the caller ended before it was killed");
            let sandbox = machine.net.connect(&container(&machine, 1)).unwrap();
            if round % 8 == 0 {
                let server = Server::start(&sandbox.namespace, 80, "healed");
                assert!(ask_patiently(None, sandbox.endpoints[0].address.addr(), 80).starts_with("healed "));
                drop(server);
            }
            if round % 2 == 0 {
                machine.net.disconnect(&id(1)).unwrap();
                assert_eq!(machine.namespaces(), Vec::<String>::new());
                assert!(!run("ip", &["-br", "link"]).contains("skv"));
                assert_eq!(run("nft", &["list", "tables"]), "");
            }
        }
        machine.net.gc(|_| false).unwrap();
        assert_eq!(std::fs::read_dir(paths.run_root.join("net/sandboxes")).unwrap().count(), 0);
    });
}

#[test]
fn callers_inside_an_event_loop_are_served() {
    on_a_host(|| {
        let machine = Machine::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let sandbox = machine.net.connect(&container(&machine, 1)).unwrap();
            assert_eq!(sandbox.endpoints[0].address.to_string(), "172.17.0.2/16");
            machine.net.disconnect(&id(1)).unwrap();
        });
        assert_eq!(machine.namespaces(), Vec::<String>::new());
    });
}

#[test]
fn callers_at_once_get_addresses_of_their_own() {
    on_a_host(|| {
        let machine = Machine::new();
        let addresses: Vec<_> = std::thread::scope(|scope| {
            let callers: Vec<_> = (1..=16)
                .map(|number| {
                    let machine = &machine;
                    scope.spawn(move || machine.net.connect(&container(machine, number)).unwrap().endpoints[0].address)
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 16);
        assert_eq!(machine.namespaces().len(), 16);
        std::thread::scope(|scope| {
            for number in 1..=16 {
                let net = &machine.net;
                scope.spawn(move || net.disconnect(&id(number)).unwrap());
            }
        });
        assert_eq!(machine.namespaces(), Vec::<String>::new());
        assert_eq!(run("nft", &["list", "tables"]), "");
    });
}
