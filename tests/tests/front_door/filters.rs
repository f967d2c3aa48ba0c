//! What `--filter` lets through: scripts remove what it names.

use skep_tests::Lab;

#[test]
fn a_name_is_a_regular_expression() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    for name in ["web", "web2", "myweb"] {
        node.skep(&["create", "--name", name, "--network", "none", "-v", &format!("{name}:/data"), "busybox"]).ok();
    }
    let shown = |list: &[&str], filter: &str| {
        let mut words: Vec<&str> = list.to_vec();
        words.extend(["-f", filter]);
        let text = node.skep(&words).ok();
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    for list in [&["ps", "-a", "--format", "{{.Names}}"][..], &["volume", "ls", "-q"]] {
        assert_eq!(shown(list, "name=^web$"), ["web"], "{list:?}");
        assert_eq!(shown(list, "name=^web"), ["web", "web2"], "{list:?}");
        assert_eq!(shown(list, "name=web"), ["myweb", "web", "web2"], "{list:?}");
        let mut words = list.to_vec();
        words.extend(["-f", "name=we[b"]);
        node.skep(&words).fails_saying(1, &["invalid filter 'name=we[b'"]);
    }
    assert_eq!(shown(&["ps", "-a", "--format", "{{.Names}}"], "name=^/web$"), ["web"]);
    assert_eq!(shown(&["network", "ls", "--format", "{{.Name}}"], "name=^b.*e$"), ["bridge"]);
    assert!(shown(&["network", "ls", "--format", "{{.Name}}"], "name=^ridge$").is_empty());
    for ancestor in ["busybox", "busybox:latest", "docker.io/library/busybox"] {
        assert_eq!(shown(&["ps", "-aq"], &format!("ancestor={ancestor}")).len(), 3, "{ancestor}");
    }
    assert!(shown(&["ps", "-aq"], "ancestor=busy").is_empty());
    node.skep(&["ps", "-a", "-f", "publish=many"]).fails_saying(1, &["invalid filter 'publish=many'"]);
    node.skep(&["rm", "web", "web2", "myweb"]).ok();
    node.skep(&["volume", "create", "--label", "keep=yes", "kept"]).ok();
    let pruned = node.skep(&["volume", "prune", "-f", "-a", "--filter", "label!=keep"]).ok();
    assert!(pruned.contains("web2") && !pruned.contains("kept"), "{pruned}");
    node.skep(&["volume", "rm", "kept"]).ok();
}
