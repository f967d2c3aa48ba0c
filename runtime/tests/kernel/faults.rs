//! Killed shims, containers that are gone, and whatever is left behind.

use std::fs;

use skep_runtime::kernel;

use crate::Case;
use crate::lab::{Lab, process, wait_for};
use crate::roles::Started;

pub(crate) const CASES: &[Case] = &[
    ("faults::failed_starts_leave_nothing", failed_starts_leave_nothing),
    ("faults::killed_shim_is_cleaned_up_from_outside", killed_shim_is_cleaned_up_from_outside),
    ("faults::killed_shim_is_cleaned_up_by_the_next_start", killed_shim_is_cleaned_up_by_the_next_start),
    ("faults::deleting_is_idempotent", deleting_is_idempotent),
    ("faults::executing_in_what_is_gone_is_refused", executing_in_what_is_gone_is_refused),
    ("faults::whole_container_is_killed_without_its_own_pids", whole_container_is_killed_without_its_own_pids),
    ("faults::caller_has_to_be_prepared", caller_has_to_be_prepared),
    ("faults::damaged_filter_cache_is_replaced", damaged_filter_cache_is_replaced),
];

fn failed_starts_leave_nothing(lab: &Lab) {
    let before = lab.leaks();
    for program in ["nosuch", "/etc"] {
        lab.run(&lab.config(&[program])).failure();
    }
    let mut config = lab.config(&["true"]);
    config.process.user.spec = "nobody-here".to_owned();
    lab.run(&config).failure();
    let mut config = lab.config(&["true"]);
    config.rootfs.lower = vec!["no-such-layer".to_owned()];
    lab.run(&config).failure();
    assert_eq!(lab.leaks(), before);
}

fn alive(pid: i32) -> bool {
    kernel::start_time(pid).is_some()
}

fn killed_shim_is_cleaned_up_from_outside(lab: &Lab) {
    let before = lab.leaks();
    let mut running = lab.start(&lab.config(&["sh", "-c", "sleep 600 & sleep 600"])).up();
    let pid = running.started().pid;
    running.kill_shim();
    assert!(alive(pid), "the container outlives its shim");
    assert_ne!(lab.leaks(), before);
    kernel::delete(&running.config).unwrap();
    assert!(!alive(pid));
    assert_eq!(lab.leaks(), before);
}

fn killed_shim_is_cleaned_up_by_the_next_start(lab: &Lab) {
    let before = lab.leaks();
    let mut config = lab.config(&["sleep", "600"]);
    let mut running = lab.start(&config).up();
    let pid = running.started().pid;
    running.kill_shim();
    config.process = process(&["echo", "second"]);
    assert_eq!(lab.run(&config).text(), "second");
    assert!(!alive(pid), "the first one is still there");
    assert_eq!(lab.leaks(), before);
}

fn deleting_is_idempotent(lab: &Lab) {
    let config = lab.config(&["true"]);
    kernel::delete(&config).unwrap();
    assert_eq!(lab.run(&config).code, Some(0));
    kernel::delete(&config).unwrap();
    kernel::delete(&config).unwrap();
}

fn executing_in_what_is_gone_is_refused(lab: &Lab) {
    let running = lab.start(&lab.config(&["sleep", "600"])).up();
    let started = running.started();
    let request = |started: Started| crate::roles::ExecRequest {
        container: running.config.clone(),
        started,
        process: process(&["true"]),
        privileged: false,
        input: String::new(),
    };
    let message = format!("container {} is not running", running.config.id);
    // Someone else's process with the same id.
    let recycled = Started { start_time: started.start_time + 1, ..started };
    assert_eq!(running.exec_request(&request(recycled)).failure(), message);
    kernel::kill_all(&running.config, 9).unwrap();
    wait_for("its end", || (!alive(started.pid)).then_some(()));
    assert_eq!(running.exec_request(&request(started)).failure(), message);
    running.finish();
}

fn whole_container_is_killed_without_its_own_pids(lab: &Lab) {
    let mut config = lab.config(&["sh", "-c", "setsid sleep 600 & setsid sleep 600 & sleep 600"]);
    config.namespaces.pid = kernel::Namespace::Host;
    let running = lab.start(&config).up();
    let paths = kernel::cgroup::Paths::find(&config.cgroup).unwrap();
    wait_for("its processes", || (paths.processes().unwrap().len() >= 3).then_some(()));
    let pids = paths.processes().unwrap();
    assert_eq!(running.stop().code, Some(137));
    for pid in pids {
        assert!(!alive(pid));
    }
    assert!(kernel::kill_all(&config, 9).is_ok());
    assert!(kernel::kill_all(&config, 4000).is_err());
}

fn caller_has_to_be_prepared(lab: &Lab) {
    // This very process has the host's mount namespace, and threads.
    let config = lab.config(&["true"]);
    let stdio = kernel::Stdio::Terminal;
    let error = kernel::create(&config, lab.directory.path(), stdio).unwrap_err();
    assert!(error.to_string().contains("mount namespace"), "{error}");
}

fn damaged_filter_cache_is_replaced(lab: &Lab) {
    assert_eq!(lab.script("true").code, Some(0));
    let files: Vec<_> = fs::read_dir(lab.path("run/filters")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in &files {
        fs::write(file, "nonsense").unwrap();
    }
    let seccomp = "grep ^Seccomp: /proc/self/status";
    assert_eq!(lab.script(seccomp).text(), "Seccomp:\t2");
    assert!(files.iter().any(|file| fs::read(file).unwrap() != b"nonsense"));
}
