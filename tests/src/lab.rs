//! The lab: a switch with a registry, and nodes joined to it, all on one machine.
//!
//! A node is a network and a UTS namespace; the mount namespace is the machine's, so that `nsenter --net --uts` is
//! all it takes to be on a node. Its directories, its cgroups and its home are its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::http::{self, Answer};
use crate::images::{Image, tutorial};
use crate::leaks;
use crate::namespace::Namespace;
use crate::program::{self, Finished, Running};
use crate::registry::Registry;
use crate::skep;
use crate::sweep::{self, Claim};

const NSENTER: &str = "/usr/bin/nsenter";
const REGISTRY_PORT: u16 = 5000;
/// Names a directory with the data of a registry that holds the tutorial's images, where making them takes long.
pub const PREPARED: &str = "SKEP_LAB_IMAGES";

/// A switch, a registry and nodes. Dropping it removes everything.
pub struct Lab {
    /// The nodes, `node1` first.
    pub nodes: Vec<Node>,
    /// The registry that stands for docker.io.
    pub registry: Registry,
    /// The switch; the registry's address is its own.
    pub switch: Namespace,
    // Last, so that it is dropped last: it removes what all others made.
    claim: Claim,
}

/// One machine of the lab.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its hostname.
    pub name: String,
    /// Its address on the switch.
    pub address: Ipv4Addr,
    /// Its namespaces.
    pub namespace: Namespace,
    /// `--root`.
    pub root: PathBuf,
    /// `--run-root`.
    pub run_root: PathBuf,
    /// `--cgroup-parent`.
    pub cgroup_parent: String,
    /// `$HOME` on this node.
    pub home: PathBuf,
    /// The registries.conf that its commands read.
    pub registries: PathBuf,
    /// What else is in the environment of its commands.
    pub environment: Vec<(String, String)>,
    binary: PathBuf,
    switch: Namespace,
}

impl Lab {
    /// A lab of `count` nodes whose registry holds the images of the tutorial.
    ///
    /// # Errors
    /// Without root, or when one of Debian's programs is missing.
    pub fn new(count: u8) -> Result<Self> {
        let prepared = std::env::var_os(PREPARED).map(PathBuf::from);
        let lab = Self::make(count, prepared.as_deref())?;
        if prepared.is_none() {
            for image in tutorial::all()? {
                lab.registry.push(&image)?;
            }
        }
        Ok(lab)
    }

    /// A lab of `count` nodes shared by the tests of this process that run at the same time.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    #[track_caller]
    pub fn shared(count: u8) -> Arc<Self> {
        // Weak, for a static is never dropped, and a lab has to be.
        static SHARED: Mutex<BTreeMap<u8, Weak<Lab>>> = Mutex::new(BTreeMap::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lab) = shared.get(&count).and_then(Weak::upgrade) {
            return lab;
        }
        let lab = match Self::new(count) {
            Ok(lab) => Arc::new(lab),
            Err(error) => panic!("{error:#}"),
        };
        shared.insert(count, Arc::downgrade(&lab));
        lab
    }

    /// A lab of `count` nodes with an empty registry.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn without_images(count: u8) -> Result<Self> {
        Self::make(count, None)
    }

    fn make(count: u8, prepared: Option<&Path>) -> Result<Self> {
        let binary = skep::binary()?;
        let claim = Claim::take()?;
        let gateway = address(claim.number, 254);
        let switch_directory = claim.directory.join("switch");
        fs::create_dir_all(&switch_directory)?;
        let switch = Namespace::create(&switch_directory, "switch")?;
        switch.tool(&["ip", "link", "set", "lo", "up"])?;
        switch.tool(&["ip", "link", "add", "br0", "type", "bridge"])?;
        let own = format!("{gateway}/24");
        switch.tool(&["ip", "address", "add", &own, "dev", "br0"])?;
        switch.tool(&["ip", "link", "set", "br0", "up"])?;
        let storage = claim.directory.join("registry");
        if let Some(prepared) = prepared {
            fs::create_dir_all(&storage)?;
            let data = storage.join("data");
            program::run(Command::new("cp").arg("-a").arg(prepared).arg(data))?.success()?;
        }
        let registry = Registry::start(&switch, &storage, SocketAddr::new(IpAddr::V4(gateway), REGISTRY_PORT))?;
        let mut lab = Self { nodes: Vec::new(), registry, switch, claim };
        for number in 1..=count {
            lab.add_node(number, &binary)?;
        }
        Ok(lab)
    }

    fn add_node(&mut self, number: u8, binary: &Path) -> Result<()> {
        sweep::stop_if_interrupted();
        let name = format!("node{number}");
        let directory = self.claim.directory.join(&name);
        let home = directory.join("home");
        fs::create_dir_all(&home)?;
        let namespace = Namespace::create(&directory, &name)?;
        let address = address(self.claim.number, number);
        self.connect(&namespace, &name, address)?;
        let registries = directory.join("registries.conf");
        fs::write(&registries, self.registries())?;
        self.nodes.push(Node {
            cgroup_parent: format!("/{}/{name}", sweep::cgroup_name(self.claim.number)),
            root: directory.join("root"),
            run_root: directory.join("run"),
            switch: self.switch.clone(),
            binary: binary.to_owned(),
            name,
            address,
            namespace,
            home,
            registries,
            environment: Vec::new(),
        });
        Ok(())
    }

    fn connect(&self, namespace: &Namespace, name: &str, address: Ipv4Addr) -> Result<()> {
        let (net, gateway) = (namespace.net.display().to_string(), self.gateway().to_string());
        self.switch.tool(&["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", &net])?;
        self.switch.tool(&["ip", "link", "set", name, "master", "br0", "up"])?;
        namespace.tool(&["ip", "link", "set", "lo", "up"])?;
        namespace.tool(&["ip", "address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        namespace.tool(&["ip", "link", "set", "eth0", "up"])?;
        namespace.tool(&["ip", "route", "add", "default", "via", &gateway])?;
        Ok(())
    }

    /// The address of the switch, where the registry and anything a test serves is found.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        address(self.claim.number, 254)
    }

    /// A directory of this lab for whatever a test writes.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.claim.directory
    }

    fn registries(&self) -> String {
        let gateway = self.gateway();
        let mut text = format!(
            "unqualified-search-registries = [\"docker.io\"]\n\n[[registry]]\nprefix = \"docker.io\"\n\
             location = \"{gateway}:{REGISTRY_PORT}\"\ninsecure = true\n"
        );
        for port in REGISTRY_PORT..REGISTRY_PORT + 10 {
            text.push_str(&format!("\n[[registry]]\nlocation = \"{gateway}:{port}\"\ninsecure = true\n"));
        }
        text
    }

    /// The node called `node<number>`.
    ///
    /// # Panics
    /// When the lab has fewer nodes.
    #[must_use]
    #[track_caller]
    pub fn node(&self, number: usize) -> &Node {
        match self.nodes.get(number.wrapping_sub(1)) {
            Some(node) => node,
            None => panic!("the lab has {} nodes, not {number}", self.nodes.len()),
        }
    }

    /// Pushes `image` to the registry of the lab.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub fn push(&self, image: &Image) -> Result<()> {
        self.registry.push(image)
    }

    /// Starts capturing, on the switch, what node `number` sends and receives on UDP port 4789.
    ///
    /// # Errors
    /// When tcpdump cannot be started.
    pub fn capture_vxlan(&self, number: usize) -> Result<Capture> {
        self.capture(number, &["udp", "port", "4789"])
    }

    /// Starts capturing, on the switch, what node `number` sends and receives that fits `filter`.
    ///
    /// # Errors
    /// When tcpdump cannot be started.
    pub fn capture(&self, number: usize, filter: &[&str]) -> Result<Capture> {
        let node = self.node(number);
        let file = self.claim.directory.join(format!("{}.pcap", node.name));
        let log = self.claim.directory.join(format!("{}.tcpdump", node.name));
        let mut command = self.switch.command();
        command
            .args(["tcpdump", "-U", "--immediate-mode", "-nn", "-Z", "root", "-i", &node.name, "-w"])
            .arg(&file)
            .args(filter)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        let process = command.spawn().context("cannot start tcpdump: run `make deps`")?;
        let capture = Capture { process, file };
        crate::wait::try_until(Duration::from_secs(10), &mut || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            said.contains("listening on").then_some(()).ok_or(said)
        })
        .map_err(|said| anyhow!("tcpdump does not listen: {said}"))?;
        Ok(capture)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                eprintln!("{}", node.diagnosis());
            }
        }
    }
}

/// A running capture.
pub struct Capture {
    process: Child,
    file: PathBuf,
}

impl Capture {
    /// Stops it and returns what was captured, a line for each packet as tcpdump prints it.
    ///
    /// # Errors
    /// When the capture cannot be read.
    pub fn finish(mut self) -> Result<String> {
        // What has gone over the wire is still on its way through the kernel to the file.
        let settled = Duration::from_millis(1500);
        std::thread::sleep(settled);
        let pid = i32::try_from(self.process.id())?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        self.process.wait()?;
        program::tool(&["tcpdump", "-nn", "-e", "-T", "vxlan", "-Z", "root", "-r", &self.file.display().to_string()])
    }
}

fn address(lab: u32, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, u8::try_from(lab).unwrap_or(u8::MAX), host)
}

impl Node {
    /// This node, with the skep at `binary` in place of the one under test.
    #[must_use]
    pub fn with_binary(mut self, binary: PathBuf) -> Self {
        self.binary = binary;
        self
    }

    /// `skep` with `arguments`, inside the node, ready to be started.
    ///
    /// Its environment is empty but for what places the node, and `PATH` is empty: `skep` calls no other program.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        sweep::stop_if_interrupted();
        let mut command = Command::new(NSENTER);
        command
            .arg(format!("--net={}", self.namespace.net.display()))
            .arg(format!("--uts={}", self.namespace.uts.display()))
            .arg(&self.binary)
            .args(arguments)
            .env_clear()
            .env("PATH", "")
            .env("HOME", &self.home)
            .env("TERM", "xterm")
            .env("SKEP_ROOT", &self.root)
            .env("SKEP_RUN_ROOT", &self.run_root)
            .env("SKEP_CGROUP_PARENT", &self.cgroup_parent)
            .env("CONTAINERS_REGISTRIES_CONF", &self.registries)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs `skep` with `arguments` to its end.
    ///
    /// # Panics
    /// When it cannot be started or takes longer than a minute (stretched on slow machines).
    #[track_caller]
    pub fn skep(&self, arguments: &[&str]) -> Finished {
        match self.try_skep(arguments) {
            Ok(finished) => finished,
            Err(error) => panic!("{error:#}\n{}", self.diagnosis()),
        }
    }

    /// Runs `skep` with `arguments` to its end, at most two minutes.
    ///
    /// # Errors
    /// When it cannot be started or takes longer.
    pub fn try_skep(&self, arguments: &[&str]) -> Result<Finished> {
        let mut finished = program::start(&mut self.command(arguments))?.finish(Duration::from_secs(120))?;
        finished.command = format!("{}# skep {}", self.name, program::shown_words(arguments));
        Ok(finished)
    }

    /// Starts `skep` with `arguments` and lets it run.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Running> {
        program::start(&mut self.command(arguments))
    }

    /// GET from `address`, seen from this node.
    ///
    /// # Errors
    /// When nobody answers properly.
    pub fn get(&self, address: SocketAddr, path: &str) -> Result<Answer> {
        let path = path.to_owned();
        self.namespace.inside(move || http::get(address, &path))
    }

    /// The process ids of the agents of this node: none or one.
    #[must_use]
    pub fn agents(&self) -> Vec<i32> {
        sweep::pids()
            .into_iter()
            .filter(|pid| {
                let line = words(*pid, "cmdline");
                let ours =
                    line.first().is_some_and(|word| word.contains("skep")) && line.iter().any(|word| word == "agent");
                ours && leaks::belongs(*pid, &self.run_root)
            })
            .collect()
    }

    /// `kill -9` of the agent.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn kill_agent(&self) {
        let agents = self.agents();
        assert!(!agents.is_empty(), "{} has no agent to kill", self.name);
        for pid in agents {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        crate::wait_until(Duration::from_secs(5), "the agent to be gone", || {
            let left = self.agents();
            left.is_empty().then_some(()).ok_or(format!("{left:?}"))
        });
    }

    /// Starts the agent by hand, as the issue of a lost agent is solved: `skep agent`, in the background.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_agent(&self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.agent_log())?;
        let mut command = self.command(&["agent"]);
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot start the agent")?;
        // Its end is learnt from the process table, never from this handle.
        std::thread::spawn(move || {
            let mut child = child;
            child.wait().ok();
        });
        Ok(())
    }

    fn agent_log(&self) -> PathBuf {
        self.home.join("agent.log")
    }

    /// Cuts the node off from the switch; its links stay up, as when a cable further away is cut.
    ///
    /// # Errors
    /// When the switch does not know the node.
    pub fn partition(&self) -> Result<()> {
        self.switch.tool(&["bridge", "link", "set", "dev", &self.name, "state", "0"])?;
        Ok(())
    }

    /// Ends what [`Self::partition`] began.
    ///
    /// # Errors
    /// When the switch does not know the node.
    pub fn heal(&self) -> Result<()> {
        self.switch.tool(&["bridge", "link", "set", "dev", &self.name, "state", "3"])?;
        Ok(())
    }

    /// `HOST:PORT` on this node.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address), port)
    }

    /// What is left of containers on this node: see [`leaks::of`].
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        leaks::of(self)
    }

    /// State, agent log and links: what a person would look at first.
    #[must_use]
    pub fn diagnosis(&self) -> String {
        let mut text = format!("===== {} =====\n", self.name);
        for path in logs_in(&self.root).into_iter().chain(logs_in(&self.run_root)).chain([self.agent_log()]) {
            let Ok(log) = fs::read_to_string(&path) else {
                continue;
            };
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(60)..).unwrap_or_default();
            text.push_str(&format!("--- {}\n{}\n", path.display(), tail.join("\n")));
        }
        text.push_str(&format!("--- agents {:?}\n", self.agents()));
        text
    }
}

fn logs_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut logs = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        } else if entry.file_name() == "swarm" {
            logs.extend(logs_in(&path));
        }
    }
    logs
}

/// The words of `/proc/PID/cmdline` or `/proc/PID/environ`.
#[must_use]
pub fn words(pid: i32, file: &str) -> Vec<String> {
    fs::read(format!("/proc/{pid}/{file}"))
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}
