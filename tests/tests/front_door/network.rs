//! What crosses between nodes: overlays, virtual addresses, names, the routing mesh.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use skep_tests::images::tutorial::welcome;
use skep_tests::pty::Terminal;
use skep_tests::swarm::{self, container_of, lookup, wait_mesh, wait_running};
use skep_tests::{Lab, Node, wait_until};

fn inside(address: Ipv4Addr, prefix: &str) -> bool {
    address.to_string().starts_with(prefix)
}

/// The node that runs a task of `service`.
fn holder<'a>(lab: &'a Lab, service: &str) -> &'a Node {
    let task = wait_running(lab.node(1), service, 1).remove(0);
    lab.nodes.iter().find(|node| node.name == task.node).unwrap()
}

/// Waits until `name` has `count` addresses for `container` on `node`.
#[track_caller]
fn wait_names(node: &Node, container: &str, name: &str, count: usize) -> Vec<Ipv4Addr> {
    wait_until(Duration::from_secs(30), &format!("{count} addresses of {name}"), || {
        let found = lookup(node, container, name);
        if found.len() == count { Ok(found) } else { Err(format!("{found:?}")) }
    })
}

#[test]
fn overlays_names_and_virtual_addresses() {
    let lab = Lab::new(3).unwrap();
    let one = lab.node(1);
    swarm::form(&lab, 1);
    let id =
        one.skep(&["network", "create", "--driver", "overlay", "--attachable", "--subnet", "10.20.0.0/24", "app"]).ok();
    assert_eq!(id.len(), 25, "{id}");
    let listed = one.skep(&["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]).ok();
    for network in ["app overlay swarm", "ingress overlay swarm", "skep_gwbridge bridge local"] {
        assert!(listed.contains(network), "no {network} in:\n{listed}");
    }
    let create = |words: &[&str]| {
        let mut all = vec!["service", "create", "-d", "--network", "app", "--name"];
        all.extend_from_slice(words);
        one.skep(&all).ok()
    };
    create(&["web", "--replicas", "3", "--publish", "8080:80", "nginx:alpine"]);
    create(&["client", "--constraint", "node.hostname==node2", "busybox", "sleep", "100000"]);
    create(&["listed", "--replicas", "2", "--endpoint-mode", "dnsrr", "nginx"]);
    wait_running(one, "web", 3);
    wait_running(one, "listed", 2);
    let node = holder(&lab, "client");
    let client = container_of(node, "client");
    let sh = |script: &str| node.skep(&["exec", &client, "sh", "-c", script]);

    // Names: the service's one address, its tasks' addresses, none in the way of others.
    let virtual_address = wait_names(node, &client, "web", 1)[0];
    assert!(inside(virtual_address, "10.20.0."), "{virtual_address}");
    // A running task is known to the manager before every node has been told of it.
    let tasks = wait_names(node, &client, "tasks.web", 3);
    assert!(!tasks.contains(&virtual_address) && tasks.iter().all(|address| inside(*address, "10.20.0.")));
    // No virtual address in this mode.
    wait_names(node, &client, "listed", 2);
    let shown = one.skep(&["service", "inspect", "--format", "{{json .Endpoint.VirtualIPs}}", "web"]).ok();
    assert!(shown.contains(&format!("{virtual_address}/24")), "{shown}");
    sh("nslookup nobody-knows-this").fails(1);
    assert!(sh("cat /etc/resolv.conf").ok().contains("nameserver 127.0.0.11"));

    // Traffic, across nodes, by the address of each task and by the service's.
    for address in &tasks {
        wait_until(Duration::from_secs(20), &format!("an answer from {address}"), || {
            let page = sh(&format!("timeout 3 wget -q -O - http://{address}/"));
            page.stdout.contains(&welcome("alpine")).then_some(()).ok_or(page.to_string())
        });
    }
    let mut hosts = BTreeSet::new();
    wait_until(Duration::from_secs(30), "every task to be asked through the one address", || {
        let said = sh("timeout 3 wget -q -O - http://web/host");
        hosts.insert(said.stdout.trim().to_owned());
        hosts.remove("");
        (hosts.len() == 3).then_some(()).ok_or(format!("{hosts:?}\n{said}"))
    });
    let command = node.command(&["exec", "-it", &client, "ping", "-c", "2", "web"]);
    let mut terminal = Terminal::start(&command, 24, 80).unwrap();
    terminal.expect("2 packets transmitted, 2 packets received").unwrap();
    assert_eq!(terminal.finish().unwrap(), 0);
    let mtu = sh("cat /sys/class/net/eth0/mtu").ok();
    assert_eq!(mtu, "1450", "the underlay's less VXLAN's own");
    sh("ping -c 1 -W 2 -s 1400 web").ok();
    assert_eq!(
        sh(&format!("timeout 5 wget -q -O - http://{}/v2/", lab.registry.address)).ok(),
        "{}",
        "out, by the gateway bridge"
    );

    // Really VXLAN: seen on the wire between the nodes.
    let far = wait_running(one, "web", 3).into_iter().find(|task| task.node != "node2").unwrap();
    let far = lab.nodes.iter().find(|node| node.name == far.node).unwrap();
    let capture = lab.capture_vxlan(2).unwrap();
    for address in &tasks {
        sh(&format!("ping -c 1 -W 2 {address}")).ok();
    }
    let seen = capture.finish().unwrap();
    assert!(seen.contains("VXLAN") && seen.contains("vni "), "{seen}");
    assert!(
        seen.contains(&format!("{}.", node.address)) && seen.contains(&format!("> {}.4789", far.address)),
        "{seen}"
    );
    assert!(!seen.contains("ARP"), "neighbours are known, not asked for:\n{seen}");

    // A plain container may join, for the network is attachable.
    let answer = one.skep(&[
        "run",
        "--rm",
        "--network",
        "app",
        "busybox",
        "timeout",
        "5",
        "wget",
        "-q",
        "-O",
        "-",
        "http://web/",
    ]);
    assert!(answer.ok().contains(&welcome("alpine")));

    // Names follow the tasks.
    one.skep(&["service", "scale", "-d", "web=1"]).ok();
    wait_names(node, &client, "tasks.web", 1);
    for _ in 0..6 {
        assert!(sh("timeout 3 wget -q -O - http://web/").ok().contains(&welcome("alpine")));
    }
    one.skep(&["service", "rm", "web", "client", "listed"]).ok();
    wait_until(Duration::from_secs(40), "the network to be free", || {
        let removed = one.skep(&["network", "rm", "app"]);
        (removed.code == 0).then_some(()).ok_or(removed.to_string())
    });
}

#[test]
fn the_routing_mesh() {
    let lab = Lab::new(3).unwrap();
    let one = lab.node(1);
    swarm::form(&lab, 1);
    one.skep(&["service", "create", "-d", "--name", "web", "--replicas", "2", "-p", "8080:80", "nginx"]).ok();
    let tasks = wait_running(one, "web", 2);
    // Every node answers, also the one without a task, and asks all tasks in turn.
    wait_mesh(&lab, 8080, &welcome("latest"));
    for node in &lab.nodes {
        let mut hosts = BTreeSet::new();
        let what = format!("both tasks behind {} (tasks: {tasks:?})", node.name);
        wait_until(Duration::from_secs(30), &what, || {
            hosts.insert(swarm::fetch(lab.node(2), node, 8080, "/host")?);
            (hosts.len() == 2).then_some(()).ok_or(format!("{hosts:?}"))
        });
    }
    // From a machine outside the swarm.
    let there = lab.node(3).at(8080);
    let page = lab.switch.inside(move || skep_tests::http::get(there, "/")).unwrap();
    assert!(page.text().contains(&welcome("latest")));

    // Host mode: only where a task is.
    one.skep(&[
        "service",
        "create",
        "-d",
        "--name",
        "local",
        "--constraint",
        "node.hostname==node2",
        "--publish",
        "mode=host,target=80,published=8090",
        "nginx:alpine",
    ])
    .ok();
    wait_running(one, "local", 1);
    wait_until(Duration::from_secs(20), "the port of the host", || {
        let page = swarm::fetch(one, lab.node(2), 8090, "/")?;
        page.contains(&welcome("alpine")).then_some(()).ok_or(page)
    });
    assert!(swarm::fetch(one, lab.node(3), 8090, "/").is_err());

    // A second port, added later; a removed one is closed.
    one.skep(&["service", "update", "--publish-add", "published=8081,target=80", "web"]).ok();
    wait_mesh(&lab, 8081, &welcome("latest"));
    wait_mesh(&lab, 8080, &welcome("latest"));

    // What a user finds who looks inside with the ordinary tools.
    let sandbox = one.run_root.join("netns/ingress_sbox");
    let enter = format!("--net={}", sandbox.display());
    let look = |words: &[&str]| {
        let mut all = vec!["nsenter", &enter];
        all.extend_from_slice(words);
        skep_tests::program::tool(&all).unwrap()
    };
    assert!(look(&["ip", "-o", "-4", "address"]).contains("10.0.0."));
    let information = one.skep(&["info"]).ok();
    let rules = look(&["nft", "list", "ruleset"]);
    if information.to_lowercase().contains("ipvs") {
        let servers = look(&["ipvsadm", "-Ln"]);
        assert!(servers.contains("rr") && servers.contains("10.0.0."), "{servers}");
    } else {
        assert!(information.contains("nftables"), "{information}");
        assert!(rules.contains("numgen") && rules.contains("dnat"), "{rules}");
    }
    let bridge = one.skep(&["network", "inspect", "skep_gwbridge"]).ok();
    assert!(bridge.contains("ingress-sbox"), "{bridge}");
    assert_eq!(bridge, one.skep(&["network", "inspect", "docker_gwbridge"]).ok(), "its old name is understood");
    one.skep(&["service", "update", "--publish-rm", "80", "web"]).ok();
    wait_until(Duration::from_secs(20), "the port to be closed", || match swarm::fetch(one, lab.node(3), 8080, "/") {
        Err(_) => Ok(()),
        Ok(page) => Err(page),
    });
    one.skep(&["service", "rm", "web", "local"]).ok();
}

#[test]
fn services_outside_of_the_swarms_networks() {
    let lab = Lab::new(1).unwrap();
    let one = lab.node(1);
    swarm::form(&lab, 1);
    let create = |name: &str, network: &str| {
        let words = ["service", "create", "--detach=false", "--name", name, "--network", network];
        one.skep(&[&words[..], &["busybox", "sleep", "100000"]].concat()).ok()
    };
    // The machine's own network: nothing has to be made for it, and nothing is waited for.
    assert!(create("on-host", "host").contains("converged"));
    let addresses = one.skep(&["exec", &container_of(one, "on-host"), "ip", "-o", "address"]).ok();
    assert!(addresses.contains(&format!("{}/24", one.address)), "{addresses}");
    assert!(create("on-bridge", "bridge").contains("converged"));
    let container = container_of(one, "on-bridge");
    let addresses = one.skep(&["exec", &container, "ip", "-o", "address"]).ok();
    let bridge = one.skep(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "bridge"]).ok();
    let subnet = bridge.rsplit_once('.').unwrap().0;
    assert!(addresses.contains(&format!("inet {subnet}.")), "{addresses} has nothing of {bridge}");
    let registry = format!("http://{}/v2/", lab.registry.address);
    one.skep(&["exec", &container, "timeout", "5", "wget", "-q", "-O", "-", &registry]).ok();
    one.skep(&["service", "rm", "on-host", "on-bridge"]).ok();
}

#[test]
fn another_vxlan_port_and_another_mtu() {
    let lab = Lab::new(2).unwrap();
    let (one, two) = (lab.node(1), lab.node(2));
    one.skep(&["swarm", "init", "--advertise-addr", &one.address.to_string(), "--data-path-port", "7789"]).ok();
    swarm::join(one, two, "worker").ok();
    swarm::wait_status(one, "node2", "Ready");
    let option = "com.docker.network.driver.mtu=1300";
    one.skep(&["network", "create", "-d", "overlay", "--opt", option, "app"]).ok();
    let inspected = one.skep(&["network", "inspect", "--format", "{{json .Options}}", "app"]).ok();
    assert!(inspected.contains(r#""com.docker.network.driver.mtu":"1300""#), "{inspected}");
    for node in ["node1", "node2"] {
        let constraint = format!("node.hostname=={node}");
        let words = ["service", "create", "-d", "--name", node, "--network", "app", "--constraint", &constraint];
        one.skep(&[&words[..], &["busybox", "sleep", "100000"]].concat()).ok();
        wait_running(one, node, 1);
    }
    let client = container_of(one, "node1");
    let far = wait_names(one, &client, "tasks.node2", 1)[0].to_string();
    assert_eq!(one.skep(&["exec", &client, "cat", "/sys/class/net/eth0/mtu"]).ok(), "1300");
    let capture = lab.capture(2, &["udp", "and", "(port 7789 or port 4789)"]).unwrap();
    wait_until(Duration::from_secs(20), "the other node's task to answer", || {
        // As long as the link's MTU allows.
        let said = one.skep(&["exec", &client, "ping", "-c", "1", "-W", "2", "-s", "1272", &far]);
        (said.code == 0).then_some(()).ok_or(said.to_string())
    });
    let seen = capture.finish().unwrap();
    assert!(seen.contains("VXLAN") && seen.contains(&format!("> {}.7789", two.address)), "{seen}");
    assert!(!seen.contains(".4789"), "{seen}");
    // What is not done is not done silently in plain text.
    let refused = one.skep(&["network", "create", "-d", "overlay", "--opt", "encrypted", "secret"]);
    refused.fails_saying(1, &["encrypted"]);
    one.skep(&["service", "rm", "node1", "node2"]).ok();
}

#[test]
fn the_gateway_bridge_by_its_old_name() {
    let lab = Lab::new(1).unwrap();
    let one = lab.node(1);
    one.skep(&["network", "create", "--subnet", "10.77.0.0/24", "docker_gwbridge"]).ok();
    let named = |name: &str| one.skep(&["network", "ls", "--filter", name, "--format", "{{.Name}}"]).ok();
    assert_eq!(named("name=docker_gwbridge"), "skep_gwbridge");
    assert_eq!(named("name=gwbridge"), "skep_gwbridge");
    swarm::form(&lab, 1);
    one.skep(&["service", "create", "-d", "--name", "web", "-p", "8080:80", "nginx"]).ok();
    wait_mesh(&lab, 8080, &welcome("latest"));
    let address = one.namespace.tool(&["ip", "-o", "-4", "address", "show", "skep_gwbridge"]).unwrap();
    assert!(address.contains("10.77.0.1/24"), "{address}");
    one.skep(&["service", "rm", "web"]).ok();
}
