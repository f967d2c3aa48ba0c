//! Having an agent: the one that runs, or a new one, detached from this command.
//!
//! The agent keeps the caller's network and UTS namespaces (it is simply a child that was let go), so that a node in
//! a namespace stays in it.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use skep_cluster::client::Client;
use skep_cluster::node;

use crate::context::Node;

/// How long an agent may take until its socket answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent that answers, and the process if it was started for this command.
pub struct Agent {
    /// The connection.
    pub client: Client,
    started: Option<Child>,
}

impl Agent {
    /// The running agent, or a new one.
    pub async fn get(node: &Node) -> Result<Self> {
        let socket = node::socket_path(&node.roots().run_root);
        if let Ok(client) = Client::connect(&socket).await {
            return Ok(Self { client, started: None });
        }
        let log = log_file(node);
        let mut child = spawn(node, &log)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(client) = Client::connect(&socket).await {
                return Ok(Self { client, started: Some(child) });
            }
            if let Some(status) = child.try_wait().context("cannot wait for the agent")? {
                bail!("the swarm agent ended at once ({status}): {}", last_lines(&log));
            }
            if Instant::now() > deadline {
                end(&mut child);
                bail!("the swarm agent does not answer at {}: see {}", socket.display(), log.display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The command failed: an agent that was started for it goes away again, unless it is in a swarm by now (a manager
    /// that took longer than the command waited goes on in the background).
    pub fn give_up(mut self, node: &Node) {
        if let Some(child) = self.started.as_mut().filter(|_| !super::is_active(node)) {
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
pub fn log_file(node: &Node) -> PathBuf {
    node.roots().root.join("agent.log")
}

fn spawn(node: &Node, log: &Path) -> Result<Child> {
    let roots = node.roots();
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    if let Some(directory) = log.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    // What the program itself says in the worst case (a panic) has to be found, too.
    let output = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open the agent's log {}", log.display()))?;
    let level = if node.log_level == "error" { "info" } else { &node.log_level };
    let mut command = Command::new(program);
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
        .stdout(output.try_clone().context("cannot duplicate the log's descriptor")?)
        .stderr(output)
        .current_dir("/")
        // A group of its own: the terminal's Ctrl-C is not for it. It leaves the session by itself.
        .process_group(0);
    command.spawn().context("cannot start the swarm agent")
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    match lines.is_empty() {
        true => format!("it left no word in {}", log.display()),
        false => lines.into_iter().rev().collect::<Vec<_>>().join("; "),
    }
}
