//! What every command does when nothing goes wrong, and what it refuses.

use std::io::{PipeReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};
use skep_runtime::config::{CgroupLimits, HealthCheck, Limits, LogConfig, RestartPolicy};
use skep_runtime::state::{HealthStatus, Status};
use skep_runtime::{Error, ExecOptions, LogOptions, LogStream, RemoveOptions, StopOptions, Update, WaitCondition};

use crate::fixture::{Case, Node, bind, is_running, is_there, volume};

pub(crate) const ALL: &[Case] = &[
    ("output_and_exit_code_are_kept", output_and_exit_code_are_kept),
    ("a_foreground_run_misses_nothing", a_foreground_run_misses_nothing),
    ("input_reaches_the_container_and_ends", input_reaches_the_container_and_ends),
    ("exec_runs_in_the_container", exec_runs_in_the_container),
    ("a_program_that_is_not_there_is_said", a_program_that_is_not_there_is_said),
    ("stop_asks_then_kills", stop_asks_then_kills),
    ("a_real_time_signal_ends_it_like_any_other", a_real_time_signal_ends_it_like_any_other),
    ("the_rest_ends_with_the_first_process", the_rest_ends_with_the_first_process),
    ("the_restart_policy_counts", the_restart_policy_counts),
    ("health_is_found_out", health_is_found_out),
    ("names_are_unique_and_found_by_prefix", names_are_unique_and_found_by_prefix),
    ("volumes_are_filled_kept_and_removed", volumes_are_filled_kept_and_removed),
    ("the_umask_of_the_user_stays_outside", the_umask_of_the_user_stays_outside),
    ("a_container_to_be_removed_is", a_container_to_be_removed_is),
    ("pause_and_unpause", pause_and_unpause),
    ("logs_follow_and_rotate", logs_follow_and_rotate),
    ("limits_hold_and_change", limits_hold_and_change),
    ("removal_is_refused_while_running", removal_is_refused_while_running),
    ("a_terminal_is_one", a_terminal_is_one),
    ("a_program_that_is_left_is_not_hung_up_on", a_program_that_is_left_is_not_hung_up_on),
    ("what_stays_behind_holds_nothing_of_the_callers", what_stays_behind_holds_nothing_of_the_callers),
];

fn output_and_exit_code_are_kept(node: &Node) {
    let id = node.run(&node.shell("echo out; echo err >&2; printf part; exit 7"));
    assert_eq!(node.runtime.wait(&id, WaitCondition::NotRunning).unwrap(), 7);
    let state = node.state(&id);
    // The shim may still be tearing down.
    assert_eq!((state.status, state.exit_code, state.init), (Status::Exited, 7, None));
    assert_eq!(node.log(&id, LogStream::Stdout), "out\npart");
    assert_eq!(node.log(&id, LogStream::Stderr), "err\n");
    assert!(node.runtime.list(false).unwrap().is_empty());
    assert_eq!(node.runtime.list(true).unwrap()[0].id, id);
    // It starts again, and again from the files it had.
    node.runtime.start(&id).unwrap();
    node.runtime.wait(&id, WaitCondition::NotRunning).unwrap();
    assert_eq!(node.log(&id, LogStream::Stdout), "out\npartout\npart");
}

fn a_foreground_run_misses_nothing(node: &Node) {
    let id = node.create(&node.shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 3"));
    let output = node.helper("__start", &id, &[]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 20000);
    assert!(text.ends_with("line 19999\n"));
}

fn input_reaches_the_container_and_ends(node: &Node) {
    let mut config = node.config(&["cat"]);
    (config.stdin_open, config.stdin_once) = (true, true);
    let id = node.create(&config);
    let mut child = node.helper("__start", &id, &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let text = vec![b'x'; 1 << 20];
    let mut stdin = child.stdin.take().unwrap();
    let sent = text.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == text, "{} of {} bytes came back", output.stdout.len(), text.len());
}

fn exec_runs_in_the_container(node: &Node) {
    let mut config = node.config(&["sleep", "1000"]);
    config.env = vec!["MINE=1".to_owned()];
    config.hostname = Some("hive".to_owned());
    let id = node.run(&config);
    let output = node.exec(&id, &["sh", "-c", "hostname; echo $MINE$FROM; echo $$ >&2; exit 5"]);
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hive\n1image\n");
    assert_eq!(node.exec(&id, &["/no/such"]).status.code(), Some(127));
    let mut command = node.helper("__execute", &id, &["i", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"through");
    node.runtime.stop(&id, &StopOptions { signal: None, timeout: Some(0) }).unwrap();
    let output = node.exec(&id, &["true"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not running"));
}

fn a_program_that_is_not_there_is_said(node: &Node) {
    for (program, code) in [("/no/such/program", 127), ("nonesuch", 127), ("/etc/passwd", 126), ("/etc", 126)] {
        let id = node.create(&node.config(&[program]));
        let error = node.runtime.start(&id).unwrap_err();
        assert_eq!(error.exit_code(), code, "{program}: {error}");
        assert!(error.to_string().contains(program), "{error}");
        let state = node.state(&id);
        assert_eq!((state.status, state.exit_code), (Status::Created, code));
        assert!(state.error.contains(program));
    }
    let error = node.runtime.create(&node.config(&["x"]).clone_with_image("nonesuch")).unwrap_err();
    assert!(error.to_string().contains("No such image: nonesuch"), "{error}");
}

trait WithImage {
    fn clone_with_image(self, image: &str) -> Self;
}

impl WithImage for skep_runtime::config::ContainerConfig {
    fn clone_with_image(mut self, image: &str) -> Self {
        image.clone_into(&mut self.image);
        self
    }
}

fn stop_asks_then_kills(node: &Node) {
    let polite = node.run(&node.shell("trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.1; done"));
    node.until_printed(&polite, "ready");
    node.runtime.stop(&polite, &StopOptions::default()).unwrap();
    assert_eq!(node.state(&polite).exit_code, 4);
    let deaf = node.run(&node.shell("trap '' TERM; echo ready; while :; do sleep 0.1; done"));
    node.until_printed(&deaf, "ready");
    node.runtime.stop(&deaf, &StopOptions { signal: None, timeout: Some(1) }).unwrap();
    assert_eq!(node.state(&deaf).exit_code, 137);
    let killed = node.run(&node.config(&["sleep", "1000"]));
    node.runtime.kill(&killed, "KILL").unwrap();
    assert_eq!(node.runtime.wait(&killed, WaitCondition::NotRunning).unwrap(), 137);
    assert!(matches!(node.runtime.kill(&killed, "KILL"), Err(Error::NotRunning(_))));
    assert!(matches!(node.runtime.kill(&killed, "NOPE"), Err(Error::InvalidSignal(_))));
}

fn a_real_time_signal_ends_it_like_any_other(node: &Node) {
    let mut config = node.config(&["sleep", "1000"]);
    // The first process of a namespace is not killed by any signal but SIGKILL.
    config.pid_mode = "host".to_owned();
    let id = node.run(&config);
    let output = node.exec(&id, &["sh", "-c", "kill -40 $$"]);
    assert_eq!(output.status.code(), Some(168), "{}", String::from_utf8_lossy(&output.stderr));
    node.runtime.kill(&id, "40").unwrap();
    assert_eq!(node.runtime.wait(&id, WaitCondition::NotRunning).unwrap(), 168);
    assert_eq!(node.state(&id).status, Status::Exited);
}

fn the_rest_ends_with_the_first_process(node: &Node) {
    let mut config = node.shell("yes & exit 3");
    config.pid_mode = "host".to_owned();
    config.log.driver = "none".to_owned();
    let id = node.run(&config);
    assert_eq!(node.runtime.wait(&id, WaitCondition::NotRunning).unwrap(), 3);
}

fn the_restart_policy_counts(node: &Node) {
    let mut config = node.shell("echo life; exit 9");
    config.restart = RestartPolicy::OnFailure(2);
    let id = node.run(&config);
    assert_eq!(node.runtime.wait(&id, WaitCondition::NotRunning).unwrap(), 9);
    assert_eq!(node.state(&id).restart_count, 2);
    assert_eq!(node.log(&id, LogStream::Stdout), "life\nlife\nlife\n");
    config = node.shell("exit 0");
    config.restart = RestartPolicy::Always;
    let id = node.run(&config);
    node.until(&id, |state| state.restart_count > 1);
    node.runtime.stop(&id, &StopOptions::default()).unwrap();
    let state = node.state(&id);
    assert_eq!((state.status, state.stopped_by_user), (Status::Exited, true));
}

fn health_is_found_out(node: &Node) {
    let mut config = node.config(&["sleep", "1000"]);
    config.health = Some(HealthCheck {
        test: vec!["CMD-SHELL".to_owned(), "echo looked; test ! -e /sick".to_owned()],
        interval_ns: 100_000_000,
        retries: 2,
        ..HealthCheck::default()
    });
    let id = node.run(&config);
    let is = |wanted: HealthStatus| {
        move |state: &skep_runtime::state::ContainerState| state.health.as_ref().is_some_and(|h| h.status == wanted)
    };
    let state = node.until(&id, is(HealthStatus::Healthy));
    assert_eq!(state.health.unwrap().log[0].output, "looked\n");
    assert_eq!(node.exec(&id, &["touch", "/sick"]).status.code(), Some(0));
    let state = node.until(&id, is(HealthStatus::Unhealthy));
    assert!(state.health.unwrap().failing_streak >= 2);
    let listed = node.runtime.list(false).unwrap().remove(0);
    assert_eq!(listed.state.health.map(|health| health.status), Some(HealthStatus::Unhealthy));
}

fn names_are_unique_and_found_by_prefix(node: &Node) {
    let mut config = node.config(&["true"]);
    config.name = Some("web".to_owned());
    let id = node.create(&config);
    let error = node.runtime.create(&config).unwrap_err().to_string();
    let expected = format!(
        "Conflict. The container name \"/web\" is already in use by container \"{id}\". You have to remove (or rename) \
         that container to be able to reuse that name."
    );
    assert_eq!(error, expected);
    for name in ["web", "/web", &id[..12], &id] {
        assert_eq!(node.runtime.resolve(name).unwrap(), id, "{name}");
    }
    assert_eq!(node.runtime.resolve("nope").unwrap_err().to_string(), "No such container: nope");
    node.runtime.rename("web", "api").unwrap();
    assert!(node.runtime.resolve("web").is_err());
    assert_eq!(node.runtime.details("api").unwrap().record.name, "api");
    let other = node.create(&config);
    assert!(matches!(node.runtime.rename("api", "web"), Err(Error::NameConflict { .. })));
    node.runtime.remove(&other, &RemoveOptions::default()).unwrap();
    node.runtime.rename("api", "web").unwrap();
    config.name = Some("-bad".to_owned());
    assert!(matches!(node.runtime.create(&config), Err(Error::InvalidName(_))));
    assert_eq!(node.runtime.list(true).unwrap().len(), 1);
}

fn volumes_are_filled_kept_and_removed(node: &Node) {
    let mut config =
        node.shell("cat /data/file && stat -c %a:%u /data/file && readlink /data/sub/link && echo x > /data/new");
    config.mounts = vec![volume("honey", "/data"), volume("", "/scratch")];
    let id = node.run(&config);
    node.runtime.wait(&id, WaitCondition::NotRunning).unwrap();
    assert_eq!(node.log(&id, LogStream::Stdout), "from the image640:1000\nfile\n");
    let volumes = node.runtime.volumes();
    assert_eq!(std::fs::read_to_string(volumes.get("honey").unwrap().mountpoint.join("new")).unwrap(), "x\n");
    assert_eq!(volumes.list().unwrap().len(), 2);
    let error = volumes.remove("honey", false).unwrap_err().to_string();
    assert_eq!(error, format!("remove honey: volume is in use - [{id}]"));
    node.runtime.remove(&id, &RemoveOptions { force: false, volumes: true }).unwrap();
    assert_eq!(volumes.list().unwrap().len(), 1);
    volumes.remove("honey", false).unwrap();
    assert_eq!(volumes.remove("honey", false).unwrap_err().to_string(), "get honey: no such volume");
    let mut config = node.config(&["true"]);
    config.mounts = vec![bind(Path::new("/no/such/directory"), "/x", false)];
    let error = node.runtime.create(&config).unwrap_err().to_string();
    assert!(error.contains("bind source path does not exist: /no/such/directory"), "{error}");
}

fn the_umask_of_the_user_stays_outside(node: &Node) {
    let made = node.directory.path().join("made/for/it");
    let mut config = node.shell("cat /etc/resolv.conf /etc/hosts /etc/hostname >/dev/null && ls /made && umask");
    config.user = Some("1000".to_owned());
    config.mounts = vec![bind(&made, "/made", true)];
    let before = umask(Mode::from_bits_truncate(0o077));
    let id = node.run(&config);
    umask(before);
    assert_eq!(node.runtime.wait(&id, WaitCondition::NotRunning).unwrap(), 0, "{}", node.log(&id, LogStream::Stderr));
    assert_eq!(node.log(&id, LogStream::Stdout), "0022\n");
    for directory in [made.as_path(), made.parent().unwrap()] {
        assert_eq!(std::fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o755);
    }
}

fn a_container_to_be_removed_is(node: &Node) {
    let mut config = node.shell("exit 6");
    config.auto_remove = true;
    config.mounts = vec![volume("", "/scratch")];
    let id = node.create(&config);
    let output = node.helper("__start", &id, &[]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(node.runtime.list(true).unwrap().is_empty());
    assert!(node.runtime.volumes().list().unwrap().is_empty());
    config.cmd = vec!["/no/such".to_owned()];
    let id = node.create(&config);
    assert_eq!(node.runtime.start(&id).unwrap_err().exit_code(), 127);
    assert!(node.runtime.list(true).unwrap().is_empty());
}

fn pause_and_unpause(node: &Node) {
    let id = node.run(&node.config(&["sleep", "1000"]));
    node.runtime.pause(&id).unwrap();
    assert_eq!(node.state(&id).status, Status::Paused);
    assert!(matches!(node.runtime.pause(&id), Err(Error::AlreadyPaused(_))));
    assert!(String::from_utf8_lossy(&node.exec(&id, &["true"]).stderr).contains("is paused"));
    node.runtime.unpause(&id).unwrap();
    assert!(is_running(&node.state(&id)));
    node.runtime.pause(&id).unwrap();
    node.runtime.stop(&id, &StopOptions { signal: None, timeout: Some(0) }).unwrap();
    assert_eq!(node.state(&id).status, Status::Exited);
}

fn logs_follow_and_rotate(node: &Node) {
    let mut config = node.shell("i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; read x < /fifo");
    config.cmd[2] = format!("mkfifo /fifo; {}", config.cmd[2]);
    let options = [("max-size".to_owned(), "4k".to_owned()), ("max-file".to_owned(), "3".to_owned())];
    config.log = LogConfig { driver: "json-file".to_owned(), options: options.into() };
    let id = node.run(&config);
    node.until_printed(&id, "line 299");
    let follow = LogOptions { follow: true, tail: Some(2), ..LogOptions::default() };
    let mut reader = node.runtime.logs(&id, follow).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().line, b"line 298\n");
    assert_eq!(reader.next().unwrap().unwrap().line, b"line 299\n");
    // It lets the container's first process end, and is killed with it if that is faster.
    let let_go = node.exec(&id, &["sh", "-c", "echo go > /fifo"]).status.code();
    assert!(matches!(let_go, Some(0 | 137)), "{let_go:?}");
    assert!(reader.next().is_none());
    let directory = node.runtime.roots().root.join("containers").join(&id);
    let files = std::fs::read_dir(directory).unwrap().flatten();
    let logs = files.filter(|entry| entry.file_name().to_string_lossy().contains("-json.log")).count();
    assert_eq!(logs, 3);
    config.log.driver = "none".to_owned();
    config.log.options.clear();
    let silent = node.create(&config);
    assert!(matches!(node.runtime.logs(&silent, LogOptions::default()), Err(Error::LogNotReadable)));
}

fn limits_hold_and_change(node: &Node) {
    let mut config = node.shell("cat /dev/zero | tail");
    let limits = |memory, pids| Limits {
        cgroup: CgroupLimits { memory: Some(memory), pids, ..CgroupLimits::default() },
        ..Limits::default()
    };
    config.limits = limits(16 << 20, Some(50));
    let id = node.run(&config);
    node.runtime.wait(&id, WaitCondition::NotRunning).unwrap();
    assert!(node.state(&id).oom_killed);
    let idle = node.run(&node.config(&["sleep", "1000"]));
    let update = Update { limits: limits(32 << 20, None), restart: None };
    node.runtime.update(&idle, &update).unwrap();
    let sample = node.runtime.stats(&idle).unwrap();
    assert_eq!(sample.cgroup.unwrap().memory_limit, 32 << 20);
    assert_eq!(node.runtime.top(&idle).unwrap()[0].command, "sleep 1000");
}

fn removal_is_refused_while_running(node: &Node) {
    let mut config = node.config(&["sleep", "1000"]);
    config.name = Some("busy".to_owned());
    let id = node.run(&config);
    let pid = node.state(&id).init.unwrap().pid;
    let error = node.runtime.remove("busy", &RemoveOptions::default()).unwrap_err().to_string();
    let expected =
        "cannot remove container \"/busy\": container is running: stop the container before removing or force remove";
    assert_eq!(error, expected);
    node.runtime.remove("busy", &RemoveOptions { force: true, volumes: false }).unwrap();
    assert!(!is_there(pid));
    assert!(node.runtime.resolve("busy").is_err());
}

fn a_terminal_is_one(node: &Node) {
    let mut config = node.shell("tty; stty size; exit 2");
    (config.tty, config.stdin_open, config.terminal_size) = (true, true, Some((33, 77)));
    let id = node.create(&config);
    let output = node.helper("__start", &id, &[]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/dev/pts/0\r\n33 77\r\n");
}

fn a_program_that_is_left_is_not_hung_up_on(node: &Node) {
    let id = node.run(&node.config(&["sleep", "1000"]));
    // More than a terminal holds: somebody has to read it.
    let script = "trap 'touch /hup' HUP; sleep 1; yes | head -c 100000; touch /survived; sleep 1000";
    let output = node.helper("__execute", &id, &["dt", "sh", "-c", script]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let ps = || String::from_utf8(node.exec(&id, &["ps"]).stdout).unwrap();
    let exists = |path: &str| node.exec(&id, &["test", "-e", path]).status.success();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !exists("/survived") && !exists("/hup") {
        assert!(Instant::now() < deadline, "it was ended: {}", ps());
    }
    assert!(!exists("/hup"));
}

/// Whether anybody but this process still holds the end of a pipe to write into.
fn is_held(reader: &mut PipeReader) -> bool {
    let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap();
    !fds[0].revents().unwrap().contains(PollFlags::POLLHUP)
}

/// As a script's `exec 3>&1; id=$(skep run -d …)`, which ends when the last writer is gone.
fn what_stays_behind_holds_nothing_of_the_callers(node: &Node) {
    let leaking = || {
        let (reader, writer) = std::io::pipe().unwrap();
        // Not close-on-exec, unlike everything that the library opens.
        fcntl(&writer, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        (reader, writer)
    };
    let (mut reader, writer) = leaking();
    let id = node.run(&node.config(&["sleep", "1000"]));
    drop(writer);
    assert!(!is_held(&mut reader), "the shim, or its container, holds what its starter had open");

    let (mut reader, writer) = leaking();
    let options = ExecOptions { args: vec!["sleep".to_owned(), "1000".to_owned()], ..ExecOptions::default() };
    for tty in [false, true] {
        node.runtime.exec_detached(&id, &ExecOptions { tty, ..options.clone() }).unwrap();
    }
    drop(writer);
    assert!(!is_held(&mut reader), "a program that was left, or its keeper, holds what its starter had open");
}
