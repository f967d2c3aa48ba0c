//! What a container finds by name: neighbours, services, tasks, and what others serve.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use skep_tests::dns::{self, Answer, NameServer};
use skep_tests::namespace::Namespace;
use skep_tests::swarm::{self, container_of, lookup, wait_running};
use skep_tests::{Lab, Node, wait_until};

const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);

/// A name server on the switch that knows `far.example` by so many addresses that they fit into no UDP message.
fn far(lab: &Lab) -> (NameServer, Vec<Ipv4Addr>) {
    let addresses: Vec<Ipv4Addr> = (1..=60).map(|last| Ipv4Addr::new(192, 0, 2, last)).collect();
    let address = SocketAddr::new(IpAddr::V4(lab.gateway()), 53);
    (NameServer::start(&lab.switch, address, "far.example", &addresses).unwrap(), addresses)
}

/// What the resolver of `container` on `node` answers, asked from the container's network.
fn ask(node: &Node, container: &str, name: &str, transport: fn(SocketAddr, &str) -> anyhow::Result<Answer>) -> Answer {
    let id = node.skep(&["inspect", "--format", "{{.Id}}", container]).ok();
    let net = node.run_root.join("netns").join(&id[..12]);
    let inside = Namespace { net, uts: node.namespace.uts.clone() };
    let name = name.to_owned();
    inside.inside(move || transport(RESOLVER, &name)).unwrap()
}

fn sleeper(node: &Node, words: &[&str]) {
    let mut all = vec!["run", "-d"];
    all.extend_from_slice(words);
    all.extend_from_slice(&["busybox", "sleep", "100000"]);
    node.skep(&all).ok();
}

#[track_caller]
fn wait_lookup(node: &Node, container: &str, name: &str, subnet: &str) -> Ipv4Addr {
    wait_until(Duration::from_secs(30), &format!("{name} to be in {subnet}"), || {
        let found = lookup(node, container, name);
        let [address] = found[..] else { return Err(format!("{found:?}")) };
        if address.to_string().starts_with(subnet) { Ok(address) } else { Err(address.to_string()) }
    })
}

#[test]
fn other_names_are_asked_for_outside() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let (server, addresses) = far(&lab);
    let gateway = lab.gateway().to_string();
    node.skep(&["network", "create", "home"]).ok();
    node.skep(&["network", "create", "--internal", "shut"]).ok();
    let host = ["--add-host", "machine:host-gateway"];
    sleeper(node, &["--name", "open", "--network", "home", "--dns", &gateway, host[0], host[1]]);
    sleeper(node, &["--name", "closed", "--network", "shut", "--dns", &gateway]);

    let short = ask(node, "open", "far.example", dns::ask_udp);
    assert_eq!((short.is_truncated, short.code, short.addresses.len()), (true, 0, 0));
    let whole = ask(node, "open", "far.example", dns::ask_tcp);
    assert_eq!((whole.is_truncated, whole.addresses), (false, addresses));
    let nobody = ask(node, "open", "nobody.example", dns::ask_udp);
    assert_eq!((nobody.code, nobody.addresses.len()), (3, 0));
    assert_eq!(server.asked(), ["far.example", "far.example", "nobody.example"]);
    // The C library of a container asks again over TCP by itself.
    let said = node.skep(&["exec", "open", "ping", "-c", "1", "-W", "1", "far.example"]);
    assert!(said.stdout.contains("PING far.example (192.0.2."), "{said}");

    // The machine itself, by the gateway that this container has.
    let own = node.skep(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "home"]).ok();
    let hosts = node.skep(&["exec", "open", "cat", "/etc/hosts"]).ok();
    assert!(hosts.contains(&format!("{own}\tmachine\n")), "{hosts}");

    // An internal network asks nobody, and still knows its own.
    let asked = server.asked().len();
    let nobody = ask(node, "closed", "far.example", dns::ask_udp);
    assert_eq!((nobody.code, nobody.addresses.len()), (3, 0));
    assert_eq!(ask(node, "closed", "closed", dns::ask_udp).addresses.len(), 1);
    assert_eq!(server.asked().len(), asked, "{:?}", server.asked());
    node.skep(&["rm", "-f", "open", "closed"]).ok();
}

#[test]
fn containers_and_tasks_are_found_on_overlays() {
    let lab = Lab::new(2).unwrap();
    let (one, two) = (lab.node(1), lab.node(2));
    let (server, addresses) = far(&lab);
    let gateway = lab.gateway().to_string();
    swarm::form(&lab, 1);
    let network = |words: &[&str]| {
        let mut all = vec!["network", "create", "-d", "overlay", "--attachable"];
        all.extend_from_slice(words);
        one.skep(&all).ok();
    };
    network(&["--subnet", "10.31.0.0/24", "front"]);
    network(&["--subnet", "10.32.0.0/24", "back"]);
    network(&["--subnet", "10.33.0.0/24", "--internal", "shut"]);
    let create = |words: &[&str]| {
        let mut all = vec!["service", "create", "-d", "--name"];
        all.extend_from_slice(words);
        one.skep(&all).ok()
    };
    let there = ["--constraint", "node.hostname==node2"];
    create(&["both", there[0], there[1], "--network", "front", "--network", "back", "-p", "8080:80", "nginx"]);
    create(&["inner", there[0], there[1], "--network", "shut", "--dns", &gateway, "busybox", "sleep", "100000"]);
    wait_running(one, "both", 1);
    wait_running(one, "inner", 1);
    sleeper(one, &["--name", "ahead", "--network", "front", "--network-alias", "pal", "--dns", &gateway]);
    sleeper(one, &["--name", "behind", "--network", "back"]);
    let task = container_of(two, "both");

    // One service on two networks: another address on each, and it answers on each.
    for (container, subnet) in [("ahead", "10.31.0."), ("behind", "10.32.0.")] {
        wait_lookup(one, container, "both", subnet);
        wait_lookup(one, container, "tasks.both", subnet);
        wait_lookup(one, container, &task, subnet);
        wait_until(Duration::from_secs(30), "the service to answer", || {
            let said = one.skep(&["exec", container, "timeout", "3", "wget", "-q", "-O", "-", "http://both/host"]);
            (said.code == 0).then_some(()).ok_or(said.to_string())
        });
    }
    let hosts = two.skep(&["exec", &task, "cat", "/etc/hosts"]).ok();
    assert!(hosts.contains("10.31.0.") && hosts.contains("10.32.0.") && !hosts.contains("10.0.0."), "{hosts}");
    // Plain containers, by name and alias, from the other node; on their own network only.
    let address = wait_lookup(two, &task, "ahead", "10.31.0.");
    assert_eq!(wait_lookup(two, &task, "pal", "10.31.0."), address);
    wait_lookup(two, &task, "behind", "10.32.0.");
    two.skep(&["exec", &task, "ping", "-c", "1", "-W", "5", "pal"]).ok();
    assert_eq!(lookup(one, "behind", "ahead"), Vec::<Ipv4Addr>::new());

    // Names of others: asked for by the one that may, and by no task of an internal network.
    assert_eq!(ask(one, "ahead", "far.example", dns::ask_tcp).addresses, addresses);
    let asked = server.asked().len();
    assert!(asked > 0);
    let inner = container_of(two, "inner");
    let nobody = ask(two, &inner, "far.example", dns::ask_udp);
    assert_eq!((nobody.code, nobody.addresses.len()), (3, 0));
    wait_lookup(two, &inner, "inner", "10.33.0.");
    assert_eq!(server.asked().len(), asked, "{:?}", server.asked());
    let routes = two.skep(&["exec", &inner, "ip", "route"]).ok();
    assert!(!routes.contains("default"), "{routes}");
    one.skep(&["rm", "-f", "ahead", "behind"]).ok();
}

#[test]
fn as_many_tasks_as_fit_into_no_udp_message() {
    const TASKS: usize = 32;
    let lab = Lab::new(2).unwrap();
    let one = lab.node(1);
    swarm::form(&lab, 1);
    one.skep(&["network", "create", "-d", "overlay", "--attachable", "app"]).ok();
    let count = TASKS.to_string();
    let words = ["service", "create", "-d", "--name", "many", "--network", "app", "--replicas", &count];
    one.skep(&[&words[..], &["busybox", "sleep", "100000"]].concat()).ok();
    wait_running(one, "many", TASKS);
    sleeper(one, &["--name", "client", "--network", "app"]);
    let all = wait_until(Duration::from_secs(30), "the addresses of all tasks", || {
        let mut answer = ask(one, "client", "tasks.many", dns::ask_tcp);
        answer.addresses.sort();
        answer.addresses.dedup();
        if answer.addresses.len() == TASKS { Ok(answer.addresses) } else { Err(format!("{answer:?}")) }
    });
    let short = ask(one, "client", "tasks.many", dns::ask_udp);
    assert_eq!((short.is_truncated, short.addresses.len()), (true, 0));
    // The C library of a container asks again over TCP by itself.
    let said = one.skep(&["exec", "client", "ping", "-c", "1", "-W", "5", "tasks.many"]);
    assert!(all.iter().any(|address| said.stdout.contains(&format!("PING tasks.many ({address})"))), "{said}");
    said.ok();
    one.skep(&["rm", "-f", "client"]).ok();
}
