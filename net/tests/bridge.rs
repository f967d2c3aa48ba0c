//! Bridge networks on a real kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, clippy::disallowed_methods)]

mod common;

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::time::Duration;

use common::{Machine, Outside, Server, ask, ask_in, ask_patiently, id, inside, on_a_host, run};
use skep_net::{
    DnsPorts, EndpointIntent, Error, NetworkId, NetworkRef, NetworkSpec, PortMapping, PortProtocol, SandboxIntent,
    in_namespace,
};

fn container(machine: &Machine, number: u32, network: &str) -> SandboxIntent {
    let network = machine.net.networks().get(network).unwrap();
    let mut intent = SandboxIntent::new(id(number), format!("c{number}"));
    intent.endpoints.push(EndpointIntent::new(NetworkRef::Local(network.id)));
    intent
}

fn published(host_ip: Option<Ipv4Addr>, host_port: Option<u16>, container_port: u16) -> PortMapping {
    PortMapping { host_ip, host_port, container_port, protocol: PortProtocol::Tcp }
}

#[test]
fn a_container_gets_dockers_addresses_and_is_reached_from_everywhere() {
    for filters_bridged in ["1", "0"] {
        reached_from_everywhere(filters_bridged);
    }
}

fn reached_from_everywhere(filters_bridged: &'static str) {
    on_a_host(move || {
        common::filter_bridged(filters_bridged);
        let machine = Machine::new();
        let outside = Outside::new(&machine, "192.0.2.1/24", "192.0.2.9/24");
        let mut web = container(&machine, 1, "bridge");
        web.ports.push(published(None, Some(8080), 80));
        let web = machine.net.connect(&web).unwrap();
        let leg = &web.endpoints[0];
        assert_eq!((leg.interface.as_str(), leg.address.to_string()), ("eth0", "172.17.0.2/16".to_owned()));
        assert_eq!(leg.mac.to_string(), "02:42:ac:11:00:02");
        assert!(leg.default_route && leg.gateway == Some(Ipv4Addr::new(172, 17, 0, 1)));
        let _server = Server::start(&web.namespace, 80, "web");
        let other = machine.net.connect(&container(&machine, 2, "bridge")).unwrap();
        let address = leg.address.addr();

        assert_eq!(ask_patiently(None, address, 80), "web 172.17.0.1");
        assert!(ask_patiently(Some(&other.namespace), address, 80).starts_with("web 172.17.0.3"));
        // Published: from this machine by its addresses and by 127.0.0.1, from outside, from a
        // neighbour and from the container itself.
        let here = Ipv4Addr::new(192, 0, 2, 1);
        assert!(ask(here, 8080).unwrap().starts_with("web "));
        assert!(ask(Ipv4Addr::LOCALHOST, 8080).unwrap().starts_with("web "));
        assert_eq!(ask_in(&outside.path, here, 8080).unwrap(), "web 192.0.2.9");
        assert!(ask_in(&other.namespace, here, 8080).unwrap().starts_with("web "));
        assert!(ask_in(&web.namespace, here, 8080).unwrap().starts_with("web "));
        // Out into the world as this machine.
        let far = Server::start(&outside.path, 9000, "far");
        assert_eq!(ask_in(&web.namespace, Ipv4Addr::new(192, 0, 2, 9), 9000).unwrap(), "far 192.0.2.1");
        drop(far);
        // What is not published is not reached past the translation.
        inside(&outside.path, "ip", &["route", "add", "172.17.0.0/16", "via", "192.0.2.1"]);
        assert!(ask_in(&outside.path, address, 80).is_err());
        machine.net.disconnect(&id(1)).unwrap();
        assert!(ask(here, 8080).is_err());
        machine.net.disconnect(&id(2)).unwrap();
        machine.net.disconnect(&id(2)).unwrap();
        assert_eq!(machine.namespaces(), Vec::<String>::new());
        assert_eq!(run("nft", &["list", "tables"]), "");
        assert!(!run("ip", &["-br", "link"]).contains("skv"));
    });
}

#[test]
fn a_port_published_on_loopback_is_this_machines_alone() {
    on_a_host(|| {
        let machine = Machine::new();
        let outside = Outside::new(&machine, "192.0.2.1/24", "192.0.2.9/24");
        let mut web = container(&machine, 1, "bridge");
        web.ports.push(published(Some(Ipv4Addr::LOCALHOST), Some(8080), 80));
        let web = machine.net.connect(&web).unwrap();
        let _server = Server::start(&web.namespace, 80, "web");
        assert!(ask_patiently(None, Ipv4Addr::LOCALHOST, 8080).starts_with("web "));
        assert!(ask(Ipv4Addr::new(192, 0, 2, 1), 8080).is_err());
        assert!(ask_in(&outside.path, Ipv4Addr::new(192, 0, 2, 1), 8080).is_err());
        // A neighbour on the wire that routes 127.0.0.1 to us.
        std::thread::sleep(std::time::Duration::from_millis(10));
        inside(&outside.path, "ip", &["link", "set", "lo", "down"]);
        inside(&outside.path, "sysctl", &["-qw", "net.ipv4.conf.all.route_localnet=1"]);
        inside(&outside.path, "ip", &["route", "add", "127.0.0.1/32", "via", "192.0.2.1", "src", "192.0.2.9"]);
        assert!(ask_in(&outside.path, Ipv4Addr::LOCALHOST, 8080).is_err());
    });
}

#[test]
fn ports_are_given_to_one_only() {
    on_a_host(|| {
        let machine = Machine::new();
        let with_port = |number, host_ip, host_port| {
            let mut intent = container(&machine, number, "bridge");
            intent.ports.push(published(host_ip, host_port, 80));
            intent
        };
        let first = machine.net.connect(&with_port(1, None, Some(8080))).unwrap();
        assert_eq!(first.ports[0].host_port, 8080);
        let failure = machine.net.connect(&with_port(2, None, Some(8080))).unwrap_err().to_string();
        assert_eq!(failure, "Bind for 0.0.0.0:8080 failed: port is already allocated (by container c1)");
        assert!(machine.net.sandbox(&id(2)).unwrap().is_none());
        assert_eq!(machine.namespaces().len(), 1);
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8081)).unwrap();
        let failure = machine.net.connect(&with_port(3, None, Some(8081))).unwrap_err();
        assert!(failure.to_string().contains("address already in use"), "{failure}");
        drop(listener);
        machine.net.connect(&with_port(3, None, Some(8081))).unwrap();
        let chosen = machine.net.connect(&with_port(4, None, None)).unwrap().ports[0].host_port;
        assert!((32768..=60999).contains(&chosen));
        let again = machine.net.connect(&with_port(4, None, None)).unwrap().ports[0].host_port;
        assert_eq!(chosen, again);
        let missing = with_port(5, Some(Ipv4Addr::new(203, 0, 113, 1)), Some(80));
        assert!(matches!(machine.net.connect(&missing), Err(Error::HostAddressMissing { .. })));
    });
}

#[test]
fn networks_are_apart_and_names_are_kept() {
    on_a_host(|| {
        let machine = Machine::new();
        let spec = |name: &str| NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() };
        let one = machine.net.networks().create(&spec("one")).unwrap();
        machine.net.networks().create(&spec("two")).unwrap();
        let taken = machine.net.networks().create(&spec("one"));
        assert_eq!(taken.unwrap_err().to_string(), "network with name one already exists");
        let overlapping = NetworkSpec { subnet: one.subnet, ..spec("three") };
        assert!(matches!(machine.net.networks().create(&overlapping), Err(Error::SubnetOverlaps { .. })));
        let mut first = container(&machine, 1, "one");
        first.endpoints[0].aliases.push("DB".to_owned());
        let first = machine.net.connect(&first).unwrap();
        let second = machine.net.connect(&container(&machine, 2, "two")).unwrap();
        let third = machine.net.connect(&container(&machine, 3, "one")).unwrap();
        let _server = Server::start(&first.namespace, 80, "first");
        let address = first.endpoints[0].address.addr();
        assert!(ask_patiently(Some(&third.namespace), address, 80).starts_with("first "));
        assert!(ask_in(&second.namespace, address, 80).is_err());
        let names = skep_net::dns::records::load(&machine.net.paths().dns_records(&one.id)).unwrap().unwrap();
        assert_eq!(names.get("c1").unwrap().addresses, [address]);
        assert_eq!(names.get("db").unwrap().addresses, [address]);
        let failure = machine.net.remove_network("one").unwrap_err().to_string();
        assert!(failure.contains("c1, c3"), "{failure}");
        // Joining a second network and leaving the first, while running.
        let mut moved = container(&machine, 3, "two");
        moved.endpoints.push(EndpointIntent::new(NetworkRef::Local(one.id.clone())));
        let moved = machine.net.connect(&moved).unwrap();
        assert_eq!(moved.endpoints.iter().map(|leg| leg.interface.as_str()).collect::<Vec<_>>(), ["eth1", "eth0"]);
        machine.net.connect(&container(&machine, 3, "two")).unwrap();
        let links = inside(&third.namespace, "ip", &["-br", "link"]);
        assert!(links.contains("eth1") && !links.contains("eth0"), "{links}");
        machine.net.disconnect(&id(1)).unwrap();
        machine.net.remove_network("one").unwrap();
        assert!(!run("ip", &["-br", "link"]).contains(&one.bridge.unwrap()));
        assert!(matches!(machine.net.remove_network("bridge"), Err(Error::NetworkPredefined { .. })));
    });
}

#[test]
fn an_internal_network_has_no_way_out() {
    on_a_host(|| {
        let machine = Machine::new();
        let outside = Outside::new(&machine, "192.0.2.1/24", "192.0.2.9/24");
        let spec = NetworkSpec { name: "inner".to_owned(), internal: true, ..NetworkSpec::default() };
        machine.net.networks().create(&spec).unwrap();
        let one = machine.net.connect(&container(&machine, 1, "inner")).unwrap();
        let two = machine.net.connect(&container(&machine, 2, "inner")).unwrap();
        let _far = Server::start(&outside.path, 9000, "far");
        let _one = Server::start(&one.namespace, 80, "one");
        assert!(ask_patiently(Some(&two.namespace), one.endpoints[0].address.addr(), 80).starts_with("one "));
        assert!(ask_in(&one.namespace, Ipv4Addr::new(192, 0, 2, 9), 9000).is_err());
        inside(
            &one.namespace,
            "ip",
            &["route", "add", "default", "via", &one.endpoints[0].gateway.unwrap().to_string()],
        );
        inside(
            &outside.path,
            "ip",
            &["route", "add", &one.endpoints[0].address.trunc().to_string(), "via", "192.0.2.1"],
        );
        assert!(ask_in(&one.namespace, Ipv4Addr::new(192, 0, 2, 9), 9000).is_err());
    });
}

#[test]
fn a_killed_connect_is_healed_and_gc_takes_the_dead() {
    on_a_host(|| {
        let machine = Machine::new();
        let intent = container(&machine, 1, "bridge");
        // A file where the namespace was to be mounted is what a kill leaves.
        std::fs::write(machine.net.paths().namespace("000000000001"), b"").unwrap();
        let sandbox = machine.net.connect(&intent).unwrap();
        inside(&sandbox.namespace, "ip", &["link", "del", "eth0"]);
        machine.net.connect(&intent).unwrap();
        assert!(inside(&sandbox.namespace, "ip", &["-br", "addr"]).contains("172.17.0.2/16"));
        inside(&sandbox.namespace, "ip", &["addr", "flush", "dev", "eth0"]);
        run("nft", &["flush", "ruleset"]);
        machine.net.connect(&intent).unwrap();
        assert!(inside(&sandbox.namespace, "ip", &["-br", "addr"]).contains("172.17.0.2/16"));
        assert!(inside(&sandbox.namespace, "ip", &["route"]).contains("default via 172.17.0.1"));
        assert!(run("nft", &["list", "ruleset"]).contains("masquerade"));
        machine.net.connect(&container(&machine, 2, "bridge")).unwrap();
        let gone = machine.net.gc(|id| *id == common::id(2)).unwrap();
        assert_eq!(gone, [id(1)]);
        assert_eq!(machine.namespaces(), ["000000000002"]);
        let third = machine.net.connect(&container(&machine, 3, "bridge")).unwrap();
        assert_eq!(third.endpoints[0].address.addr(), Ipv4Addr::new(172, 17, 0, 2));
    });
}

#[test]
fn a_failed_connect_leaves_nothing() {
    on_a_host(|| {
        let machine = Machine::new();
        let mut intent = container(&machine, 1, "bridge");
        intent.sysctls.insert("net.ipv4.no_such_setting".to_owned(), "1".to_owned());
        assert!(matches!(machine.net.connect(&intent), Err(Error::Sysctl { .. })));
        assert_eq!(machine.namespaces(), Vec::<String>::new());
        assert!(machine.net.sandboxes().unwrap().is_empty());
        assert!(!run("ip", &["-br", "link"]).contains("skv"));
        let alone = machine.net.connect(&SandboxIntent::new(id(2), "none")).unwrap();
        assert_eq!(inside(&alone.namespace, "ip", &["-br", "link"]).lines().count(), 1);
        assert!(inside(&alone.namespace, "ip", &["-br", "addr"]).contains("127.0.0.1/8"));
        machine.net.disconnect(&id(2)).unwrap();
        let unknown = NetworkRef::Local(NetworkId::new("f".repeat(64)).unwrap());
        intent.endpoints[0] = EndpointIntent::new(unknown);
        assert!(matches!(machine.net.connect(&intent), Err(Error::NetworkNotFound { .. })));
    });
}

#[test]
fn dns_is_led_to_the_resolvers_ports() {
    on_a_host(|| {
        let machine = Machine::new();
        let sandbox = machine.net.connect(&container(&machine, 1, "bridge")).unwrap();
        let resolver = Ipv4Addr::new(127, 0, 0, 11);
        let (udp, tcp) = in_namespace(&sandbox.namespace, || {
            (std::net::UdpSocket::bind((resolver, 0)).unwrap(), TcpListener::bind((resolver, 0)).unwrap())
        })
        .unwrap();
        let ports = DnsPorts { udp: udp.local_addr().unwrap().port(), tcp: tcp.local_addr().unwrap().port() };
        machine.net.redirect_dns(&id(1), ports).unwrap();
        assert_eq!(machine.net.sandbox(&id(1)).unwrap().unwrap().dns, Some(ports));
        in_namespace(&sandbox.namespace, || {
            let client = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            client.connect((resolver, 53)).unwrap();
            client.send(b"question").unwrap();
            let mut octets = [0; 16];
            let (length, peer) = udp.recv_from(&mut octets).unwrap();
            assert_eq!(&octets[..length], b"question");
            udp.send_to(b"answer", peer).unwrap();
            assert_eq!(client.recv(&mut octets).unwrap(), 6);
            std::net::TcpStream::connect((resolver, 53)).unwrap();
            tcp.accept().unwrap();
        })
        .unwrap();
        // Connecting again, without saying where, keeps it.
        machine.net.connect(&container(&machine, 1, "bridge")).unwrap();
        assert_eq!(machine.net.sandbox(&id(1)).unwrap().unwrap().dns, Some(ports));
    });
}

#[test]
fn a_sender_over_udp_reaches_a_port_published_meanwhile() {
    on_a_host(|| {
        let machine = Machine::new();
        let outside = Outside::new(&machine, "192.0.2.1/24", "192.0.2.9/24");
        machine.net.connect(&container(&machine, 1, "bridge")).unwrap();
        let client = in_namespace(&outside.path, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.send_to(b"early", (Ipv4Addr::new(192, 0, 2, 1), 9999)).unwrap();
        let mut intent = container(&machine, 2, "bridge");
        let port = PortMapping { protocol: PortProtocol::Udp, ..published(None, Some(9999), 99) };
        intent.ports.push(port);
        let sandbox = machine.net.connect(&intent).unwrap();
        let server =
            in_namespace(&sandbox.namespace, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 99)).unwrap()).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.send_to(b"late", (Ipv4Addr::new(192, 0, 2, 1), 9999)).unwrap();
        let mut octets = [0; 8];
        let (length, peer) = server.recv_from(&mut octets).unwrap();
        assert_eq!((&octets[..length], peer.ip()), (&b"late"[..], Ipv4Addr::new(192, 0, 2, 9).into()));
        server.send_to(b"answer", peer).unwrap();
        assert_eq!(client.recv(&mut octets).unwrap(), 6);
    });
}

#[test]
fn a_subnet_that_the_host_uses_is_left_alone() {
    on_a_host(|| {
        let machine = Machine::new();
        let _outside = Outside::new(&machine, "172.17.5.1/24", "172.17.5.9/24");
        let first = machine.net.connect(&container(&machine, 1, "bridge")).unwrap();
        assert_eq!(first.endpoints[0].address.to_string(), "172.18.0.2/16");
    });
}

#[test]
fn a_forward_policy_of_drop_is_let_through() {
    on_a_host(|| {
        let machine = Machine::new();
        let outside = Outside::new(&machine, "192.0.2.1/24", "192.0.2.9/24");
        run(
            "nft",
            &["add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"],
        );
        let mut web = container(&machine, 1, "bridge");
        web.ports.push(published(None, Some(8080), 80));
        let web = machine.net.connect(&web).unwrap();
        let _server = Server::start(&web.namespace, 80, "web");
        ask_patiently(None, web.endpoints[0].address.addr(), 80);
        assert_eq!(ask_in(&outside.path, Ipv4Addr::new(192, 0, 2, 1), 8080).unwrap(), "web 192.0.2.9");
        assert!(machine.net.diagnose().unwrap().iter().any(|finding| finding.problem.contains("policy DROP")));
        assert_eq!(run("nft", &["list", "chain", "ip", "filter", "FORWARD"]).matches("skep:").count(), 2);
        machine.net.disconnect(&id(1)).unwrap();
        assert_eq!(run("nft", &["list", "chain", "ip", "filter", "FORWARD"]).matches("skep:").count(), 0);
    });
}

#[test]
fn the_gateway_bridge_may_be_made_beforehand_under_either_name() {
    on_a_host(|| {
        for name in ["docker_gwbridge", "skep_gwbridge"] {
            let machine = Machine::new();
            let networks = machine.net.networks();
            let subnet = Some("10.77.0.0/24".parse().unwrap());
            let made =
                networks.create(&NetworkSpec { name: name.to_owned(), subnet, ..NetworkSpec::default() }).unwrap();
            assert_eq!((made.name.as_str(), made.bridge.as_deref()), ("skep_gwbridge", Some("skep_gwbridge")));
            assert_eq!(made.subnet, subnet);
            assert!(!made.icc, "containers of different overlays do not meet there");
            for known in ["docker_gwbridge", "skep_gwbridge"] {
                assert_eq!(networks.get(known).unwrap(), made);
                let again = NetworkSpec { name: known.to_owned(), ..NetworkSpec::default() };
                assert!(matches!(networks.create(&again), Err(Error::NetworkNameTaken { .. })));
            }
        }
    });
}

#[test]
fn chains_that_keep_back_what_is_forwarded_are_told_of() {
    on_a_host(|| {
        let machine = Machine::new();
        let outside = Outside::new(&machine, "192.0.2.1/24", "192.0.2.9/24");
        let mut web = container(&machine, 1, "bridge");
        web.ports.push(published(None, Some(8080), 80));
        let web = machine.net.connect(&web).unwrap();
        let _server = Server::start(&web.namespace, 80, "web");
        ask_patiently(None, web.endpoints[0].address.addr(), 80);
        let problems = || -> Vec<String> {
            let found = machine.net.diagnose().unwrap().into_iter().map(|finding| finding.problem);
            found.filter(|problem| problem.contains("forward") || problem.contains("FORWARD")).collect()
        };
        assert_eq!(problems(), Vec::<String>::new(), "our own chain is no obstacle");
        let chain = |table: &str, policy: &str| {
            let hook = format!("{{ type filter hook forward priority 0; policy {policy}; }}");
            run("nft", &[&format!("add table {table}; add chain {table} guard {hook}")]);
        };
        chain("inet strict", "drop");
        assert_eq!(problems().len(), 1, "{:?}", problems());
        assert!(problems()[0].contains("chain guard of table inet strict drops, by its policy"), "{:?}", problems());
        assert!(ask_in(&outside.path, Ipv4Addr::new(192, 0, 2, 1), 8080).is_err(), "which is why it is told");
        run("nft", &["delete table inet strict"]);
        chain("inet polite", "accept");
        run("nft", &["add rule inet polite guard tcp dport 22 reject"]);
        assert_eq!(problems(), Vec::<String>::new(), "one port is not everything");
        run("nft", &["add rule inet polite guard counter reject with icmpx type admin-prohibited"]);
        assert!(problems()[0].contains("chain guard of table inet polite drops, by its last rule"), "{:?}", problems());
        run("nft", &["delete table inet polite"]);

        // The one that iptables services end in a REJECT: the bridges are let through as with a policy of DROP.
        let hook = "{ type filter hook forward priority 0; policy accept; }";
        run("nft", &[&format!("add table ip filter; add chain ip filter FORWARD {hook}")]);
        run("nft", &["add rule ip filter FORWARD counter reject with icmp type host-prohibited"]);
        assert!(problems()[0].contains("ends with a rule that lets nothing through"), "{:?}", problems());
        machine.net.connect(&container(&machine, 2, "bridge")).unwrap();
        assert_eq!(ask_in(&outside.path, Ipv4Addr::new(192, 0, 2, 1), 8080).unwrap(), "web 192.0.2.9");
    });
}
