//! Containers on one node, as a person at a shell meets them.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skep_tests::images::tutorial;
use skep_tests::lab::words;
use skep_tests::namespace::identity;
use skep_tests::pty::Terminal;
use skep_tests::{Lab, Node, leaks, program, skep, swarm, sweep, wait_until};

/// The number of bytes in all files that docker masks; which of them a kernel has differs.
const MASKED: &str = "for file in acpi kcore keys latency_stats timer_list sched_debug scsi; do \
    [ -d /proc/$file ] && ls /proc/$file; [ -f /proc/$file ] && cat /proc/$file; done | wc -c";

/// `run --rm busybox` with `options` and the shell command `script`.
#[track_caller]
fn sh(node: &Node, options: &[&str], script: &str) -> skep_tests::Finished {
    let mut all = vec!["run", "--rm"];
    all.extend_from_slice(options);
    all.extend_from_slice(&["busybox", "sh", "-c", script]);
    node.skep(&all)
}

fn inspect(node: &Node, name: &str, format: &str) -> String {
    node.skep(&["inspect", "--format", format, name]).ok()
}

#[track_caller]
fn nothing_left(node: &Node) {
    wait_until(Duration::from_secs(5), "everything to be gone", || {
        let left = node.leftovers();
        left.is_empty().then_some(()).ok_or(format!("{left:#?}"))
    });
}

#[test]
fn exit_codes_are_dockers() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    let run = |words: &[&str]| {
        let mut all = vec!["run", "--rm", "busybox"];
        all.extend_from_slice(words);
        node.skep(&all)
    };
    assert_eq!(run(&["echo", "hello"]).ok(), "hello");
    run(&["false"]).fails(1);
    run(&["sh", "-c", "exit 42"]).fails(42);
    run(&["sh", "-c", "echo out; echo err >&2; exit 3"]).fails_saying(3, &["err"]);
    run(&["no-such-program"]).fails_saying(127, &["no-such-program", "not found"]);
    run(&["/etc/passwd"]).fails_saying(126, &["/etc/passwd", "permission denied"]);
    run(&["/etc"]).fails(126);
    node.skep(&["run", "-d", "--name", "codes", "busybox", "sleep", "1000"]).ok();
    node.skep(&["exec", "codes", "sh", "-c", "exit 9"]).fails(9);
    node.skep(&["exec", "codes", "no-such-program"]).fails(127);
    node.skep(&["exec", "codes", "/etc/passwd"]).fails(126);
    node.skep(&["kill", "codes"]).ok();
    assert_eq!(node.skep(&["wait", "codes"]).ok(), "137");
    node.skep(&["exec", "codes", "true"]).fails_saying(1, &["container", "not running"]);
    node.skep(&["rm", "codes"]).ok();
    let mut input = program::start(
        node.command(&["run", "--rm", "-i", "busybox", "cat"]).stdin(fs::File::open("/etc/debian_version").unwrap()),
    )
    .unwrap();
    input.is_running();
    let said = input.finish(Duration::from_secs(20)).unwrap().ok();
    assert_eq!(said, fs::read_to_string("/etc/debian_version").unwrap().trim_end());
}

#[test]
fn the_life_of_a_container() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done";
    let id = node.skep(&["create", "--name", "life", "busybox", "sh", "-c", script]).ok();
    assert!(id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    assert_eq!(inspect(node, "life", "{{.State.Status}} {{.State.Running}}"), "created false");
    assert_eq!(node.skep(&["ps", "-q"]).ok(), "");
    assert_eq!(node.skep(&["start", "life"]).ok(), "life");
    let up = || {
        let logs = node.skep(&["logs", "life"]).ok();
        logs.contains("up").then_some(()).ok_or(logs)
    };
    wait_until(Duration::from_secs(10), "the first line", up);
    let listed = node.skep(&["ps"]).ok();
    let mut lines = listed.lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header.join(" "), "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES");
    let line = lines.next().unwrap();
    assert!(line.starts_with(&id[..12]) && line.contains("Up ") && line.ends_with("life"), "{line}");
    assert_eq!(node.skep(&["stop", "life"]).ok(), "life");
    assert_eq!(inspect(node, "life", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
    assert!(node.skep(&["logs", "life"]).ok().ends_with("bye"));
    assert!(node.skep(&["ps", "-a", "--format", "{{.Status}}"]).ok().starts_with("Exited (0) "));
    node.skep(&["restart", "life"]).ok();
    assert_eq!(inspect(node, &id[..6], "{{.State.Status}}"), "running");
    node.skep(&["kill", "-s", "TERM", "life"]).ok();
    assert_eq!(node.skep(&["wait", "life"]).ok(), "0");
    node.skep(&["start", "life"]).ok();
    assert_eq!(node.skep(&["rm", "-f", "life"]).ok(), "life");
    assert_eq!(node.skep(&["ps", "-aq"]).ok(), "");
    nothing_left(node);
}

#[test]
fn options_reach_the_inside() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    assert_eq!(sh(node, &["-e", "A=1 2", "-e", "B=x"], "echo $A$B").ok(), "1 2x");
    assert_eq!(sh(node, &["-w", "/new/place"], "pwd").ok(), "/new/place");
    assert_eq!(
        sh(node, &["-u", "someone"], "id -u; id -g; id -G; echo $HOME").ok(),
        "1000\n1000\n1000 10\n/home/someone"
    );
    assert_eq!(sh(node, &["-u", "1234:5678"], "id -u; id -g").ok(), "1234\n5678");
    assert_eq!(sh(node, &["--hostname", "beehive"], "hostname; cat /etc/hostname").ok(), "beehive\nbeehive");
    assert_eq!(node.skep(&["run", "--rm", "--entrypoint", "echo", "busybox", "a", "b"]).ok(), "a b");
    assert_eq!(sh(node, &["--read-only"], "touch /x 2>/dev/null || echo no").ok(), "no");
    assert_eq!(
        sh(node, &["--read-only", "--tmpfs", "/t:size=1m"], "touch /t/x && df -k /t | tail -1 | awk '{print $2}'").ok(),
        "1024"
    );
    assert_eq!(sh(node, &[], "touch /x && echo yes").ok(), "yes");
    sh(node, &["--pids-limit", "4"], "for i in 1 2 3 4 5 6; do sleep 1 & done").fails_saying(2, &["can't fork"]);
    let limit = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
    assert_eq!(sh(node, &["-m", "64m"], limit).ok(), (64 << 20).to_string());
    let quota = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us";
    assert!(sh(node, &["--cpus", "0.5"], quota).ok().starts_with("50000"));
    let host = lab.directory().join("shared");
    fs::create_dir_all(&host).unwrap();
    fs::write(host.join("file"), "from the host\n").unwrap();
    let host = host.to_str().unwrap();
    assert_eq!(
        sh(node, &["-v", &format!("{host}:/data:ro")], "cat /data/file; touch /data/x 2>/dev/null || echo ro").ok(),
        "from the host\nro"
    );
    let mount = format!("type=bind,source={host},target=/data");
    sh(node, &["--mount", &mount], "echo inside > /data/new").ok();
    assert_eq!(fs::read_to_string(format!("{host}/new")).unwrap(), "inside\n");
    sh(node, &["-v", "named:/data"], "echo kept > /data/file").ok();
    assert_eq!(sh(node, &["-v", "named:/data"], "cat /data/file").ok(), "kept");
    assert_eq!(
        sh(node, &["--mount", "type=tmpfs,target=/t,tmpfs-size=2m"], "grep -c ' /t tmpfs' /proc/mounts").ok(),
        "1"
    );
    node.skep(&["run", "-d", "--name", "labels", "--label", "a=b", "--label", "c", "busybox", "sleep", "1000"]).ok();
    assert_eq!(inspect(node, "labels", "{{json .Config.Labels}}"), r#"{"a":"b","c":""}"#);
    assert_eq!(node.skep(&["ps", "--filter", "label=a=b", "--format", "{{.Names}}"]).ok(), "labels");
    node.skep(&["rm", "-f", "labels"]).ok();
}

fn status(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

#[test]
fn confined_as_docker_confines_and_exec_no_less() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    let own = |options: &[&str]| status(&sh(node, options, "cat /proc/self/status").ok());
    let fields = own(&[]);
    assert_eq!(fields["CapEff"], "00000000a80425fb");
    assert_eq!(fields["CapBnd"], "00000000a80425fb");
    assert_eq!(fields["CapInh"], "0000000000000000");
    assert_eq!(fields["Seccomp"], "2");
    assert_eq!(fields["NoNewPrivs"], "0");
    assert_eq!(own(&["-u", "1000"])["CapEff"], "0000000000000000");
    assert_eq!(own(&["--cap-drop", "ALL"])["CapBnd"], "0000000000000000");
    assert_eq!(own(&["--cap-drop", "ALL", "--cap-add", "CHOWN"])["CapEff"], "0000000000000001");
    assert_eq!(own(&["--security-opt", "no-new-privileges"])["NoNewPrivs"], "1");
    assert_eq!(own(&["--security-opt", "seccomp=unconfined"])["Seccomp"], "0");
    assert_eq!(own(&["--privileged"])["Seccomp"], "0");

    let refused = |script: &str| sh(node, &[], &format!("{script} 2>/dev/null || echo refused")).ok();
    assert_eq!(refused("mount -t tmpfs none /mnt"), "refused");
    assert_eq!(refused("echo 1 > /proc/sys/kernel/sysrq"), "refused");
    assert_eq!(refused("unshare -m true"), "refused");
    assert_eq!(refused("mknod /dev/x b 8 0 && head -c1 /dev/x"), "refused");
    assert_eq!(refused("hostname another"), "refused");
    assert_eq!(sh(node, &[], MASKED).ok(), "0", "what docker masks can be read");
    assert_eq!(sh(node, &[], "ls /proc/self/fd | wc -l").ok(), "4", "a descriptor leaked into the container");

    for options in [
        &["-u", "1000"][..],
        &["--cap-drop", "NET_RAW"],
        &["--security-opt", "no-new-privileges"],
        &["--memory", "64m"],
    ] {
        let mut all = vec!["run", "-d", "--name", "confined"];
        all.extend_from_slice(options);
        all.extend_from_slice(&["busybox", "sleep", "1000"]);
        node.skep(&all).ok();
        let exec = |script: &str| node.skep(&["exec", "confined", "sh", "-c", script]).ok();
        let first = status(&exec("cat /proc/1/status"));
        let joined = status(&exec("cat /proc/self/status"));
        for field in [
            "Uid",
            "Gid",
            "Groups",
            "CapInh",
            "CapPrm",
            "CapEff",
            "CapBnd",
            "CapAmb",
            "NoNewPrivs",
            "Seccomp",
            "Seccomp_filters",
        ] {
            assert_eq!(first[field], joined[field], "{field} with {options:?}");
        }
        assert_eq!(exec("cat /proc/1/cgroup"), exec("cat /proc/self/cgroup"), "with {options:?}");
        let pid = inspect(node, "confined", "{{.State.Pid}}");
        let sleeper = node.spawn(&["exec", "confined", "sleep", "77"]).unwrap();
        let joined = wait_until(Duration::from_secs(10), "the exec'd process", || {
            let is_it = |pid: &i32| words(*pid, "cmdline") == ["sleep", "77"];
            sweep::pids().into_iter().find(is_it).ok_or("not there".to_owned())
        });
        for namespace in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
            let at = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
            assert_eq!(at(&pid), at(&joined.to_string()), "{namespace} with {options:?}");
        }
        node.skep(&["rm", "-f", "confined"]).ok();
        sleeper.finish(Duration::from_secs(10)).unwrap().fails(137);
    }
}

#[test]
fn a_terminal_is_a_real_one() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    let command = node.command(&["run", "--rm", "-it", "--name", "shell", "busybox"]);
    let mut terminal = Terminal::start(&command, 33, 101).unwrap();
    terminal.expect("/ # ").unwrap();
    terminal.send("tty; stty size\n").unwrap();
    terminal.expect("/dev/pts/0").unwrap();
    terminal.expect("33 101").unwrap();
    terminal.resize(44, 120).unwrap();
    wait_until(Duration::from_secs(10), "the new size", || {
        terminal.send("stty size\n").map_err(|error| error.to_string())?;
        terminal.expect("/ # ").map_err(|error| error.to_string())?;
        let screen = terminal.screen();
        screen.contains("44 120").then_some(()).ok_or(screen)
    });
    terminal.send("sleep 1000\n").unwrap();
    wait_until(Duration::from_secs(10), "the sleep to run", || {
        let listed = node.skep(&["exec", "shell", "ps"]).ok();
        listed.contains("sleep 1000").then_some(()).ok_or(listed)
    });
    terminal.send("\u{3}").unwrap();
    terminal.send("echo $?; exit 5\n").unwrap();
    terminal.expect("130").unwrap();
    assert_eq!(terminal.finish().unwrap(), 5);

    node.skep(&["run", "-d", "--name", "host", "busybox", "sleep", "1000"]).ok();
    let command = node.command(&["exec", "-it", "host", "sh"]);
    let mut terminal = Terminal::start(&command, 20, 80).unwrap();
    terminal.send("stty size; exit 6\n").unwrap();
    terminal.expect("20 80").unwrap();
    assert_eq!(terminal.finish().unwrap(), 6);
    node.skep(&["exec", "-t", "host", "true"]).ok();
    node.skep(&["run", "--rm", "-it", "busybox", "true"]).fails_saying(1, &["not a tty"]);
    node.skep(&["rm", "-f", "host"]).ok();
}

#[test]
fn restart_policies_and_health() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    node.skep(&[
        "run",
        "-d",
        "--name",
        "flaky",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        "echo try; exit 3",
    ])
    .ok();
    wait_until(Duration::from_secs(20), "two restarts", || {
        let state = inspect(node, "flaky", "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}");
        (state == "exited 2 3").then_some(()).ok_or(state)
    });
    assert_eq!(node.skep(&["logs", "flaky"]).ok(), "try\ntry\ntry");
    node.skep(&["rm", "flaky"]).ok();

    node.skep(&["run", "-d", "--name", "always", "--restart", "always", "busybox", "sleep", "1000"]).ok();
    let pid = inspect(node, "always", "{{.State.Pid}}");
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    wait_until(Duration::from_secs(20), "a new process", || {
        let state = inspect(node, "always", "{{.State.Status}} {{.State.Pid}}");
        (state.starts_with("running") && state != format!("running {pid}")).then_some(()).ok_or(state)
    });
    node.skep(&["stop", "-t", "0", "always"]).ok();
    assert_eq!(inspect(node, "always", "{{.State.Status}}"), "exited", "stop is stronger than the policy");
    node.skep(&["rm", "always"]).ok();

    let health = ["--health-cmd", "test -e /well", "--health-interval", "200ms", "--health-retries", "2"];
    let mut all = vec!["run", "-d", "--name", "patient"];
    all.extend_from_slice(&health);
    all.extend_from_slice(&["busybox", "sleep", "1000"]);
    node.skep(&all).ok();
    let becomes = |wanted: &str| {
        wait_until(Duration::from_secs(20), wanted, || {
            let health = inspect(node, "patient", "{{.State.Health.Status}}");
            (health == wanted).then_some(()).ok_or(health)
        });
    };
    becomes("unhealthy");
    node.skep(&["exec", "patient", "touch", "/well"]).ok();
    becomes("healthy");
    assert!(node.skep(&["ps", "--filter", "name=patient", "--format", "{{.Status}}"]).ok().contains("(healthy)"));
    node.skep(&["rm", "-f", "patient"]).ok();
}

#[test]
fn logs_are_kept_followed_and_cut() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    let script = "for i in 1 2 3 4 5; do echo line $i; done; sleep 0.2; echo err >&2; sleep 0.2; printf partial";
    node.skep(&["run", "--name", "logs", "busybox", "sh", "-c", script]).ok();
    let logs = node.skep(&["logs", "logs"]);
    assert_eq!(logs.stdout, "line 1\nline 2\nline 3\nline 4\nline 5\npartial");
    assert_eq!(logs.stderr, "err\n");
    let last = node.skep(&["logs", "--tail", "3", "logs"]);
    assert_eq!(format!("{}{}", last.stderr, last.stdout), "err\nline 5\npartial");
    let stamped = node.skep(&["logs", "-t", "--tail", "1", "logs"]).ok();
    assert!(stamped.ends_with("Z partial") && stamped.contains('T'), "{stamped}");
    node.skep(&["rm", "logs"]).ok();
    let script = "echo one; sleep 0.5; echo two";
    node.skep(&["run", "-d", "--name", "followed", "busybox", "sh", "-c", script]).ok();
    assert_eq!(node.skep(&["logs", "-f", "followed"]).ok(), "one\ntwo");
    node.skep(&["rm", "followed"]).ok();
}

#[test]
fn networks_ports_and_names() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    node.skep(&["run", "-d", "--name", "web", "-p", "8080:80", "nginx:alpine"]).ok();
    let welcome = tutorial::welcome("alpine");
    let page = || {
        let page = swarm::fetch(node, node, 8080, "/")?;
        page.contains(&welcome).then_some(()).ok_or(page)
    };
    wait_until(Duration::from_secs(10), "the published port", page);
    // From another machine too: the switch has an address of its own.
    let there = node.at(8080);
    let seen = lab.switch.inside(move || skep_tests::http::get(there, "/client")).unwrap();
    assert_eq!(seen.text().trim(), lab.gateway().to_string(), "the client's address is hidden");
    assert_eq!(
        node.skep(&["ps", "--format", "{{.Ports}}"]).ok(),
        "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp".replace(", [::]:8080->80/tcp", "")
    );
    let address = inspect(node, "web", "{{.NetworkSettings.IPAddress}}");
    let get = format!("wget -q -O - http://{address}/");
    assert!(sh(node, &[], &get).ok().contains(&welcome), "container to container");
    // Out to the rest of the network, by the address of the node.
    let registry = format!("wget -q -O - http://{}/v2/", lab.registry.address);
    assert_eq!(sh(node, &[], &registry).ok(), "{}");
    assert_eq!(sh(node, &["--network", "none"], "ip -o link | wc -l").ok(), "1");
    assert!(sh(node, &["--network", "host"], "ip -o address").ok().contains(&node.address.to_string()));
    assert_eq!(sh(node, &["--network", "container:web"], "ip -o -4 address show eth0 | grep -c inet").ok(), "1");
    assert!(sh(node, &["--network", "container:web"], "wget -q -O - http://127.0.0.1/").ok().contains(&welcome));

    node.skep(&["network", "create", "--subnet", "172.30.0.0/24", "mine"]).ok();
    node.skep(&["run", "-d", "--name", "named", "--network", "mine", "nginx"]).ok();
    assert!(inspect(node, "named", "{{.NetworkSettings.Networks.mine.IPAddress}}").starts_with("172.30.0."));
    let by_name = sh(node, &["--network", "mine"], "wget -q -O - http://named/").ok();
    assert!(by_name.contains(&tutorial::welcome("latest")), "{by_name}");
    let elsewhere = sh(node, &[], "timeout 3 nslookup named > /dev/null 2>&1 || echo unknown").ok();
    assert_eq!(elsewhere, "unknown", "names are of a network");
    let listed = node.skep(&["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]).ok();
    for network in ["bridge bridge local", "host host local", "none null local", "mine bridge local"] {
        assert!(listed.contains(network), "{listed}");
    }
    node.skep(&["rm", "-f", "web", "named"]).ok();
    node.skep(&["network", "rm", "mine"]).ok();
    assert!(swarm::fetch(node, node, 8080, "/").is_err(), "the port outlives its container");
    nothing_left(node);
}

#[test]
fn twenty_at_once() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    node.skep(&["pull", "busybox"]).ok();
    let runs: Vec<_> =
        (0..20).map(|number| node.spawn(&["run", "--rm", "busybox", "echo", &number.to_string()]).unwrap()).collect();
    for (number, run) in runs.into_iter().enumerate() {
        assert_eq!(run.finish(Duration::from_secs(60)).unwrap().ok(), number.to_string());
    }
    assert_eq!(node.skep(&["ps", "-aq"]).ok(), "");
    nothing_left(node);
}

/// The processes of this node that carry `word` in their command line.
fn processes(node: &Node, word: &str) -> Vec<i32> {
    sweep::pids()
        .into_iter()
        .filter(|pid| leaks::belongs(*pid, &node.run_root))
        .filter(|pid| words(*pid, "cmdline").iter().any(|part| part.contains(word)))
        .collect()
}

#[test]
fn killed_processes_leave_nothing_that_is_not_healed() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    node.skep(&["pull", "busybox"]).ok();
    // The shim: its container is not running any more, whoever asks.
    let id = node.skep(&["run", "-d", "--name", "orphan", "busybox", "sleep", "1000"]).ok();
    let init: i32 = inspect(node, "orphan", "{{.State.Pid}}").parse().unwrap();
    let shims: Vec<i32> = processes(node, &id).into_iter().filter(|pid| *pid != init).collect();
    assert!(!shims.is_empty(), "no shim names its container in its command line");
    for pid in shims {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    wait_until(Duration::from_secs(10), "the container to be seen as ended", || {
        let state = inspect(node, "orphan", "{{.State.Status}}");
        (state == "exited").then_some(()).ok_or(state)
    });
    wait_until(Duration::from_secs(10), "the container's process to be gone", || {
        let state = fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(()).ok_or(state)
    });
    node.skep(&["start", "orphan"]).ok();
    assert_eq!(node.skep(&["exec", "orphan", "echo", "back"]).ok(), "back");
    node.skep(&["rm", "-f", "orphan"]).ok();
    nothing_left(node);

    // The client, at any moment of a run: the next commands work, and what is left can be removed.
    for delay in [2, 5, 10, 20, 40, 80] {
        let name = format!("cut{delay}");
        let run = node.spawn(&["run", "-d", "--name", &name, "busybox", "sleep", "1000"]).unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        kill(Pid::from_raw(i32::try_from(run.pid()).unwrap()), Signal::SIGKILL).unwrap();
        run.finish(Duration::from_secs(10)).unwrap();
        let removed = node.skep(&["rm", "-f", &name]);
        assert!(removed.code == 0 || removed.stderr.contains("No such container"), "{removed}");
        node.skep(&["run", "--rm", "--name", &name, "busybox", "true"]).ok();
    }
    assert_eq!(node.skep(&["ps", "-aq"]).ok(), "");
    nothing_left(node);
}

#[test]
fn flags_place_a_node_as_the_environment_does() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let flags = |words: &[&str]| {
        let mut command = Command::new("/usr/bin/nsenter");
        command.arg(format!("--net={}", node.namespace.net.display()));
        command.arg(format!("--uts={}", node.namespace.uts.display()));
        command.arg(skep::binary().unwrap());
        command.arg("--root").arg(&node.root).arg("--run-root").arg(&node.run_root);
        command.args(["--cgroup-parent", &node.cgroup_parent]).args(words);
        command.env_clear().env("PATH", "").env("CONTAINERS_REGISTRIES_CONF", &node.registries);
        program::run(&mut command).unwrap()
    };
    flags(&["run", "-d", "--name", "placed", "busybox", "sleep", "1000"]).ok();
    assert_eq!(node.skep(&["ps", "--format", "{{.Names}}"]).ok(), "placed");
    let pid = inspect(node, "placed", "{{.State.Pid}}");
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroup.contains(&format!(":{}/", node.cgroup_parent)), "{cgroup}");
    flags(&["rm", "-f", "placed"]).ok();
    let address = node.address.to_string();
    flags(&["swarm", "init", "--advertise-addr", &address]).ok();
    let agent = node.agents();
    assert_eq!(agent.len(), 1, "`agent` and the run root stand in its command line or environment");
    for (name, file) in [("net", &node.namespace.net), ("uts", &node.namespace.uts)] {
        let own = std::path::PathBuf::from(format!("/proc/{}/ns/{name}", agent[0]));
        assert_eq!(identity(&own), identity(file), "the agent has left the {name} namespace");
    }
    flags(&["swarm", "leave", "--force"]).ok();
    nothing_left(node);
}

#[test]
fn start_and_exec_under_an_emulated_4_18_kernel() {
    let lab = Lab::new(1).unwrap();
    let node = lab.node(1);
    let old = |words: &[&str]| {
        let inner = node.command(words);
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep-old-kernel"));
        command.arg(inner.get_program()).args(inner.get_args()).env_clear();
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        program::run(&mut command).unwrap()
    };
    old(&["pull", "busybox"]).ok();
    assert_eq!(old(&["run", "--rm", "busybox", "echo", "hello"]).ok(), "hello");
    old(&["run", "-d", "--name", "old", "-m", "64m", "--read-only", "-v", "vol:/vol", "busybox", "sleep", "1000"]).ok();
    let inside = status(&old(&["exec", "old", "cat", "/proc/self/status"]).ok());
    assert_eq!(inside["CapEff"], "00000000a80425fb");
    assert_eq!(inside["Seccomp"], "2");
    assert_eq!(old(&["exec", "-u", "1000", "old", "id", "-u"]).ok(), "1000");
    assert_eq!(old(&["exec", "old", "sh", "-c", MASKED]).ok(), "0");
    old(&["stop", "-t", "0", "old"]).ok();
    old(&["start", "old"]).ok();
    old(&["rm", "-f", "old"]).ok();
    nothing_left(node);
}

#[test]
fn refusals_say_what_is_wrong() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    assert_eq!(node.skep(&["run", "--rm", "-u", "5:6", "--group-add", "77", "busybox", "id", "-G"]).ok(), "6 77");
    assert!(node.skep(&["run", "--rm", "busybox", "id"]).ok().starts_with("uid=0(root) gid=0(root) groups=0(root)"));
    let id = node.skep(&["create", "--name", "", "busybox"]).ok();
    assert_ne!(inspect(node, &id, "{{.Name}}"), "/");
    node.skep(&["port", &id, "81"]).fails_saying(1, &["No public port '81' published for"]);
    node.skep(&["rm", &id]).ok();
    for (flags, said) in [
        (["--network", "container:nono"], "No such container: nono"),
        (["--volumes-from", "nono"], "No such container: nono"),
        (["--cpuset-cpus", "7777"], "Requested CPUs are not available - requested 7777, available: 0"),
        (["--platform", "linux/mips64"], "linux/mips64"),
        (["--dns", "foo"], "foo is not an ip address"),
    ] {
        let words: Vec<&str> = ["run", "--rm"].into_iter().chain(flags).chain(["busybox", "true"]).collect();
        node.skep(&words).fails_saying(125, &[said]);
    }
    let never = ["run", "--rm", "--pull", "never", "--platform", "linux/mips64", "busybox", "true"];
    node.skep(&never).fails_saying(125, &["does not match the specified platform (linux/mips64)"]);
    let limits = ["run", "--rm", "-m", "100m", "--memory-reservation", "500m", "busybox", "true"];
    node.skep(&limits).fails_saying(125, &["can not be less than memory reservation limit"]);
}

#[test]
fn interrupts_pass_a_terminal_without_input() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    let script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done";
    let command = node.command(&["run", "--rm", "-t", "--name", "deaf", "busybox", "sh", "-c", script]);
    let mut terminal = Terminal::start(&command, 24, 80).unwrap();
    terminal.expect("ready\r").unwrap();
    terminal.send("\u{3}").unwrap();
    terminal.expect("caught").unwrap();
    assert_eq!(terminal.finish().unwrap(), 7);
}

#[test]
fn forced_removals_at_the_same_time_agree() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    for _ in 0..5 {
        node.skep(&["run", "-d", "--name", "wanted-away", "busybox", "sleep", "1000"]).ok();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| node.skep(&["rm", "-f", "wanted-away"]).ok());
            }
        });
    }
}
