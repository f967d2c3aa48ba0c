//! A client that is attached stands for its program: signals, windows that close, slow screens, and the terminal after it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skep_tests::pty::Terminal;
use skep_tests::{Lab, Node, program, wait_until};

/// Below a shell, which says how the client ended and how it left the terminal: that of a session whose leader has ended
/// is as new.
fn below_shell(client: &Command) -> Command {
    let script = "\"$@\"; echo \"ended with $?\"; /bin/stty -a; read line";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script, "sh"]).arg(client.get_program()).args(client.get_args());
    for (name, value) in client.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell
}

/// The client below the shell that leads a terminal.
fn client_of(terminal: &Terminal) -> Pid {
    let leader = terminal.leader();
    let pid = wait_until(Duration::from_secs(10), "the shell to start the client", || {
        let children = fs::read_to_string(format!("/proc/{leader}/task/{leader}/children")).unwrap_or_default();
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).ok_or(children)
    });
    Pid::from_raw(pid)
}

#[track_caller]
fn ended_well(terminal: &mut Terminal, code: i32) {
    terminal.expect(&format!("ended with {code}")).unwrap();
    let modes = terminal.expect("-extproc").unwrap();
    let modes: Vec<&str> = modes.split([' ', ';', '\r', '\n']).collect();
    for mode in ["icanon", "echo", "isig", "opost", "icrnl"] {
        assert!(modes.contains(&mode), "{mode} is not as it was: {modes:?}");
    }
    terminal.send("\n").unwrap();
    assert_eq!(terminal.finish().unwrap(), 0);
}

#[track_caller]
fn gone(node: &Node, name: &str) {
    wait_until(Duration::from_secs(10), "the container to be gone", || {
        let listed = node.skep(&["ps", "-aq", "--filter", &format!("name={name}")]).ok();
        listed.is_empty().then_some(()).ok_or(listed)
    });
}

/// Ends with 22 at any of the signals.
const TRAP: &str = "trap 'exit 22' HUP INT QUIT TERM ALRM USR1 37; echo ready; while :; do sleep 0.1; done";

#[test]
fn a_signal_to_the_client_is_the_programs() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGALRM, Signal::SIGUSR1] {
        let run = node.command(&["run", "--rm", "-it", "--name", "trapped", "busybox", "sh", "-c", TRAP]);
        let mut terminal = Terminal::start(&below_shell(&run), 24, 80).unwrap();
        terminal.expect("ready\r\n").unwrap();
        kill(client_of(&terminal), signal).unwrap();
        ended_well(&mut terminal, 22);
        gone(node, "trapped");
    }
}

#[test]
fn a_signal_to_a_client_of_exec_is_the_programs() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    node.skep(&["run", "-d", "--name", "trap-host", "busybox", "sleep", "1000"]).ok();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let exec = node.command(&["exec", "-it", "trap-host", "sh", "-c", TRAP]);
        let mut terminal = Terminal::start(&below_shell(&exec), 24, 80).unwrap();
        terminal.expect("ready\r\n").unwrap();
        kill(client_of(&terminal), signal).unwrap();
        ended_well(&mut terminal, 22);
    }
    node.skep(&["rm", "-f", "trap-host"]).ok();
}

#[test]
fn a_window_that_is_closed_hangs_up_on_the_program() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    let run = node.command(&["run", "--rm", "-it", "--name", "closed", "busybox", "sh", "-c", TRAP]);
    let mut terminal = Terminal::start(&run, 24, 80).unwrap();
    terminal.expect("ready\r\n").unwrap();
    terminal.close();
    assert_eq!(terminal.finish().unwrap(), 22);
    gone(node, "closed");
}

#[test]
fn a_container_that_ran_before_outlives_the_window() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    node.skep(&["run", "-dit", "--name", "before", "busybox", "sh", "-c", TRAP]).ok();
    let attach = node.command(&["attach", "before"]);
    let mut terminal = Terminal::start(&below_shell(&attach), 24, 80).unwrap();
    let client = client_of(&terminal);
    // Once its terminal is raw, it is attached.
    wait_until(Duration::from_secs(10), "the client to be attached", || {
        let status = fs::read_to_string(format!("/proc/{client}/status")).unwrap_or_default();
        let blocked = status.lines().any(|line| line.starts_with("SigBlk:") && !line.ends_with("0000000000000000"));
        (blocked && status.contains("State:\tS")).then_some(()).ok_or(status)
    });
    kill(client, Signal::SIGTERM).unwrap();
    ended_well(&mut terminal, 128 + Signal::SIGTERM as i32);
    assert_eq!(node.skep(&["inspect", "-f", "{{.State.Running}}", "before"]).ok(), "true");
    node.skep(&["rm", "-f", "before"]).ok();
}

#[test]
fn without_a_terminal_every_signal_is_forwarded() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    let script = "trap 'echo winch' WINCH; trap 'echo tstp' TSTP; trap 'echo alrm' ALRM; trap 'exit 23' 37; \
                  echo ready; while :; do sleep 0.1; done";
    let mut command = node.command(&["run", "--rm", "--name", "all-of-them", "busybox", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let client = i32::try_from(child.id()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    for (signal, said) in [(Signal::SIGWINCH, "winch"), (Signal::SIGTSTP, "tstp"), (Signal::SIGALRM, "alrm")] {
        kill(Pid::from_raw(client), signal).unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), said);
    }
    // SIGRTMIN+3, by which systemd is asked to halt.
    program::tool(&["kill", "-37", &client.to_string()]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(23));
    gone(node, "all-of-them");
}

#[test]
fn keys_are_read_however_slow_the_screen_is() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    node.skep(&["run", "-d", "--name", "loud", "busybox", "sleep", "1000"]).ok();
    let yes_runs = |wanted: bool| {
        wait_until(Duration::from_secs(20), "yes to run, or to have ended", || {
            let listed = node.skep(&["exec", "loud", "ps"]).ok();
            (listed.lines().any(|line| line.ends_with(" yes")) == wanted).then_some(()).ok_or(listed)
        });
    };
    let exec = node.command(&["exec", "-it", "loud", "yes"]);
    let mut terminal = Terminal::start(&exec, 24, 80).unwrap();
    terminal.expect("y\r\ny\r\n").unwrap();
    yes_runs(true);
    terminal.pause(true);
    // Ctrl-C, while nothing more can be printed.
    terminal.send("\u{3}").unwrap();
    yes_runs(false);
    terminal.pause(false);
    assert_eq!(terminal.finish().unwrap(), 130);

    let mut terminal = Terminal::start(&exec, 24, 80).unwrap();
    terminal.expect("y\r\ny\r\n").unwrap();
    terminal.pause(true);
    terminal.send("\u{10}\u{11}").unwrap();
    assert_eq!(terminal.finish().unwrap(), 0);
    yes_runs(true);
    node.skep(&["rm", "-f", "loud"]).ok();
}

#[test]
fn a_program_whose_output_nobody_reads_gets_sigpipe() {
    let lab = Lab::shared(1);
    let node = lab.node(1);
    node.skep(&["run", "-d", "--name", "piped", "busybox", "sleep", "1000"]).ok();
    let mut command = node.command(&["exec", "piped", "yes"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "y");
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    wait_until(Duration::from_secs(10), "yes to end", || {
        let listed = node.skep(&["exec", "piped", "ps"]).ok();
        (!listed.lines().any(|line| line.ends_with(" yes"))).then_some(()).ok_or(listed)
    });
    node.skep(&["rm", "-f", "piped"]).ok();
}
