//! Containers on bridges: addresses, names, published ports.

use std::io::Read;
use std::net::TcpStream;

use skep_net::{NetworkSpec, PortMapping, PortProtocol};
use skep_runtime::config::{EndpointConfig, NetworkMode, RestartPolicy};
use skep_runtime::state::Status;
use skep_runtime::{LogStream, RemoveOptions, WaitCondition};

use crate::fixture::{Case, Node};

pub(crate) const ALL: &[Case] = &[
    ("a_published_port_answers", a_published_port_answers),
    ("a_shared_network_comes_with_its_names", a_shared_network_comes_with_its_names),
    ("a_namespace_of_another_is_not_joined_by_number", a_namespace_of_another_is_not_joined_by_number),
    ("containers_of_a_network_find_each_other", containers_of_a_network_find_each_other),
];

fn a_published_port_answers(node: &Node) {
    let mut config = node.config(&["nc", "-l", "-p", "80", "-e", "echo", "hello"]);
    config.network = NetworkMode::Endpoints;
    config.ports =
        vec![PortMapping { host_ip: None, host_port: Some(18080), container_port: 80, protocol: PortProtocol::Tcp }];
    let id = node.run(&config);
    let leg = node.runtime.details(&id).unwrap().sandbox.unwrap().endpoints.remove(0);
    assert_eq!(leg.network_name, "bridge");
    let address = leg.address.addr().to_string();
    assert!(address.starts_with("172."), "{address}");
    let hosts = String::from_utf8(node.exec(&id, &["cat", "/etc/hosts"]).stdout).unwrap();
    assert!(hosts.contains(&address), "{hosts}");
    let error = node.runtime.start(&node.create(&config)).unwrap_err().to_string();
    assert!(error.contains("port is already allocated"), "{error}");
    let mut text = String::new();
    let mut stream = loop {
        if let Ok(stream) = TcpStream::connect("127.0.0.1:18080") {
            break stream;
        }
        assert!(node.runtime.list(false).unwrap().len() == 1, "it has ended: {}", node.log(&id, LogStream::Stderr));
    };
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");
    node.runtime.wait(&id, WaitCondition::NotRunning).unwrap();
    // The port is free at once.
    node.runtime.start(&id).unwrap();
    node.runtime.remove(&id, &RemoveOptions { force: true, volumes: true }).unwrap();
}

fn a_shared_network_comes_with_its_names(node: &Node) {
    let mut config = node.config(&["sleep", "1000"]);
    config.network = NetworkMode::Endpoints;
    config.hostname = Some("hive".to_owned());
    config.extra_hosts = vec!["flower:10.9.8.7".to_owned()];
    let owner = node.run(&config);
    let mut config = node.config(&["sleep", "1000"]);
    config.network = NetworkMode::Container(owner.clone());
    let guest = node.run(&config);
    config.network = NetworkMode::Container(guest.clone());
    let guests_guest = node.run(&config);
    for id in [&guest, &guests_guest] {
        for question in ["hostname", "cat /etc/hosts /etc/resolv.conf /etc/hostname", "ip address"] {
            let answer = |id: &str| node.exec(id, &["sh", "-c", question]).stdout;
            assert_eq!(answer(id), answer(&owner), "{question}");
        }
    }
}

fn a_namespace_of_another_is_not_joined_by_number(node: &Node) {
    let owner = node.run(&node.config(&["sleep", "1000"]));
    let mut config = node.shell("[ -e /again ] && exec sleep 1000; touch /again; until [ -e /go ]; do sleep 0.1; done");
    config.restart = RestartPolicy::Always;
    config.ipc_mode = format!("container:{owner}");
    config.network = NetworkMode::Container(owner.clone());
    let id = node.run(&config);
    // The number in its launch.json is another process' by now: this one's.
    let path = node.runtime.roots().run_root.join("containers").join(&id).join("launch.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut launch: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(launch["container"]["namespaces"]["network"].to_string().contains("netns"), "{launch}");
    let init = node.state(&owner).init.unwrap().pid;
    let own = std::process::id();
    launch["joined"][0]["pid"] = own.into();
    let text = launch.to_string().replace(&format!("/proc/{init}/ns"), &format!("/proc/{own}/ns"));
    std::fs::write(&path, text).unwrap();
    node.exec(&id, &["touch", "/go"]);
    let state = node.until(&id, |state| state.status == Status::Exited);
    assert!(state.error.contains("cannot join a namespace of a non running container"), "{}", state.error);
}

fn containers_of_a_network_find_each_other(node: &Node) {
    let spec = NetworkSpec { name: "meadow".to_owned(), ..NetworkSpec::default() };
    node.runtime.net().networks().create(&spec).unwrap();
    let mut config = node.config(&["sleep", "1000"]);
    config.network = NetworkMode::Endpoints;
    let aliases = vec!["alias".to_owned()];
    config.endpoints = vec![EndpointConfig { network: "meadow".to_owned(), aliases, ..EndpointConfig::default() }];
    config.name = Some("flower".to_owned());
    let flower = node.run(&config);
    config.name = Some("bee".to_owned());
    config.endpoints[0].aliases.clear();
    let bee = node.run(&config);
    // The shim of the second one does not keep the first one's namespace.
    let shim = node.state(&bee).shim.unwrap().pid;
    let mounts = std::fs::read_to_string(format!("/proc/{shim}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().filter(|line| line.contains(" nsfs ") && line.contains("/netns/")).count(), 1);
    let resolv = String::from_utf8(node.exec(&bee, &["cat", "/etc/resolv.conf"]).stdout).unwrap();
    assert!(resolv.starts_with("nameserver 127.0.0.11\n"), "{resolv}");
    for name in ["flower", "alias"] {
        let output = node.exec(&bee, &["ping", "-c", "1", "-W", "5", name]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
    assert_ne!(node.exec(&bee, &["ping", "-c", "1", "-W", "1", "weed"]).status.code(), Some(0));
    for id in [flower, bee] {
        node.runtime.remove(&id, &RemoveOptions { force: true, volumes: true }).unwrap();
    }
    node.runtime.net().remove_network("meadow").unwrap();
}
