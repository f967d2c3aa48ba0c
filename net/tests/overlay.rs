//! Overlays, virtual addresses and the routing mesh between two machines, on a real kernel.
//!
//! The load balancer is the one the kernel has: nftables here, IPVS where ip_vs is loaded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Machine, Server, ask, ask_in, ask_patiently, id, inside, make_namespace, move_link, on_a_host, run};
use skep_net::{
    Backend, EndpointIntent, Error, Net, NetPaths, NetworkId, NetworkRef, NodeIntent, OverlayEndpoint, OverlayIntent,
    PortMapping, PortProtocol, PublishedPort, Sandbox, SandboxIntent, ServiceId, ServiceIntent, in_namespace,
};

const INGRESS: &str = "ingress00000000000000000a";
const APP: &str = "app0000000000000000000000b";

/// A node: a machine of its own on the common wire.
struct Node {
    path: PathBuf,
    net: Net,
    address: Ipv4Addr,
    index: usize,
}

impl Node {
    /// Runs something as a program on this node.
    fn run<T: Send>(&self, work: impl FnOnce(&Net) -> T + Send) -> T {
        in_namespace(&self.path, || work(&self.net)).unwrap()
    }

    fn tables(&self) -> String {
        inside(&self.path, "nft", &["list", "tables"])
    }
}

/// A wire with two nodes and, at 192.0.2.1, this thread's own namespace; what it stands on goes with the machine.
fn wire() -> (Machine, [Node; 2]) {
    let machine = Machine::new();
    run("ip", &["link", "add", "wire", "type", "bridge"]);
    run("ip", &["addr", "add", "192.0.2.1/24", "dev", "wire"]);
    run("ip", &["link", "set", "wire", "up"]);
    let nodes = [0, 1].map(|index| {
        let directory = machine.directory.path().join(format!("node{index}"));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("host");
        make_namespace(&path);
        let (near, far) = (format!("near{index}"), format!("far{index}"));
        run("ip", &["link", "add", &near, "mtu", "1400", "type", "veth", "peer", "name", &far, "mtu", "1400"]);
        run("ip", &["link", "set", &near, "master", "wire", "up"]);
        move_link(&far, &path);
        inside(&path, "ip", &["link", "set", "lo", "up"]);
        inside(&path, "ip", &["link", "set", &far, "name", "eth0"]);
        let address = Ipv4Addr::new(192, 0, 2, 11 + index as u8);
        inside(&path, "ip", &["addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        inside(&path, "ip", &["link", "set", "eth0", "up"]);
        let net = Net::open(NetPaths::new(directory.join("root"), directory.join("run"))).unwrap();
        Node { path, net, address, index }
    });
    (machine, nodes)
}

fn network(text: &str) -> NetworkId {
    NetworkId::new(text).unwrap()
}

/// A task of `web`: container number, node, last octets on the application's and the mesh's network.
#[derive(Clone, Copy)]
struct Task {
    number: u32,
    node: usize,
    app: u8,
    ingress: u8,
    serving: bool,
}

const TASKS: [Task; 2] = [
    Task { number: 1, node: 0, app: 4, ingress: 7, serving: true },
    Task { number: 2, node: 1, app: 5, ingress: 8, serving: true },
];

fn app(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, 0, last)
}

fn ingress(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

/// The cluster's view, as it would come to this node.
fn intent(nodes: &[Node; 2], node: &Node, tasks: &[Task]) -> NodeIntent {
    let mut intent = NodeIntent::new(format!("node{}", node.index), node.address);
    let overlay = |id: &str, name: &str, subnet: &str, vni, is_ingress, lb| OverlayIntent {
        id: network(id),
        name: name.to_owned(),
        subnet: subnet.parse().unwrap(),
        gateway: format!("{}.1", subnet.rsplit_once('.').unwrap().0).parse().unwrap(),
        vni,
        ingress: is_ingress,
        mtu: None,
        internal: false,
        encrypted: false,
        lb_address: Some(lb),
    };
    let own = node.index as u8;
    intent.networks = vec![
        overlay(INGRESS, "ingress", "10.0.0.0/24", 4096, true, ingress(2 + own)),
        overlay(APP, "app", "10.10.0.0/24", 4097, false, app(20 + own)),
    ];
    let endpoint = |id: &str, address, on: &Node| OverlayEndpoint {
        network: network(id),
        address,
        node_address: on.address,
        service: None,
        serving: true,
        names: Vec::new(),
    };
    for other in nodes {
        intent.endpoints.push(endpoint(INGRESS, ingress(2 + other.index as u8), other));
        intent.endpoints.push(endpoint(APP, app(20 + other.index as u8), other));
    }
    let web = ServiceId::new("web").unwrap();
    for task in tasks {
        let on = &nodes[task.node];
        for (id, address) in [(APP, app(task.app)), (INGRESS, ingress(task.ingress))] {
            intent.endpoints.push(OverlayEndpoint {
                service: Some(web.clone()),
                serving: task.serving,
                names: vec![format!("web.{}", task.number)],
                ..endpoint(id, address, on)
            });
        }
    }
    let mut client = endpoint(APP, app(10), &nodes[1]);
    client.names.push("cli".to_owned());
    intent.endpoints.push(client);
    let service = |id: &str, vip, ports| ServiceIntent {
        id: web.clone(),
        name: "web".to_owned(),
        aliases: Vec::new(),
        network: network(id),
        vip: Some(vip),
        ports,
    };
    let port = PublishedPort { published: 8080, target: 80, protocol: PortProtocol::Tcp };
    intent.services = vec![service(APP, app(2), vec![]), service(INGRESS, ingress(5), vec![port])];
    intent
}

fn apply(nodes: &[Node; 2], tasks: &[Task]) {
    for node in nodes {
        let wanted = intent(nodes, node, tasks);
        let report = node.run(|net| net.apply_node(&wanted)).unwrap();
        assert!(report.failures.is_empty(), "{report:?}");
    }
}

fn sandbox(number: u32, name: &str, legs: &[(&str, Ipv4Addr)]) -> SandboxIntent {
    let mut wanted = SandboxIntent::new(id(number), name);
    for (id, address) in legs {
        let mut leg = EndpointIntent::new(NetworkRef::Overlay(network(id)));
        leg.address = Some(*address);
        if *id == INGRESS {
            leg.published = vec![PublishedPort { published: 8080, target: 80, protocol: PortProtocol::Tcp }];
        }
        wanted.endpoints.push(leg);
    }
    wanted
}

fn connect(node: &Node, number: u32, legs: &[(&str, Ipv4Addr)]) -> Sandbox {
    let wanted = sandbox(number, &format!("c{number}"), legs);
    node.run(|net| net.connect(&wanted)).unwrap()
}

fn connect_task(nodes: &[Node; 2], task: Task) -> Sandbox {
    connect(&nodes[task.node], task.number, &[(INGRESS, ingress(task.ingress)), (APP, app(task.app))])
}

/// The wire, with both tasks running, and known everywhere.
fn running() -> (Machine, [Node; 2], [Sandbox; 2]) {
    let (machine, nodes) = wire();
    apply(&nodes, &TASKS);
    let tasks = TASKS.map(|task| connect_task(&nodes, task));
    apply(&nodes, &TASKS);
    (machine, nodes, tasks)
}

/// Both tasks answer at port 80, as `web1` and `web2`.
fn serve(tasks: &[Sandbox; 2]) -> [Server; 2] {
    [("web1", &tasks[0]), ("web2", &tasks[1])].map(|(name, task)| Server::start(&task.namespace, 80, name))
}

/// How often each server answered.
fn spread(count: usize, mut question: impl FnMut() -> String) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        let answer = question();
        *answers.entry(answer.split(' ').next().unwrap().to_owned()).or_insert(0) += 1;
    }
    answers
}

fn half_each(count: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([("web1".to_owned(), count / 2), ("web2".to_owned(), count / 2)])
}

#[test]
fn services_are_reached_by_virtual_address_and_through_the_mesh() {
    on_a_host(|| {
        let (_machine, nodes, tasks) = running();
        let client = connect(&nodes[1], 3, &[(APP, app(10))]);
        apply(&nodes, &TASKS);
        let names: Vec<(&str, u32)> = tasks[0].endpoints.iter().map(|leg| (leg.interface.as_str(), leg.mtu)).collect();
        // The wire's 1400 octets less the tunnel's 50.
        assert_eq!(names, [("eth0", 1350), ("eth1", 1350), ("eth2", 1500)]);
        assert!(tasks[0].endpoints[2].default_route);
        let _servers = serve(&tasks);
        count_tunnelled(&nodes[0]);

        // From container to container, over the tunnel.
        let direct = ask_patiently(Some(&client.namespace), app(4), 80);
        assert_eq!(direct, "web1 10.10.0.10");
        assert!(tunnelled(&nodes[0]) > 0);
        through_the_tunnel(&tasks[0].namespace, &client.namespace);
        // By the virtual address: from a client, and from the very tasks behind it.
        for asker in [&client, &tasks[0], &tasks[1]] {
            ask_patiently(Some(&asker.namespace), app(2), 80);
            let answers = spread(6, || ask_in(&asker.namespace, app(2), 80).unwrap());
            assert_eq!(answers, half_each(6), "{}", asker.id);
        }
        inside(&client.namespace, "busybox", &["ping", "-c", "1", "-W", "3", "10.10.0.2"]);
        // Through the mesh: from outside, and from the node itself.
        for node in &nodes {
            ask_patiently(None, node.address, 8080);
            assert_eq!(spread(6, || ask(node.address, 8080).unwrap()), half_each(6));
            let local = node.address;
            assert_eq!(spread(4, || ask_in(&node.path, local, 8080).unwrap()), half_each(4));
            assert_eq!(spread(4, || ask_in(&node.path, Ipv4Addr::LOCALHOST, 8080).unwrap()), half_each(4));
        }
        let from_container = spread(4, || ask_in(&client.namespace, nodes[0].address, 8080).unwrap());
        assert_eq!(from_container, half_each(4));
        // On the mesh's network nothing but the published port is there.
        let _closed = Server::start(&tasks[0].namespace, 81, "closed");
        let mesh = nodes[1].net.paths().namespace("ingress_sbox");
        assert!(ask_in(&mesh, ingress(7), 81).is_err());
        // Out into the world, as the node.
        let _far = Server::start_here(Ipv4Addr::new(192, 0, 2, 1), 9000, "far");
        assert_eq!(ask_in(&client.namespace, Ipv4Addr::new(192, 0, 2, 1), 9000).unwrap(), "far 192.0.2.12");
        // Containers meet on their overlays only, not on the gateway bridge.
        let neighbour = tasks[1].endpoints[2].address.addr();
        assert!(ask_in(&client.namespace, neighbour, 80).is_err());

        names_are_written(&nodes[0]);
        users_see_the_balancer(&nodes[0]);
        let view = nodes[0].net.inspect_network("docker_gwbridge").unwrap();
        let on_it: Vec<&str> = view.endpoints.iter().map(|endpoint| endpoint.sandbox.as_str()).collect();
        assert_eq!(on_it, [id(1).as_str(), "ingress-sbox"]);
        leave(&nodes);
    });
}

fn names_are_written(node: &Node) {
    let records = skep_net::dns::records::load(&node.net.paths().dns_records(&network(APP))).unwrap().unwrap();
    assert_eq!(records.get("web").unwrap().addresses, [app(2)]);
    assert_eq!(records.get("tasks.web").unwrap().addresses, [app(4), app(5)]);
    assert_eq!(records.get("WEB.1").unwrap().addresses, [app(4)]);
    assert_eq!(records.get("cli").unwrap().addresses, [app(10)]);
}

/// What the tutorial looks at with the ordinary tools.
fn users_see_the_balancer(node: &Node) {
    let mesh = node.net.paths().namespace("ingress_sbox");
    let rules = inside(&mesh, "nft", &["list", "table", "ip", "skep"]);
    match node.net.load_balancer() {
        Backend::Nftables => {
            assert!(rules.contains("dnat to numgen inc mod 2 map { 0 : 10.0.0.7, 1 : 10.0.0.8 }"), "{rules}");
            assert!(rules.contains(". 8080 : goto service-101"), "{rules}");
        }
        Backend::Ipvs => {
            assert!(inside(&mesh, "ipvsadm", &["-l", "--timeout"]).contains("432000"));
            let servers = inside(&mesh, "ipvsadm", &["-S", "-n"]);
            assert_eq!(servers, "-A -f 257 -s rr\n-a -f 257 -r 10.0.0.7:0 -m -w 1\n-a -f 257 -r 10.0.0.8:0 -m -w 1\n");
        }
    }
    let addresses = inside(&mesh, "ip", &["-br", "addr"]);
    assert!(addresses.contains("10.0.0.2/24 10.0.0.5/32"), "{addresses}");
    let tunnel = tunnel(node);
    for wanted in ["vxlan id 4097 local 192.0.2.11", "dstport 4789", "nolearning proxy l2miss l3miss", "mtu 1350"] {
        assert!(tunnel.contains(wanted), "{wanted}: {tunnel}");
    }
}

fn tunnel(node: &Node) -> String {
    inside(&node.net.paths().namespace("1-app0000000"), "ip", &["-d", "link", "show", "vxlan0"])
}

fn count_tunnelled(node: &Node) {
    let rules = "add table ip probe; add counter ip probe tunnelled; \
                 add chain ip probe in { type filter hook input priority -200; }; \
                 add rule ip probe in udp dport 4789 counter name tunnelled";
    inside(&node.path, "nft", &[rules]);
}

fn tunnelled(node: &Node) -> u64 {
    let text = inside(&node.path, "nft", &["list", "counter", "ip", "probe", "tunnelled"]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let position = words.iter().position(|word| *word == "packets").unwrap();
    words[position + 1].parse().unwrap()
}

/// More than a segment, so that offloads and the MTU show.
fn through_the_tunnel(server: &Path, client: &Path) {
    const LENGTH: usize = 2 << 20;
    let listener = in_namespace(server, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 7000)).unwrap()).unwrap();
    let sender = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&vec![7; LENGTH]).unwrap();
    });
    let mut stream = in_namespace(client, || TcpStream::connect((app(4), 7000)).unwrap()).unwrap();
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).unwrap();
    sender.join().unwrap();
    assert_eq!(octets.len(), LENGTH);
}

/// Leaves the swarm: nothing of it stays.
fn leave(nodes: &[Node; 2]) {
    inside(&nodes[0].path, "nft", &["delete table ip probe"]);
    for node in nodes {
        for sandbox in node.net.sandboxes().unwrap() {
            node.run(|net| net.disconnect(&sandbox.id)).unwrap();
        }
        node.run(Net::teardown_node).unwrap();
        node.run(Net::teardown_node).unwrap();
        assert_eq!(node.tables(), "");
        let links = inside(&node.path, "ip", &["-br", "link"]);
        assert_eq!(links.lines().count(), 2, "{links}");
        assert_eq!(std::fs::read_dir(node.net.paths().namespaces()).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(node.net.paths().run_root.join("dns")).unwrap().count(), 0);
    }
}

#[test]
fn applying_again_does_nothing_and_damage_is_repaired() {
    on_a_host(|| {
        let (_machine, nodes, tasks) = running();
        let node = &nodes[0];
        let wanted = intent(&nodes, node, &TASKS);
        let report = node.run(|net| net.apply_node(&wanted)).unwrap();
        assert_eq!(report.operations, 0);
        let _servers = serve(&tasks);
        ask_patiently(None, node.address, 8080);
        inside(&node.path, "nft", &["flush ruleset"]);
        inside(&node.path, "ip", &["link", "del", "skep_gwbridge"]);
        inside(&node.net.paths().namespace("ingress_sbox"), "nft", &["flush table ip skep"]);
        let overlay = node.net.paths().namespace("1-app0000000");
        inside(&overlay, "ip", &["link", "del", "vxlan0"]);
        inside(&tasks[0].namespace, "ip", &["link", "del", "eth0"]);
        assert!(node.run(|net| net.apply_node(&wanted)).unwrap().operations > 0);
        ask_patiently(None, node.address, 8080);
        assert_eq!(spread(4, || ask(node.address, 8080).unwrap()), half_each(4));
        ask_patiently(Some(&tasks[0].namespace), app(5), 80);
        let report = node.run(|net| net.apply_node(&wanted)).unwrap();
        assert_eq!(report.operations, 0);
        leave_quietly(&nodes);
    });
}

fn leave_quietly(nodes: &[Node; 2]) {
    for node in nodes {
        node.run(|net| net.gc(|_| false)).unwrap();
        node.run(Net::teardown_node).unwrap();
    }
}

#[test]
fn a_draining_task_keeps_its_connections_and_gets_no_new_ones() {
    on_a_host(|| {
        let (_machine, nodes, tasks) = running();
        let client = connect(&nodes[1], 3, &[(APP, app(10))]);
        apply(&nodes, &TASKS);
        let listeners = tasks.each_ref().map(|task| {
            in_namespace(&task.namespace, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 7000)).unwrap()).unwrap()
        });
        let _servers = serve(&tasks);
        ask_patiently(Some(&client.namespace), app(2), 80);
        // Two connections, one to each: the first server's stays open while it drains.
        let open = || in_namespace(&client.namespace, || TcpStream::connect((app(2), 7000)).unwrap()).unwrap();
        let mut streams = [open(), open()];
        let mut accepted = listeners.each_ref().map(|listener| listener.accept().unwrap().0);
        let mut draining = TASKS;
        draining[0].serving = false;
        apply(&nodes, &draining);
        assert_eq!(
            spread(6, || ask_in(&client.namespace, app(2), 80).unwrap()),
            BTreeMap::from([("web2".to_owned(), 6)])
        );
        assert_eq!(spread(6, || ask(nodes[0].address, 8080).unwrap()), BTreeMap::from([("web2".to_owned(), 6)]));
        for stream in &mut accepted {
            stream.write_all(b"still here").unwrap();
        }
        for stream in &mut streams {
            let mut octets = [0; 10];
            stream.read_exact(&mut octets).unwrap();
            assert_eq!(&octets, b"still here");
        }
        drop(streams);
        let mut stream = open();
        let mut octets = [0; 4];
        let mut held = listeners[1].accept().unwrap().0;
        held.write_all(b"open").unwrap();
        stream.read_exact(&mut octets).unwrap();
        // Gone altogether: not even its neighbour entries stay on the other node.
        nodes[0].run(|net| net.disconnect(&id(1))).unwrap();
        apply(&nodes, &TASKS[1..]);
        let overlay = nodes[1].net.paths().namespace("1-app0000000");
        assert!(!inside(&overlay, "ip", &["neigh"]).contains("10.10.0.4 "));
        assert!(!inside(&overlay, "bridge", &["fdb"]).contains("02:42:0a:0a:00:04"));
        assert_eq!(spread(4, || ask(nodes[0].address, 8080).unwrap()), BTreeMap::from([("web2".to_owned(), 4)]));
        // No task at all: refused, not left hanging; an open connection is ended, not left hanging.
        apply(&nodes, &[]);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let ended = stream.write_all(b"anybody?").and_then(|()| stream.read(&mut octets).map(|_| ()));
        assert_eq!(ended.map_err(|failure| failure.kind()), Err(std::io::ErrorKind::ConnectionReset));
        drop(held);
        leave_quietly(&nodes);
    });
}

#[test]
fn a_task_keeps_its_ports_while_its_service_is_updated() {
    on_a_host(|| {
        let (_machine, nodes, tasks) = running();
        let _servers = serve(&tasks);
        ask_patiently(None, nodes[0].address, 8080);
        for node in &nodes {
            let mut wanted = intent(&nodes, node, &TASKS);
            wanted.services[1].ports[0].target = 81;
            assert!(node.run(|net| net.apply_node(&wanted)).unwrap().failures.is_empty());
        }
        assert_eq!(spread(6, || ask(nodes[0].address, 8080).unwrap()), half_each(6));
        leave_quietly(&nodes);
    });
}

#[test]
fn a_sender_over_udp_reaches_a_port_that_the_mesh_publishes_meanwhile() {
    on_a_host(|| {
        let (_machine, nodes) = wire();
        let task = TASKS[0];
        apply(&nodes, &[task]);
        let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let target = (nodes[0].address, 9999);
        // Tracked as an attempt to reach the machine itself.
        client.send_to(b"anybody?", target).unwrap();
        let port = PublishedPort { published: 9999, target: 99, protocol: PortProtocol::Udp };
        let mut wanted = sandbox(task.number, "web", &[(INGRESS, ingress(task.ingress))]);
        wanted.endpoints[0].published = vec![port.clone()];
        let sandbox = nodes[0].run(|net| net.connect(&wanted)).unwrap();
        for node in &nodes {
            let mut wanted = intent(&nodes, node, &[task]);
            wanted.services[1].ports = vec![port.clone()];
            assert!(node.run(|net| net.apply_node(&wanted)).unwrap().failures.is_empty());
        }
        let server =
            in_namespace(&sandbox.namespace, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 99)).unwrap()).unwrap();
        server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut octets = [0; 16];
        let received = (0..50).find_map(|_| {
            client.send_to(b"hello", target).unwrap();
            server.recv_from(&mut octets).ok()
        });
        let (length, peer) = received.expect("what is sent arrives");
        assert_eq!(&octets[..length], b"hello");
        server.send_to(b"answer", peer).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // A refusal of the first attempt may come before.
        let answered = (0..3).find_map(|_| client.recv_from(&mut octets).ok());
        assert_eq!(
            answered.map(|(length, from)| (octets[..length].to_vec(), from.port())),
            Some((b"answer".to_vec(), 9999))
        );
        leave_quietly(&nodes);
    });
}

#[test]
fn host_mode_ports_lead_over_the_gateway_bridge() {
    on_a_host(|| {
        let (_machine, nodes) = wire();
        apply(&nodes, &[]);
        let mut wanted = sandbox(5, "hostp", &[(APP, app(30))]);
        wanted.ports.push(PortMapping {
            host_ip: None,
            host_port: Some(8090),
            container_port: 80,
            protocol: PortProtocol::Tcp,
        });
        let sandbox = nodes[0].run(|net| net.connect(&wanted)).unwrap();
        let _server = Server::start(&sandbox.namespace, 80, "hostp");
        assert_eq!(ask_patiently(None, nodes[0].address, 8090), "hostp 192.0.2.1");
        // The mesh's ports are taken for containers, too.
        let mut second = wanted.clone();
        second.id = id(6);
        second.endpoints[0].address = Some(app(31));
        second.ports[0].host_port = Some(8080);
        let failure = nodes[0].run(|net| net.connect(&second)).unwrap_err().to_string();
        assert_eq!(failure, "Bind for 0.0.0.0:8080 failed: port is already allocated (by service web)");
        // A port of a container that a service asks for later stays the container's, and that is told.
        let mut later = intent(&nodes, &nodes[0], &[]);
        later.services[1].ports[0].published = 8090;
        let report = nodes[0].run(|net| net.apply_node(&later)).unwrap();
        let taken: Vec<_> = report.displaced.iter().map(|port| (port.port, &*port.service, &*port.container)).collect();
        assert_eq!(taken, [(8090, "web", "hostp")]);
        assert_eq!(ask_patiently(None, nodes[0].address, 8090), "hostp 192.0.2.1");
        leave_quietly(&nodes);
    });
}

#[test]
fn what_cannot_be_made_is_refused_with_a_reason() {
    on_a_host(|| {
        let (_machine, nodes) = wire();
        let node = &nodes[0];
        let mut encrypted = intent(&nodes, node, &[]);
        encrypted.networks[1].encrypted = true;
        let report = node.run(|net| net.apply_node(&encrypted)).unwrap();
        let [failure] = &report.failures[..] else { panic!("{report:?}") };
        assert_eq!(failure.network.as_ref(), Some(&network(APP)));
        assert!(matches!(failure.error, Error::EncryptionUnsupported { .. }));
        node.run(Net::teardown_node).unwrap();
        let wanted = sandbox(1, "early", &[(APP, app(30))]);
        assert!(matches!(node.run(|net| net.connect(&wanted)), Err(Error::OverlayNotHere { .. })));
        // Another program on the tunnel's port.
        let squatter = in_namespace(&node.path, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4789)).unwrap()).unwrap();
        let taken = intent(&nodes, node, &[]);
        let report = node.run(|net| net.apply_node(&taken)).unwrap();
        assert_eq!(report.failures.len(), 2, "{report:?}");
        for failure in &report.failures {
            assert!(matches!(failure.error, Error::VxlanPortTaken { port: 4789, .. }), "{failure:?}");
        }
        // Another port is free; and afterwards the first one is, too.
        let elsewhere = NodeIntent { data_path_port: 4790, ..taken.clone() };
        assert!(node.run(|net| net.apply_node(&elsewhere)).unwrap().failures.is_empty());
        assert!(tunnel(node).contains("dstport 4790"), "{}", tunnel(node));
        drop(squatter);
        assert!(node.run(|net| net.apply_node(&taken)).unwrap().failures.is_empty());
        assert!(tunnel(node).contains("dstport 4789"), "{}", tunnel(node));
        node.run(Net::teardown_node).unwrap();
        assert_eq!(node.tables(), "");
    });
}

#[test]
fn a_network_that_cannot_be_made_does_not_stop_the_others() {
    on_a_host(|| {
        let (_machine, nodes) = wire();
        // Another program's tunnel on each node has the identifier that the managers chose for `app`.
        for node in &nodes {
            inside(&node.path, "ip", &["link", "add", "foreign", "type", "vxlan", "id", "4097", "dstport", "4789"]);
        }
        let failed = |node: &Node, tasks: &[Task]| {
            let wanted = intent(&nodes, node, tasks);
            let report = node.run(|net| net.apply_node(&wanted)).unwrap();
            report.failures.into_iter().map(|failure| failure.network.unwrap().to_string()).collect::<Vec<_>>()
        };
        for node in &nodes {
            assert_eq!(failed(node, &TASKS), [APP]);
        }
        let [_first, _second] = TASKS.map(|task| {
            let sandbox = connect(&nodes[task.node], task.number, &[(INGRESS, ingress(task.ingress))]);
            Server::start(&sandbox.namespace, 80, &format!("web{}", task.number))
        });
        assert_eq!(spread(20, || ask_patiently(None, nodes[0].address, 8080)), half_each(20));
        // Drains and removals get through, too.
        let draining = [TASKS[0], Task { serving: false, ..TASKS[1] }];
        let remaining = BTreeMap::from([("web1".to_owned(), 10)]);
        for tasks in [&draining[..], &TASKS[..1]] {
            assert_eq!(failed(&nodes[0], tasks), [APP]);
            assert_eq!(spread(10, || ask_patiently(None, nodes[0].address, 8080)), remaining);
        }
        // Nothing is left to be done by hand once the other program is gone.
        for node in &nodes {
            inside(&node.path, "ip", &["link", "del", "foreign"]);
            assert!(failed(node, &TASKS).is_empty());
        }
        let client = connect(&nodes[1], 3, &[(APP, app(10))]);
        assert_eq!(client.endpoints[0].address.addr(), app(10));
        leave_quietly(&nodes);
    });
}
