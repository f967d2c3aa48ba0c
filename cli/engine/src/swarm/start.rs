//! Having an agent: the one that runs, or a new one, detached from this command.
//!
//! The agent keeps the caller's network and UTS namespaces (it is simply a child that was let go), so that a node in
//! a namespace stays in it.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use skep_cluster::client::Client;
use skep_cluster::node;

use crate::ErrorKind;
use crate::engine::Engine;
use crate::error::{Error, Result};

/// The program that is an agent when it is started with the arguments of `skep agent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentProgram {
    /// Its file.
    pub path: PathBuf,
    /// How much it logs: a level of `--log-level`.
    pub log_level: String,
}

/// How long an agent may take until its socket answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent that answers, and the process if it was started for this command.
pub(super) struct Agent {
    /// The connection.
    pub(super) client: Client,
    started: Option<Child>,
}

impl Agent {
    /// The running agent, or a new one.
    pub(super) async fn get(engine: &Engine, program: &AgentProgram) -> Result<Self> {
        let socket = node::socket_path(&engine.roots().run_root);
        if let Ok(client) = Client::connect(&socket).await {
            return Ok(Self { client, started: None });
        }
        let log = log_file(engine);
        let mut child = spawn(engine, program, &log)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(client) = Client::connect(&socket).await {
                return Ok(Self { client, started: Some(child) });
            }
            if let Some(status) = child.try_wait().map_err(|failure| failed("cannot wait for the agent", &failure))? {
                let words = last_lines(&log);
                return Err(unavailable(format!("the swarm agent ended at once ({status}): {words}")));
            }
            if Instant::now() > deadline {
                end(&mut child);
                let (socket, log) = (socket.display(), log.display());
                return Err(unavailable(format!("the swarm agent does not answer at {socket}: see {log}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The command failed: an agent that was started for it goes away again, unless it is in a swarm by now (a manager
    /// that took longer than the command waited goes on in the background).
    pub(super) fn give_up(mut self, engine: &Engine) {
        if let Some(child) = self.started.as_mut().filter(|_| !engine.is_in_swarm()) {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).ok();
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().ok();
    child.wait().ok();
}

/// Where a detached agent logs.
fn log_file(engine: &Engine) -> PathBuf {
    engine.roots().root.join("agent.log")
}

fn spawn(engine: &Engine, agent: &AgentProgram, log: &Path) -> Result<Child> {
    let roots = engine.roots();
    if let Some(directory) = log.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|failure| failed(&format!("cannot make {}", directory.display()), &failure))?;
    }
    // What the program itself says in the worst case (a panic) has to be found, too.
    let output = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(|failure| failed(&format!("cannot open the agent's log {}", log.display()), &failure))?;
    let level = if agent.log_level == "error" { "info" } else { &agent.log_level };
    let mut command = Command::new(&agent.path);
    command
        .arg("--log-level")
        .arg(level)
        .arg("--root")
        .arg(&roots.root)
        .arg("--run-root")
        .arg(&roots.run_root)
        .arg("--cgroup-parent")
        .arg(&roots.cgroup_parent)
        .args(["agent", "--exit-when-idle"])
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(|failure| failed("cannot duplicate the log's descriptor", &failure))?)
        .stderr(output)
        .current_dir("/")
        // A group of its own: the terminal's Ctrl-C is not for it. It leaves the session by itself.
        .process_group(0);
    command.spawn().map_err(|failure| failed("cannot start the swarm agent", &failure))
}

fn failed(what: &str, failure: &std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("{what}: {failure}"))
}

fn unavailable(words: String) -> Error {
    Error::new(ErrorKind::Unavailable, words)
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    match lines.is_empty() {
        true => format!("it left no word in {}", log.display()),
        false => lines.into_iter().rev().collect::<Vec<_>>().join("; "),
    }
}
