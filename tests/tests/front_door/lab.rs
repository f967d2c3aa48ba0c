//! The lab itself: nodes reach one another and the registry, a cut cable cuts, and nothing is left behind.

use skep_tests::images::tutorial;
use skep_tests::{Lab, program, registry, sweep};

#[test]
fn nodes_reach_each_other_unless_cut_off() {
    let lab = Lab::without_images(2).unwrap();
    let (one, two) = (lab.node(1), lab.node(2));
    let there = two.address.to_string();
    let ping = ["ping", "-c", "1", "-W", "1", &there];
    let reach = || program::run(one.namespace.command().arg("busybox").args(ping)).unwrap();
    reach().ok();
    assert_eq!(one.namespace.tool(&["hostname"]).unwrap(), "node1");
    two.partition().unwrap();
    reach().fails(1);
    two.heal().unwrap();
    reach().ok();
}

#[test]
fn the_registry_holds_the_images_of_the_tutorial() {
    let lab = Lab::new(1).unwrap();
    for image in tutorial::all().unwrap() {
        let address = lab.registry.address;
        let held = registry::digest_of(&lab.node(1).namespace, address, &image.repository, &image.tag);
        assert_eq!(held.unwrap(), image.digest(), "{}", image.reference());
    }
}

#[test]
fn what_a_container_left_behind_is_seen() {
    let lab = Lab::without_images(1).unwrap();
    let node = lab.node(1);
    assert_eq!(node.leftovers(), Vec::<String>::new());
    node.namespace.tool(&["ip", "link", "add", "skv0123456789ab", "type", "veth", "peer", "name", "inner"]).unwrap();
    node.namespace.tool(&["nft", "add", "table", "ip", "skep"]).unwrap();
    let records = node.run_root.join("net/sandboxes");
    std::fs::create_dir_all(&records).unwrap();
    std::fs::write(records.join("c.json"), "{}").unwrap();
    let mut sleeper = node.namespace.command();
    sleeper.args(["sleep", "1000"]).env("SKEP_RUN_ROOT", &node.run_root);
    let sleeper = program::start(&mut sleeper).unwrap();
    let left = node.leftovers();
    let file = format!("file {}", records.join("c.json").display());
    let process = format!("process {} ", sleeper.pid());
    for wanted in ["link skv0123456789ab", "table ip skep", &file, &process] {
        assert!(left.iter().any(|found| found.starts_with(wanted)), "{wanted} is not seen: {left:#?}");
    }
}

#[test]
fn a_dropped_lab_leaves_nothing() {
    let lab = Lab::without_images(1).unwrap();
    let directory = lab.directory().to_owned();
    assert!(!sweep::mounts_below(&directory).is_empty());
    let node = lab.node(1).clone();
    let mut sleeper = program::start(node.namespace.command().args(["sleep", "1000"])).unwrap();
    drop(lab);
    assert!(!sleeper.is_running());
    assert!(sweep::mounts_below(&directory).is_empty());
    assert!(!directory.exists());
}
