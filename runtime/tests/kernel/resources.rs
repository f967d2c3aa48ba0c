//! Limits as the kernel keeps them, counters, pausing.

use std::fs;

use skep_runtime::kernel::cgroup::Paths;
use skep_runtime::kernel::{self, CgroupLimits};

use crate::Case;
use crate::lab::Lab;

pub(crate) const CASES: &[Case] = &[
    ("resources::limits_are_seen_from_inside", limits_are_seen_from_inside),
    ("resources::memory_limit_kills_and_is_counted", memory_limit_kills_and_is_counted),
    ("resources::process_limit_holds_for_executed_ones", process_limit_holds_for_executed_ones),
    ("resources::every_hierarchy_is_joined", every_hierarchy_is_joined),
    ("resources::counters_and_pause", counters_and_pause),
    ("resources::sysctls_of_its_namespaces_only", sysctls_of_its_namespaces_only),
    ("resources::host_is_checked", host_is_checked),
];

fn legacy() -> bool {
    !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn limits_are_seen_from_inside(lab: &Lab) {
    let script = if legacy() {
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us cpu/cpu.shares cpuset/cpuset.cpus"
    } else {
        "cd /sys/fs/cgroup; cat memory.max pids.max; cut -d' ' -f1 cpu.max; echo 512; cat cpuset.cpus"
    };
    let mut config = lab.config(&["sh", "-c", script]);
    config.resources.limits = CgroupLimits {
        memory: Some(32 << 20),
        pids: Some(77),
        cpu_quota: Some(150_000),
        cpu_period: Some(100_000),
        cpu_shares: Some(512),
        cpuset_cpus: Some("0".to_owned()),
        ..CgroupLimits::default()
    };
    assert_eq!(lab.run(&config).text(), "33554432\n77\n150000\n512\n0");
    config.resources.limits = CgroupLimits { cpuset_cpus: Some("4000".to_owned()), ..CgroupLimits::default() };
    assert!(lab.run(&config).failure().contains("cpuset"), "an impossible set of CPUs");
}

fn memory_limit_kills_and_is_counted(lab: &Lab) {
    let mut config = lab.config(&["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=60"]);
    config.resources.limits.memory = Some(16 << 20);
    config.resources.limits.memory_swap = Some(16 << 20);
    let outcome = lab.run(&config);
    assert_eq!(outcome.code, Some(137), "{outcome:?}");
    assert!(outcome.oom_kills >= 1, "{outcome:?}");
}

fn process_limit_holds_for_executed_ones(lab: &Lab) {
    let mut config = lab.config(&["sleep", "600"]);
    config.resources.limits.pids = Some(5);
    let running = lab.start(&config).up();
    let outcome = running.exec_script("for i in $(seq 8); do sleep 1 & done");
    assert!(outcome.stderr.contains("can't fork"), "{outcome:?}");
    running.stop();
}

fn every_hierarchy_is_joined(lab: &Lab) {
    let running = lab.start(&lab.config(&["sleep", "600"])).up();
    let name = format!("/rtk-kernel-test/{}", running.config.cgroup.name);
    let check = |text: &str| {
        let outside: Vec<&str> = text.lines().filter(|line| !line.ends_with(&name) && *line != "0::/").collect();
        assert!(outside.is_empty(), "{outside:?}");
    };
    let pid = running.started().pid;
    check(&fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap());
    // With a namespace of its own, all of them look like roots from inside.
    let inside = running.exec_script("cat /proc/self/cgroup /proc/1/cgroup");
    assert!(inside.text().lines().all(|line| line.ends_with(":/")), "{inside:?}");
    running.stop();
}

fn counters_and_pause(lab: &Lab) {
    let running = lab.start(&lab.config(&["sh", "-c", "while true; do :; done"])).up();
    let paths = Paths::find(&running.config.cgroup).unwrap();
    let busy = || paths.stats().unwrap().cpu_usage_ns;
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !done() {
            assert!(std::time::Instant::now() < end, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    };
    let first = busy();
    until("no CPU time is counted", &|| busy() > first);
    assert_eq!(paths.stats().unwrap().pids, 1);
    paths.freeze().unwrap();
    assert!(paths.is_frozen());
    assert!(running.exec_script("true").failure().ends_with("is paused, unpause the container before exec"));
    let frozen = busy();
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert_eq!(busy(), frozen);
    paths.thaw().unwrap();
    until("it does not go on", &|| busy() > frozen);
    paths.update(&CgroupLimits { memory: Some(64 << 20), ..CgroupLimits::default() }).unwrap();
    assert_eq!(paths.stats().unwrap().memory_limit, 64 << 20);
    // A paused container can be removed.
    paths.freeze().unwrap();
    let mut running = running;
    running.kill_shim();
    kernel::delete(&running.config).unwrap();
    assert!(paths.stats().is_err());
}

fn sysctls_of_its_namespaces_only(lab: &Lab) {
    let mut config = lab.config(&["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax"]);
    let mut set = |name: &str, value: &str| config.sysctls.insert(name.to_owned(), value.to_owned());
    set("net.ipv4.ip_forward", "1");
    set("kernel.msgmax", "4242");
    assert_eq!(lab.run(&config).text(), "1\n4242");
    for bad in ["vm.swappiness", "kernel.hostname", "net.ipv4..x", "kernel.core_pattern"] {
        let mut config = lab.config(&["true"]);
        config.sysctls.insert(bad.to_owned(), "1".to_owned());
        assert!(lab.run(&config).failure().contains(bad));
    }
    let mut config = lab.config(&["true"]);
    config.sysctls.insert("net.ipv4.no_such".to_owned(), "1".to_owned());
    assert!(lab.run(&config).failure().contains("net.ipv4.no_such"));
}

fn host_is_checked(lab: &Lab) {
    kernel::check_host(&lab.config(&[]).cgroup).unwrap();
}
