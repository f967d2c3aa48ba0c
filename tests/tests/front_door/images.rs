//! Images: pull, list, inspect, remove; mirrors, credentials, killed and concurrent pulls.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use skep_tests::images::{Format, tutorial};
use skep_tests::pty::Terminal;
use skep_tests::rogue::{Fault, RogueRegistry};
use skep_tests::{Lab, Node, wait_until};

fn rogue(lab: &Lab, port: u16, fault: Fault) -> RogueRegistry {
    let address = SocketAddr::new(IpAddr::V4(lab.gateway()), port);
    let image = tutorial::busybox("latest", Format::OciIndex).unwrap();
    RogueRegistry::start(&lab.switch, address, &[image], fault).unwrap()
}

fn files_larger_than(directory: &Path, limit: u64) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_larger_than(&entry.path(), limit));
        } else if kind.is_file() && entry.metadata().unwrap().len() > limit {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

fn ids(node: &Node) -> Vec<String> {
    let listed = node.skep(&["images", "-q", "--no-trunc"]).ok();
    listed.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn pull_and_list_in_dockers_words() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let image = tutorial::busybox("1.28.3", Format::Docker).unwrap();
    let said = node.skep(&["pull", "busybox:1.28.3"]).ok();
    for words in [
        "1.28.3: Pulling from library/busybox",
        "Pull complete",
        &format!("Digest: {}", image.digest()),
        "Status: Downloaded newer image for busybox:1.28.3",
        "docker.io/library/busybox:1.28.3",
    ] {
        assert!(said.contains(words), "no {words:?} in:\n{said}");
    }
    let again = node.skep(&["pull", "busybox:1.28.3"]).ok();
    assert!(again.contains("Status: Image is up to date for busybox:1.28.3"), "{again}");
    assert_eq!(node.skep(&["pull", "-q", "nginx"]).ok(), "docker.io/library/nginx:latest");

    let listed = node.skep(&["images"]).ok();
    let header: Vec<&str> = listed.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header.join(" "), "REPOSITORY TAG IMAGE ID CREATED SIZE");
    assert!(listed.lines().any(|line| line.starts_with("busybox ") && line.contains(" 1.28.3 ")), "{listed}");
    assert!(listed.lines().any(|line| line.starts_with("nginx ") && line.contains(" latest ")), "{listed}");

    let inspect = |format: &str| node.skep(&["inspect", "--format", format, "nginx"]).ok();
    assert_eq!(inspect("{{.Architecture}}"), "amd64", "the decoy for another processor was chosen");
    assert_eq!(inspect("{{json .Config.Cmd}}"), r#"["nginx","-g","daemon off;"]"#);
    let nginx = tutorial::nginx("latest", Format::DockerList, skep_tests::images::layer::Packing::Gzip).unwrap();
    assert!(inspect("{{json .RepoDigests}}").contains(nginx.digest()));

    let id = node.skep(&["images", "-q", "busybox"]).ok();
    let removed = node.skep(&["rmi", "busybox:1.28.3"]).ok();
    assert!(removed.contains("Untagged: busybox:1.28.3"), "{removed}");
    assert!(removed.contains(&format!("Deleted: sha256:{id}")), "{removed}");
    node.skep(&["rmi", "nginx"]).ok();
    assert_eq!(ids(node), Vec::<String>::new());
    let left = files_larger_than(&node.root.join("images"), 100_000);
    assert_eq!(left, Vec::<String>::new(), "removed images still use the disk");
}

#[test]
fn references_are_read_as_docker_reads_them() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    let digest = tutorial::busybox("1.28.3", Format::Docker).unwrap().digest().to_owned();
    for reference in [
        "busybox:1.28.3",
        "library/busybox:1.28.3",
        "docker.io/busybox:1.28.3",
        "index.docker.io/library/busybox:1.28.3",
        &format!("busybox@{digest}"),
        &format!("{}:5000/library/busybox:1.28.3", lab.gateway()),
    ] {
        let tag = node.skep(&["run", "--rm", reference, "cat", "/etc/busybox-tag"]).ok();
        assert_eq!(tag, "1.28.3", "{reference}");
    }
}

#[test]
fn layers_whiteouts_and_both_packings() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    for tag in ["latest", "alpine"] {
        let image = format!("nginx:{tag}");
        let files = |directory: &str| node.skep(&["run", "--rm", &image, "ls", "-A", directory]).ok();
        assert_eq!(files("/usr/share/nginx/html"), "index.html", "{image}: opaque directory");
        let conf = files("/etc/nginx");
        assert!(conf.contains("nginx.conf") && !conf.contains("removed"), "{image}: whiteout: {conf}");
        let page = node.skep(&["run", "--rm", &image, "cat", "/usr/share/nginx/html/index.html"]).ok();
        assert!(page.contains(&tutorial::welcome(tag)), "{page}");
        let mode = node.skep(&["run", "--rm", &image, "stat", "-c", "%a", "/tmp"]).ok();
        assert_eq!(mode, "1777", "{image}");
    }
}

#[test]
fn pulls_at_the_same_time_and_killed_ones() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let pulls: Vec<_> = (0..3).map(|_| node.spawn(&["pull", "nginx:alpine"]).unwrap()).collect();
    for pull in pulls {
        pull.finish(Duration::from_secs(60)).unwrap().ok();
    }
    assert_eq!(ids(node).len(), 1);
    node.skep(&["rmi", "nginx:alpine"]).ok();

    let registry = rogue(&lab, 5001, Fault::Slow);
    let reference = format!("{}:5001/library/busybox", lab.gateway());
    let pull = node.spawn(&["pull", &reference]).unwrap();
    wait_until(Duration::from_secs(20), "the layer to be on its way", || {
        let asked = registry.requests();
        asked.iter().any(|line| line.contains("/blobs/")).then_some(()).ok_or(format!("{asked:?}"))
    });
    kill(Pid::from_raw(i32::try_from(pull.pid()).unwrap()), Signal::SIGKILL).unwrap();
    pull.finish(Duration::from_secs(10)).unwrap().fails(137);
    assert_eq!(ids(node), Vec::<String>::new(), "half an image is not an image");
    drop(registry);
    let _registry = rogue(&lab, 5002, Fault::None);
    let reference = format!("{}:5002/library/busybox", lab.gateway());
    assert_eq!(node.skep(&["run", "--rm", &reference, "cat", "/etc/busybox-tag"]).ok(), "latest");
    node.skep(&["rmi", &reference]).ok();
    let left = files_larger_than(&node.root.join("images"), 100_000);
    assert_eq!(left, Vec::<String>::new(), "the killed pull left something behind");
}

#[test]
fn progress_is_shown_on_a_terminal() {
    let lab = Lab::new(1).unwrap();
    let command = lab.node(1).command(&["pull", "nginx"]);
    let mut terminal = Terminal::start(&command, 30, 120).unwrap();
    assert_eq!(terminal.finish().unwrap(), 0);
    let screen = terminal.screen();
    assert!(screen.contains("Pull complete"), "{screen}");
    assert!(screen.contains('\u{1b}'), "progress is drawn, not listed: {screen}");
}

#[test]
fn mirrors_come_first_and_may_be_down() {
    let lab = Lab::shared(1);
    let mut node = lab.node(1).clone();
    let gateway = lab.gateway();
    let mirror = rogue(&lab, 5003, Fault::None);
    node.root = lab.directory().join("mirrored");
    node.registries = lab.directory().join("mirrors.conf");
    fs::write(
        &node.registries,
        format!(
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"{gateway}:5000\"\ninsecure = true\n\
             [[registry.mirror]]\nlocation = \"{gateway}:5999\"\ninsecure = true\n\
             [[registry.mirror]]\nlocation = \"{gateway}:5003\"\ninsecure = true\n"
        ),
    )
    .unwrap();
    node.skep(&["pull", "busybox"]).ok();
    assert!(mirror.requests().iter().any(|line| line.contains("/blobs/")), "the mirror was not asked");
    // The mirror has no nginx: the registry behind it is asked.
    node.skep(&["pull", "nginx"]).ok();
    let listed = node.skep(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    assert!(listed.contains("busybox:latest") && listed.contains("nginx:latest"), "{listed}");
}

#[test]
fn credentials_for_basic_and_bearer() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let pair = || ("someone".to_owned(), "a secret".to_owned());
    for (port, fault) in [(5004, Fault::Basic(pair().0, pair().1)), (5005, Fault::Bearer(pair().0, pair().1))] {
        let _registry = rogue(&lab, port, fault.clone());
        let server = format!("{}:{port}", lab.gateway());
        let reference = format!("{server}/library/busybox");
        node.skep(&["pull", &reference]).fails_saying(1, &[&server]);
        node.skep(&["login", "-u", "someone", "-p", "wrong", &server]).fails_saying(1, &["unauthorized"]);
        node.skep(&["pull", &reference]).fails(1);
        let said = node.skep(&["login", "-u", "someone", "-p", "a secret", &server]).ok();
        assert!(said.contains("Login Succeeded"), "{fault:?}: {said}");
        let config = fs::read_to_string(node.home.join(".docker/config.json")).unwrap();
        assert!(config.contains(&server) && !config.contains("a secret"), "{config}");
        node.skep(&["pull", &reference]).ok();
        node.skep(&["rmi", &reference]).ok();
        node.skep(&["logout", &server]).ok();
        node.skep(&["pull", &reference]).fails(1);
    }
}

#[test]
fn credentials_of_podman_are_read() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let _registry = rogue(&lab, 5006, Fault::Basic("someone".to_owned(), "a secret".to_owned()));
    let server = format!("{}:5006", lab.gateway());
    let reference = format!("{server}/library/busybox");
    node.skep(&["pull", &reference]).fails_saying(1, &[&server]);
    let directory = node.home.join(".config/containers");
    fs::create_dir_all(&directory).unwrap();
    // Those of a name space, as podman can have them; those of another are of no use.
    for (space, code) in [("other", 1), ("library", 0)] {
        let auths = json!({"auths": {format!("{server}/{space}"): {"auth": "c29tZW9uZTphIHNlY3JldA=="}}});
        fs::write(directory.join("auth.json"), auths.to_string()).unwrap();
        assert_eq!(node.skep(&["pull", &reference]).code, code, "{space}");
    }
}
