//! What a container may not do, seen from inside: for its first process and for executed ones.

use std::fs::{self, File};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use skep_runtime::kernel::{Namespace, Seccomp, User};

use crate::lab::{Lab, process};
use crate::{Case, lab::Running};

pub(crate) const CASES: &[Case] = &[
    ("confinement::status_is_dockers_for_start_and_exec", status_is_dockers_for_start_and_exec),
    ("confinement::no_new_privileges_holds_for_start_and_exec", no_new_privileges_holds_for_start_and_exec),
    ("confinement::kernel_paths_are_masked_and_read_only", kernel_paths_are_masked_and_read_only),
    ("confinement::nothing_of_the_caller_leaks_in", nothing_of_the_caller_leaks_in),
    ("confinement::own_program_cannot_be_overwritten", own_program_cannot_be_overwritten),
    ("confinement::filter_refuses_what_it_should", filter_refuses_what_it_should),
    ("confinement::own_profile_is_used", own_profile_is_used),
    ("confinement::namespaces_are_its_own_or_the_hosts", namespaces_are_its_own_or_the_hosts),
    ("confinement::privileged_gets_what_the_host_has", privileged_gets_what_the_host_has),
    ("confinement::devices_are_only_the_default_ones", devices_are_only_the_default_ones),
    ("confinement::working_directory_outside_is_refused", working_directory_outside_is_refused),
    ("confinement::no_program_is_found_by_way_of_a_descriptor", no_program_is_found_by_way_of_a_descriptor),
];

/// Without a shell in between, which ignores signals of its own accord.
const STATUS: [&str; 4] = [
    "grep",
    "-E",
    "^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Groups|SigBlk|SigIgn):",
    "/proc/self/status",
];

fn status(effective: &str, no_new_privileges: u8, groups: &str) -> String {
    let zero = "0000000000000000";
    format!(
        "Groups:\t{groups} \nSigBlk:\t{zero}\nSigIgn:\t{zero}\nCapInh:\t{zero}\nCapPrm:\t{effective}\n\
         CapEff:\t{effective}\nCapBnd:\t00000000a80425fb\nCapAmb:\t{zero}\nNoNewPrivs:\t{no_new_privileges}\nSeccomp:\t2"
    )
}

const FULL: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

fn sleeper(lab: &Lab) -> Running {
    lab.start(&lab.config(&["sleep", "600"])).up()
}

fn status_is_dockers_for_start_and_exec(lab: &Lab) {
    let running = sleeper(lab);
    for (user, expected) in [
        ("", status(FULL, 0, "0")),
        ("web", status(NONE, 0, "44 1000")),
        ("1000:0", status(NONE, 0, "0")),
        ("4711", status(NONE, 0, "0")),
    ] {
        let mut process = process(&STATUS);
        process.user = User { spec: user.to_owned(), additional_groups: Vec::new() };
        let mut config = lab.config(&[]);
        config.process = process.clone();
        assert_eq!(lab.run(&config).text(), expected, "start as {user:?}");
        assert_eq!(running.exec(process).text(), expected, "exec as {user:?}");
    }
    running.stop();
}

fn no_new_privileges_holds_for_start_and_exec(lab: &Lab) {
    let running = sleeper(lab);
    for (user, effective, groups) in [("0", FULL, "0"), ("1000:1000", NONE, "1000")] {
        let mut process = process(&STATUS);
        process.no_new_privileges = true;
        process.user.spec = user.to_owned();
        let mut config = lab.config(&[]);
        config.process = process.clone();
        assert_eq!(lab.run(&config).text(), status(effective, 1, groups));
        assert_eq!(running.exec(process).text(), status(effective, 1, groups));
    }
    running.stop();
}

fn kernel_paths_are_masked_and_read_only(lab: &Lab) {
    let script = "
        for f in /proc/kcore /proc/keys /proc/interrupts /proc/timer_list; do
            test -e $f || continue
            test $(cat $f | wc -c) = 0 || echo \"$f is readable\"
        done
        for d in /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do
            test -d $d || continue
            test -z \"$(ls -A $d)\" || echo \"$d is visible\"
            touch $d/x 2>/dev/null && echo \"$d is writable\"
        done
        for f in /proc/sysrq-trigger /proc/sys/kernel/hostname /proc/sys/vm/drop_caches; do
            echo x 2>/dev/null > $f && echo \"$f is writable\"
        done
        mount | grep -q 'proc on /proc/sys type proc (ro' || echo '/proc/sys is no mount'
        touch /sys/x 2>/dev/null && echo '/sys is writable'
        mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x 2>/dev/null && echo 'cgroups are writable'
        true";
    let running = sleeper(lab);
    assert_eq!(lab.script(script).text(), "");
    assert_eq!(running.exec_script(script).text(), "");
    running.stop();
    let mut open = lab.config(&["sh", "-c", "cat /proc/interrupts | head -1 | wc -l"]);
    (open.masked_paths, open.read_only_paths) = (Vec::new(), Vec::new());
    assert_eq!(lab.run(&open).text(), "1");
}

fn nothing_of_the_caller_leaks_in(lab: &Lab) {
    let script = "ls /proc/$$/fd; env | sort; pwd; id -G";
    let expected = "0\n1\n2\nHOME=/root\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
                    PWD=/\nSHLVL=1\n/\n0";
    let running = sleeper(lab);
    assert_eq!(lab.script(script).text(), expected);
    assert_eq!(running.exec_script(script).text(), expected);
    // Nor of the first process, which has waited for its start with sockets open.
    assert_eq!(running.exec_script("ls /proc/1/fd").text(), "0\n1\n2");
    running.stop();
}

fn own_program_cannot_be_overwritten(lab: &Lab) {
    // Not for as long as it runs, nor later.
    let refused = format!("{} {}", libc::ETXTBSY, libc::EROFS);
    let running = sleeper(lab);
    let program = ["/proc/self/exe", "__inside"];
    assert_eq!(lab.run(&lab.config(&program)).text(), refused);
    assert_eq!(running.exec(process(&program)).text(), refused);
    running.stop();
}

fn filter_refuses_what_it_should(lab: &Lab) {
    let script = "unshare -U true 2>/dev/null && echo user namespace; \
                  mount -t tmpfs x /tmp 2>/dev/null && echo mount; true";
    let running = sleeper(lab);
    assert_eq!(lab.script(script).text(), "");
    assert_eq!(running.exec_script(script).text(), "");
    running.stop();
    let mut config = lab.config(&["sh", "-c", script]);
    config.seccomp = Seccomp::Unconfined;
    let running = lab.start(&{
        let mut sleeping = lab.config(&["sleep", "600"]);
        sleeping.seccomp = Seccomp::Unconfined;
        sleeping
    });
    assert_eq!(lab.run(&config).text(), "user namespace");
    assert_eq!(running.exec_script("grep ^Seccomp: /proc/self/status").text(), "Seccomp:\t0");
    running.stop();
}

fn own_profile_is_used(lab: &Lab) {
    let profile = |errno: u32| {
        serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["uname"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno }],
        })
    };
    let mut config = lab.config(&["hostname"]);
    config.seccomp = Seccomp::Profile(profile(libc::ENOTTY as u32));
    let outcome = lab.run(&config);
    assert_ne!(outcome.code, Some(0));
    let mut config = lab.config(&["true"]);
    config.seccomp = Seccomp::Profile(serde_json::json!({ "defaultAction": "SCMP_ACT_NOTHING" }));
    let outcome = lab.run(&config);
    assert!(outcome.failure().contains("SCMP_ACT_NOTHING"), "{outcome:?}");
}

fn namespaces_are_its_own_or_the_hosts(lab: &Lab) {
    let script = "hostname; ls /sys/class/net; echo $$; readlink /proc/self/ns/ipc";
    let host_ipc = fs::read_link("/proc/self/ns/ipc").unwrap().display().to_string();
    let running = sleeper(lab);
    for text in [lab.script(script).text().to_owned(), running.exec_script(script).text().to_owned()] {
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["box", "lo"]);
        assert!(lines[2].parse::<u32>().unwrap() < 20, "{text}");
        assert_ne!(lines[3], host_ipc);
    }

    // Another container's, by path.
    let started = running.started();
    let mut joined =
        lab.config(&["sh", "-c", "hostname; readlink /proc/self/ns/net; ps -o args | grep -c '[s]leep 600'"]);
    let path = |name: &str| Namespace::Path(format!("/proc/{}/ns/{name}", started.pid).into());
    joined.namespaces.network = path("net");
    joined.namespaces.pid = path("pid");
    joined.namespaces.uts = path("uts");
    joined.hostname = None;
    let theirs = running.exec_script("readlink /proc/self/ns/net");
    assert_eq!(lab.run(&joined).text(), format!("box\n{}\n1", theirs.text()));
    running.stop();

    let mut host = lab.config(&["sh", "-c", script]);
    host.namespaces.network = Namespace::Host;
    host.namespaces.pid = Namespace::Host;
    host.namespaces.uts = Namespace::Host;
    host.namespaces.ipc = Namespace::Host;
    host.namespaces.cgroup = Namespace::Host;
    host.hostname = None;
    let outcome = lab.run(&host);
    let lines: Vec<&str> = outcome.text().lines().collect();
    assert_eq!(lines[0], fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    assert_eq!(*lines.last().unwrap(), host_ipc);
}

fn privileged_gets_what_the_host_has(lab: &Lab) {
    let script = "grep -E '^(CapEff|Seccomp):' /proc/self/status; mount -t tmpfs x /tmp && echo mounted; \
                  test -c /dev/kmsg && echo devices";
    let mut config = lab.config(&["sh", "-c", script]);
    config.privileged = true;
    (config.masked_paths, config.read_only_paths) = (Vec::new(), Vec::new());
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let bounding = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let outcome = lab.run(&config);
    let expected = format!("CapEff:\t{bounding}\nSeccomp:\t0\nmounted\ndevices\n");
    assert!(outcome.stdout == expected, "{outcome:?}");
    let complete = u64::from_str_radix(bounding, 16).unwrap().count_ones();
    let known: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    assert_eq!(outcome.warnings.is_empty(), complete == known + 1, "{outcome:?}");

    // A single executed process of a container that is not.
    let running = sleeper(lab);
    let outcome = running.exec_with(process(&["sh", "-c", "grep -E '^(CapEff|Seccomp):' /proc/self/status"]), true, "");
    assert_eq!(outcome.text(), format!("CapEff:\t{bounding}\nSeccomp:\t0"));
    running.stop();
}

fn devices_are_only_the_default_ones(lab: &Lab) {
    let script = "echo $(ls /dev | grep -v core); mknod /tmp/mem c 1 1 && cat /tmp/mem 2>&1 | head -1; \
                  head -c 4 /dev/zero | wc -c; echo x > /dev/null && echo null; echo x > /dev/full";
    let outcome = lab.script(script);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
            "cat: can't open '/tmp/mem': Operation not permitted",
            "4",
            "null",
        ],
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("No space left on device"));
    let mut config = lab.config(&["sh", "-c", "test -c /dev/km && head -c 5 /dev/km | wc -l"]);
    config.devices.push(skep_runtime::kernel::Device {
        source: "/dev/kmsg".into(),
        target: "/dev/km".to_owned(),
        permissions: "rwm".to_owned(),
    });
    config.process.capabilities.push("CAP_SYSLOG".to_owned());
    let outcome = lab.run(&config);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

fn working_directory_outside_is_refused(lab: &Lab) {
    let running = sleeper(lab);
    for number in 3..16 {
        let directory = format!("/proc/self/fd/{number}");
        let mut config = lab.config(&["sh", "-c", "pwd; ls"]);
        config.process.cwd.clone_from(&directory);
        let outcome = lab.run(&config);
        assert!(outcome.failure().contains(&directory), "{outcome:?}");
        let mut process = process(&["sh", "-c", "pwd; ls"]);
        process.cwd.clone_from(&directory);
        let outcome = running.exec(process);
        assert!(outcome.failure().contains(&directory), "{outcome:?}");
    }
    running.stop();
}

/// A descriptor of a directory that whoever starts something here passes on without meaning to.
fn leak(directory: &Path) -> i32 {
    let directory = File::open(directory).unwrap();
    // A number that nothing else has.
    fcntl(&directory, FcntlArg::F_DUPFD(100)).unwrap()
}

fn no_program_is_found_by_way_of_a_descriptor(lab: &Lab) {
    let outside = lab.path("leaked");
    fs::create_dir(&outside).unwrap();
    fs::copy("/bin/busybox", outside.join("echo")).unwrap();
    let leaked = leak(&outside);
    let program = format!("/proc/self/fd/{leaked}/echo");
    let message = format!("exec: {program:?}: stat {program}: no such file or directory");
    let started = lab.run(&lab.config(&[&program, "from outside"]));
    let running = lab.start(&lab.config(&["sh", "-c", &format!("ln -s {program} /bin/link; exec sleep 600")])).up();
    let executed = running.exec(process(&[&program, "from outside"]));
    let linked = running.exec(process(&["/bin/link", "from outside"]));
    running.stop();
    nix::unistd::close(leaked).unwrap();
    assert_eq!(started.failure(), message, "start");
    assert_eq!(executed.failure(), message, "exec");
    assert!(linked.failure().contains("no such file"), "{linked:?}");
}
