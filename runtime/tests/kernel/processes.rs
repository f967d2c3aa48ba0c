//! Programs, users, terminals, exit codes, and what is said when it goes wrong.

use std::fs;

use skep_runtime::kernel::{KernelConfig, Ulimit};

use crate::Case;
use crate::lab::{Lab, process};

pub(crate) const CASES: &[Case] = &[
    ("processes::exit_codes_are_those_of_the_program", exit_codes_are_those_of_the_program),
    ("processes::programs_that_cannot_run_are_named_in_dockers_words", programs_that_cannot_run),
    ("processes::users_groups_and_homes", users_groups_and_homes),
    ("processes::numbers_are_ids_whatever_the_image_calls_root", numbers_are_ids_whatever_the_image_calls_root),
    ("processes::working_directories", working_directories),
    ("processes::terminals", terminals),
    ("processes::interrupts_reach_the_foreground", interrupts_reach_the_foreground),
    ("processes::streams_belong_to_the_user", streams_belong_to_the_user),
    ("processes::limits_and_masks", limits_and_masks),
    ("processes::many_executed_at_once", many_executed_at_once),
    ("processes::shim_starts_again_and_executes_itself", shim_starts_again_and_executes_itself),
];

fn exit_codes_are_those_of_the_program(lab: &Lab) {
    let running = lab.start(&lab.config(&["sleep", "600"])).up();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        assert_eq!(running.exec_script(script).code, Some(code), "exec {script}");
    }
    assert_eq!(lab.script("exit 0").code, Some(0));
    assert_eq!(lab.script("exit 42").code, Some(42));
    assert_eq!(running.stop().code, Some(137));
}

fn programs_that_cannot_run(lab: &Lab) {
    let running = lab.start(&lab.config(&["sleep", "600"])).up();
    for (program, message, code) in [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH", 127),
        ("/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory", 127),
        ("/etc", "exec: \"/etc\": is a directory", 126),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied", 126),
        ("/opt/broken", "exec /opt/broken: no such file or directory", 127),
    ] {
        let outcome = lab.run(&lab.config(&[program]));
        assert_eq!((outcome.failure(), outcome.error_code), (message, code), "start");
        let outcome = running.exec(process(&[program]));
        assert_eq!((outcome.failure(), outcome.error_code), (message, code), "exec");
    }
    running.stop();
    assert!(lab.run(&lab.config(&[])).failure().contains("no command specified"));
}

fn users_groups_and_homes(lab: &Lab) {
    let running = lab.start(&lab.config(&["sleep", "600"])).up();
    for (user, groups, expected) in [
        ("", &[][..], "0 0 0 /root"),
        ("web", &[], "1000 1000 1000 44 /home/web"),
        ("web:log", &[], "1000 44 44 /home/web"),
        ("4711:12", &["log", "99"], "4711 12 12 44 99 /"),
    ] {
        let mut process = process(&["sh", "-c", "echo $(id -u) $(id -g) $(id -G) $HOME"]);
        process.user.spec = user.to_owned();
        process.user.additional_groups = groups.iter().map(|name| (*name).to_owned()).collect();
        let mut config = lab.config(&[]);
        config.process = process.clone();
        assert_eq!(lab.run(&config).text(), expected, "start");
        assert_eq!(running.exec(process).text(), expected, "exec");
    }
    for (user, message) in [
        ("nobody-here", "unable to find user nobody-here: no matching entries in passwd file"),
        ("web:nogroup", "unable to find group nogroup: no matching entries in group file"),
        ("4294967296", "uids and gids must be in range 0-2147483647, not 4294967296"),
    ] {
        let mut process = process(&["true"]);
        process.user.spec = user.to_owned();
        let mut config = lab.config(&[]);
        config.process = process.clone();
        assert_eq!(lab.run(&config).failure(), message);
        assert_eq!(running.exec(process).failure(), message);
    }
    // Files of the image that nobody should wait for, or read to their end.
    let outcome = running.exec_script("rm /etc/passwd && mknod /etc/passwd p");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(running.exec_script("echo $HOME").text(), "/");
    running.stop();
}

fn numbers_are_ids_whatever_the_image_calls_root(lab: &Lab) {
    let etc = lab.path("layers/misnamed/etc");
    fs::create_dir_all(&etc).unwrap();
    let passwd = "1000:x:0:0::/root:/bin/sh\n+1000:x:0:0::/root:/bin/sh\nalice:x:1001:1001::/home/alice:/bin/sh\n";
    fs::write(etc.join("passwd"), passwd).unwrap();
    fs::write(etc.join("group"), "2000:x:0:\n3000:x:0:1000\nalice:x:1001:\n").unwrap();
    let misnamed = |mut config: KernelConfig| {
        config.rootfs.lower = vec!["misnamed".to_owned(), "base".to_owned()];
        config
    };
    let running = lab.start(&misnamed(lab.config(&["sleep", "600"]))).up();
    for (user, groups, expected) in [
        ("1000", &[][..], "1000 0 0 /"),
        ("+1000", &[], "1000 0 0 /"),
        ("1000:2000", &[], "1000 2000 2000 /"),
        ("alice:2000", &[], "1001 2000 2000 /home/alice"),
        ("alice", &["2000", "3000"], "1001 1001 1001 2000 3000 /home/alice"),
    ] {
        let mut process = process(&["sh", "-c", "echo $(id -u) $(id -g) $(id -G) $HOME"]);
        process.user.spec = user.to_owned();
        process.user.additional_groups = groups.iter().map(|name| (*name).to_owned()).collect();
        let mut config = misnamed(lab.config(&[]));
        config.process = process.clone();
        assert_eq!(lab.run(&config).text(), expected, "start as {user}");
        assert_eq!(running.exec(process).text(), expected, "exec as {user}");
    }
    running.stop();
}

fn working_directories(lab: &Lab) {
    let mut config = lab.config(&["pwd"]);
    config.process.cwd = "/var/run/made/here".to_owned();
    assert_eq!(lab.run(&config).text(), "/run/made/here");
    config.process.cwd = "/etc/passwd".to_owned();
    assert!(lab.run(&config).failure().contains("/etc/passwd"));
    let running = lab.start(&lab.config(&["sleep", "600"])).up();
    let mut process = process(&["pwd"]);
    process.cwd = "/x".to_owned();
    assert_eq!(
        running.exec(process.clone()).failure(),
        "chdir to cwd (\"/x\") set in config.json failed: no such file or directory"
    );
    process.cwd = "/tmp".to_owned();
    assert_eq!(running.exec(process).text(), "/tmp");
    running.stop();
}

fn terminals(lab: &Lab) {
    let script = "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; \
                  test -c /dev/console && echo console; echo > /dev/tty; read line; echo got $line";
    let with_terminal = |user: &str| {
        let mut process = process(&["sh", "-c", script]);
        process.terminal = true;
        process.terminal_size = Some((33, 101));
        process.user.spec = user.to_owned();
        process
    };
    for user in ["0", "1000"] {
        let mut config = lab.config(&[]);
        config.process = with_terminal(user);
        let outcome = lab.start_by(&config, &[], "hello\n").finish();
        let text = outcome.text();
        // What is typed shows wherever it happens to arrive.
        let text = text.replacen("hello\n", "", 1);
        assert_eq!(text, "/dev/pts/0\n33 101\nall\nconsole\n\ngot hello");
    }
    let running = lab.start(&lab.config(&["sleep", "600"])).up();
    for user in ["0", "1000"] {
        let outcome = running.exec_with(with_terminal(user), false, "there\n");
        let text = outcome.stdout.replacen("there\n", "", 1);
        assert_eq!(text, "/dev/pts/0\n33 101\nall\n\ngot there\n", "{outcome:?}");
    }
    running.stop();
}

fn interrupts_reach_the_foreground(lab: &Lab) {
    let running = lab.start(&lab.config(&["sleep", "600"])).up();
    let mut process =
        process(&["sh", "-c", "trap 'echo interrupted; exit 3' INT; echo ready; while true; do read x; done"]);
    process.terminal = true;
    let outcome = running.exec_with(process, false, "@ready@\u{3}");
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    running.stop();
}

fn streams_belong_to_the_user(lab: &Lab) {
    // As nginx' log files, which are links to these.
    let script = "echo out > /dev/stdout; echo err > /dev/stderr";
    let mut config = lab.config(&["sh", "-c", script]);
    config.process.user.spec = "1000".to_owned();
    let outcome = lab.run(&config);
    assert_eq!((outcome.text(), outcome.stderr.as_str()), ("out", "err\n"));
    let running = lab.start(&lab.config(&["sleep", "600"])).up();
    let mut process = process(&["sh", "-c", script]);
    process.user.spec = "web".to_owned();
    assert_eq!(running.exec(process).text(), "out");
    running.stop();
}

fn limits_and_masks(lab: &Lab) {
    let mut config = lab.config(&["sh", "-c", "ulimit -n; ulimit -c; umask; cat /proc/self/oom_score_adj"]);
    let limit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
    config.process.rlimits = vec![limit("nofile", 100, 200), limit("core", 0, 0)];
    config.process.umask = Some(0o027);
    config.process.oom_score_adj = Some(500);
    assert_eq!(lab.run(&config).text(), "100\n0\n0027\n500");
    // More than this host may give: as much as there is, and a word about it.
    let own = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap().1;
    config.process.rlimits = vec![limit("nofile", own.saturating_mul(2), own.saturating_mul(2))];
    config.process.args[2] = "ulimit -Hn".to_owned();
    let outcome = lab.run(&config);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    if outcome.text() == own.to_string() {
        assert!(outcome.warnings.iter().any(|text| text.contains("nofile")), "{outcome:?}");
    }
}

fn many_executed_at_once(lab: &Lab) {
    let running = lab.start(&lab.config(&["sleep", "600"])).up();
    let started = running.started();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|number| {
                let request = crate::roles::ExecRequest {
                    container: running.config.clone(),
                    started,
                    process: process(&["sh", "-c", &format!("exit {number}")]),
                    privileged: false,
                    input: String::new(),
                };
                let out = lab.path(&format!("many-{number}"));
                scope.spawn(move || crate::lab::execute(&request, &out).code)
            })
            .collect();
        for (number, worker) in workers.into_iter().enumerate() {
            assert_eq!(worker.join().unwrap(), Some(number as i32));
        }
    });
    running.stop();
}

fn shim_starts_again_and_executes_itself(lab: &Lab) {
    let config = lab.config(&["sh", "-c", "echo x >> /kept; cat /kept | wc -l; sleep 600"]);
    let mut request = lab.request(&config);
    request.starts = 3;
    request.probe =
        Some(process(&["sh", "-c", "test -d /proc/1 && grep -q '^Seccomp:.2' /proc/self/status && exit 5"]));
    let outcome = lab.start_with(&config, &[], request).finish();
    assert_eq!((outcome.code, outcome.probe, outcome.error), (Some(137), Some(5), None));
}
