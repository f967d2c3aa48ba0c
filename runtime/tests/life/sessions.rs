//! Sessions, held and dropped by a process that has more to do: from any of its threads, without a terminal of its own.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use skep_runtime::{Attach, ExecOptions, Input, LogOptions, LogRead, Output, OutputDecoder, Session};

use crate::fixture::{Case, Node};

pub(crate) const ALL: &[Case] = &[
    ("a_dropped_session_ends_the_input_and_nothing_else", a_dropped_session_ends_the_input_and_nothing_else),
    ("whoever_leaves_keeps_the_input_open", whoever_leaves_keeps_the_input_open),
    ("a_terminal_takes_keys_sizes_and_signals", a_terminal_takes_keys_sizes_and_signals),
    ("many_sessions_are_held_at_once", many_sessions_are_held_at_once),
    ("a_follower_that_is_asked_never_waits", a_follower_that_is_asked_never_waits),
];

fn options(args: &[&str]) -> ExecOptions {
    ExecOptions { args: args.iter().map(|word| (*word).to_owned()).collect(), stdin: true, ..ExecOptions::default() }
}

/// As a server does: from a thread that is not the only one.
fn exec(node: &Node, id: &str, options: &ExecOptions) -> Session {
    let session = std::thread::scope(|scope| scope.spawn(|| node.runtime.exec(id, options)).join().unwrap()).unwrap();
    session.socket().set_nonblocking(false).unwrap();
    session
}

fn say(session: &Session, input: Input<'_>) {
    let mut bytes = Vec::new();
    input.encode(&mut bytes);
    let mut socket = session.socket();
    socket.write_all(&bytes).unwrap();
}

/// Everything until `done`, or the end.
fn hear(session: &Session, done: impl Fn(&str) -> bool) -> (String, Option<i32>) {
    let (mut decoder, mut text, mut buffer) = (OutputDecoder::default(), Vec::new(), [0; 4096]);
    loop {
        let mut socket = session.socket();
        let count = socket.read(&mut buffer).unwrap();
        decoder.push(&buffer[..count]);
        while let Some(output) = decoder.decode().unwrap() {
            match output {
                Output::Stdout(bytes) | Output::Stderr(bytes) => text.extend(bytes),
                Output::Ended(code) => return (String::from_utf8(text).unwrap(), Some(code)),
            }
        }
        let said = String::from_utf8_lossy(&text).into_owned();
        if count == 0 || done(&said) {
            return (said, None);
        }
    }
}

fn until_there(node: &Node, id: &str, path: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !node.exec(id, &["test", "-e", path]).status.success() {
        assert!(Instant::now() < deadline, "{path} never came");
    }
}

fn a_dropped_session_ends_the_input_and_nothing_else(node: &Node) {
    let id = node.run(&node.config(&["sleep", "1000"]));
    let session = exec(node, &id, &options(&["sh", "-c", "cat > /got; yes | head -c 1000000; touch /ended"]));
    say(&session, Input::Stdin(b"through"));
    drop(session);
    until_there(node, &id, "/ended");
    assert_eq!(node.exec(&id, &["cat", "/got"]).stdout, b"through");
}

fn whoever_leaves_keeps_the_input_open(node: &Node) {
    let id = node.run(&node.config(&["sleep", "1000"]));
    let session = exec(node, &id, &options(&["cat"]));
    say(&session, Input::Stdin(b"x"));
    assert_eq!(hear(&session, |text| text == "x").0, "x");
    say(&session, Input::Leave);
    // The helper has understood when it closes the connection.
    assert_eq!(hear(&session, |_| false), (String::new(), None));
    let ps = String::from_utf8(node.exec(&id, &["ps"]).stdout).unwrap();
    assert!(ps.lines().any(|line| line.ends_with(" cat")), "{ps}");
}

fn a_terminal_takes_keys_sizes_and_signals(node: &Node) {
    let id = node.run(&node.config(&["sleep", "1000"]));
    let on_terminal = |args| ExecOptions { tty: true, terminal_size: Some((20, 40)), ..options(args) };
    let session = exec(node, &id, &on_terminal(&["sh", "-c", "stty size; read line; stty size; exit 4"]));
    assert!(session.has_terminal() && session.takes_input());
    hear(&session, |text| text.contains("20 40"));
    say(&session, Input::Window { rows: 33, columns: 77 });
    say(&session, Input::Stdin(b"\n"));
    let (said, code) = hear(&session, |_| false);
    assert!(said.contains("33 77"), "{said}");
    assert_eq!(code, Some(4));
    // A signal overtakes what the program does not read.
    let session = exec(node, &id, &options(&["sleep", "1000"]));
    say(&session, Input::Stdin(&[b'x'; 100_000]));
    session.peer().signal(40).unwrap();
    assert_eq!(hear(&session, |_| false).1, Some(168));
    session.peer().signal(40).unwrap();
}

fn many_sessions_are_held_at_once(node: &Node) {
    let id = node.run(&node.config(&["sleep", "1000"]));
    let sessions: Vec<Session> = (0..8).map(|_| exec(node, &id, &options(&["cat"]))).collect();
    for (number, session) in sessions.iter().enumerate() {
        say(session, Input::Stdin(number.to_string().as_bytes()));
    }
    for (number, session) in sessions.iter().enumerate() {
        say(session, Input::EndOfStdin);
        assert_eq!(hear(session, |_| false), (number.to_string(), Some(0)));
    }
    // Nobody's child is left to be waited for.
    let waited = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
    assert_eq!(waited, Err(nix::errno::Errno::ECHILD));
    let mut config = node.config(&["cat"]);
    config.stdin_open = true;
    let open = node.run(&config);
    let session = node.runtime.attach(&open, Attach { stdin: true, stdout: true, stderr: true }).unwrap();
    session.socket().set_nonblocking(false).unwrap();
    say(&session, Input::Stdin(b"attached"));
    assert_eq!(hear(&session, |text| text == "attached").0, "attached");
    session.peer().signal(9).unwrap();
    assert_eq!(hear(&session, |_| false).1, Some(137));
}

fn a_follower_that_is_asked_never_waits(node: &Node) {
    let id = node.run(&node.shell("mkfifo /fifo; echo first; read x < /fifo"));
    node.until_printed(&id, "first");
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let mut reader = node.runtime.logs(&id, follow).unwrap();
    assert!(matches!(reader.try_next().unwrap(), LogRead::Entry(entry) if entry.line == b"first\n"));
    assert_eq!(reader.try_next().unwrap(), LogRead::Pending);
    assert!(reader.changes().is_some());
    assert_eq!(node.exec(&id, &["sh", "-c", "echo go > /fifo"]).status.code(), Some(0));
    assert!(reader.next().is_none());
}
