//! Those who take part, each on a node of the lab of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use skep_tests::program::{run, tool};
use skep_tests::wait::try_until;
use skep_tests::{Lab, Node};

/// Puts the words of a docker command line behind the program that takes them.
type Speaker = dyn Fn(&[&str]) -> Command;

/// How `run` and its kin are said to a contender.
enum Dialect {
    /// As docker takes them.
    Docker(Box<Speaker>),
    /// An OCI runtime on a bundle: the view it runs in, the program, where it keeps its state, the bundle.
    Runtime(PathBuf, String, PathBuf, PathBuf),
}

/// One who takes part.
pub(crate) struct Contender {
    /// Its name.
    pub name: &'static str,
    /// The address of its node.
    pub address: String,
    /// Whether it pulls images.
    pub pulls: bool,
    /// Whether it connects containers to a bridge.
    pub networks: bool,
    /// Whether it has a swarm mode.
    pub swarms: bool,
    /// A word in the command line of what it keeps for each container, if it keeps anything.
    pub helper: Option<&'static str>,
    /// A word in the command line or environment of everything that is its own.
    pub belongs: String,
    dialect: Dialect,
}

/// skep, on node 1.
pub(crate) fn skep(lab: &Lab) -> Contender {
    of_skep("skep", lab.node(1).clone())
}

/// The skep at `binary`, on node 4: what the one under test is compared with.
pub(crate) fn before(lab: &Lab, binary: PathBuf) -> Result<Contender> {
    anyhow::ensure!(binary.is_file(), "there is no program at {}", binary.display());
    Ok(of_skep("before", lab.node(4).clone().with_binary(binary)))
}

fn of_skep(name: &'static str, node: Node) -> Contender {
    Contender {
        name,
        address: node.address.to_string(),
        pulls: true,
        networks: true,
        swarms: true,
        helper: Some("skep"),
        belongs: node.run_root.display().to_string(),
        dialect: Dialect::Docker(Box::new(move |words| node.command(words))),
    }
}

/// A docker daemon of its own, on node 2.
pub(crate) fn docker(lab: &Lab) -> Result<Contender> {
    let node = lab.node(2);
    let directory = lab.directory().join("docker");
    fs::create_dir_all(&directory)?;
    let socket = format!("unix://{}", directory.join("socket").display());
    let log = fs::File::create(directory.join("log"))?;
    let registry = lab.registry.address.to_string();
    let mut daemon = node.namespace.command();
    daemon.arg("dockerd");
    for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
        daemon.arg(option).arg(directory.join(name));
    }
    daemon
        .args(["--host", &socket, "--cgroup-parent", &node.cgroup_parent, "--live-restore=false"])
        .args(["--insecure-registry", &registry])
        .arg(format!("--registry-mirror=http://{registry}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    daemon.spawn().context("cannot start dockerd: run `make deps-bench`")?;
    let command = {
        let node = node.clone();
        move |words: &[&str]| {
            let mut command = node.namespace.command();
            command.args(["docker", "--host", &socket]).args(words);
            command
        }
    };
    try_until(Duration::from_secs(30), &mut || {
        let asked = run(&mut command(&["version"])).map_err(|error| error.to_string())?;
        if asked.code == 0 { Ok(()) } else { Err(asked.to_string()) }
    })
    .map_err(|reason| {
        let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
        anyhow!("dockerd does not answer: {reason}\n{log}")
    })?;
    Ok(Contender {
        name: "docker",
        address: node.address.to_string(),
        pulls: true,
        networks: true,
        swarms: true,
        helper: Some("containerd-shim"),
        belongs: directory.display().to_string(),
        dialect: Dialect::Docker(Box::new(command)),
    })
}

/// A mount namespace, held by a file, that shows cgroup v1 alone: crun refuses to start where it sees both versions.
fn view(lab: &Lab) -> Result<PathBuf> {
    let directory = lab.directory().join("view");
    let file = directory.join("mount");
    if !file.exists() {
        fs::create_dir_all(&directory)?;
        let path = directory.display().to_string();
        // A mount namespace can only be held where mounts are not passed on.
        tool(&["mount", "--bind", &path, &path])?;
        tool(&["mount", "--make-private", &path])?;
        fs::File::create(&file)?;
        let hold = format!("--mount={}", file.display());
        let hidden = "/sys/fs/cgroup/unified";
        let words: &[&str] = if Path::new(hidden).exists() { &["umount", hidden] } else { &["true"] };
        run(Command::new("unshare").arg(hold).args(words))?.success()?;
    }
    Ok(file)
}

/// `nsenter` into `view` and the namespaces of `node`.
fn enter(node: &Node, view: &Path) -> Command {
    let mut command = node.namespace.command();
    command.arg(format!("--mount={}", view.display()));
    command
}

/// podman with the storage below `directory`, on `node`; limits above its own are refused by some machines.
fn podman_command(node: &Node, view: &Path, directory: &Path, words: &[&str]) -> Command {
    let mut command = enter(node, view);
    command.arg("podman");
    for (option, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
        command.arg(option).arg(directory.join(name));
    }
    command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "crun"]);
    let mut words = words.iter();
    if let Some(verb) = words.next() {
        command.arg(verb);
        if matches!(*verb, "run" | "create") {
            command.args(["--cgroup-parent", &node.cgroup_parent]);
            command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        }
    }
    command.args(words).env("CONTAINERS_REGISTRIES_CONF", &node.registries);
    command
}

/// podman with storage of its own, on node 3.
pub(crate) fn podman(lab: &Lab) -> Result<Contender> {
    let node = lab.node(3).clone();
    let directory = lab.directory().join("podman");
    fs::create_dir_all(&directory)?;
    let belongs = directory.display().to_string();
    let address = node.address.to_string();
    let view = view(lab)?;
    let command = move |words: &[&str]| podman_command(&node, &view, &directory, words);
    let first = ["run", "--rm", "--network", "none", "busybox", "true"];
    run(&mut command(&first))?.success()?;
    let bridged = run(&mut command(&["run", "--rm", "busybox", "true"]))?;
    if bridged.code != 0 {
        println!("left out: podman with a network: {}", bridged.stderr.trim());
    }
    Ok(Contender {
        name: "podman",
        address,
        pulls: true,
        networks: bridged.code == 0,
        swarms: false,
        helper: Some("conmon"),
        belongs,
        dialect: Dialect::Docker(Box::new(command)),
    })
}

/// The OCI runtime `program` on a bundle with busybox in it and docker's system call filter.
pub(crate) fn bundle(lab: &Lab, program: &'static str) -> Result<Contender> {
    let node = lab.node(1);
    let directory = lab.directory().join(program);
    let rootfs = directory.join("rootfs");
    for inside in ["bin", "dev", "proc", "sys", "etc", "tmp"] {
        fs::create_dir_all(rootfs.join(inside))?;
    }
    fs::copy("/usr/bin/busybox", rootfs.join("bin/busybox"))?;
    for applet in ["true", "sleep", "sh"] {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet))?;
    }
    run(Command::new(program).arg("spec").current_dir(&directory))?
        .success()
        .with_context(|| format!("{program} cannot be run: `make deps-bench`"))?;
    let bundle = directory.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&bundle)?)?;
    adapt(&mut config, &format!("{}/{program}", node.cgroup_parent), lab)?;
    fs::write(&bundle, serde_json::to_vec(&config)?)?;
    let contender = Contender {
        name: program,
        address: node.address.to_string(),
        pulls: false,
        networks: false,
        swarms: false,
        helper: None,
        belongs: directory.display().to_string(),
        dialect: Dialect::Runtime(view(lab)?, program.to_owned(), directory.join("state"), directory),
    };
    let first = contender.run(false, &["true"]);
    run(&mut contender.ready(&first))?.success()?;
    Ok(contender)
}

/// Makes the bundle that `spec` writes comparable: no terminal, docker's filter as podman writes it down.
fn adapt(config: &mut Value, cgroup: &str, lab: &Lab) -> Result<()> {
    let process = config.pointer_mut("/process").context("a bundle without a process")?;
    merge(process, &json!({"terminal": false, "args": ["true"]}));
    let linux = config.pointer_mut("/linux").context("a bundle without linux")?;
    merge(linux, &json!({"cgroupsPath": cgroup}));
    match filter(lab) {
        Ok(filter) => merge(linux, &json!({"seccomp": filter})),
        Err(error) => println!("crun and runc are without a system call filter: {error:#}"),
    }
    Ok(())
}

fn merge(object: &mut Value, fields: &Value) {
    if let (Some(object), Some(fields)) = (object.as_object_mut(), fields.as_object()) {
        for (name, value) in fields {
            object.insert(name.clone(), value.clone());
        }
    }
}

/// The system call filter of a container that podman made.
fn filter(lab: &Lab) -> Result<Value> {
    let directory = lab.directory().join("filter");
    let view = view(lab)?;
    let podman = |words: &[&str]| run(&mut podman_command(lab.node(3), &view, &directory, words))?.success();
    let name = format!("filter-{}", std::process::id());
    podman(&["create", "--name", &name, "--network", "none", "busybox", "true"])?;
    podman(&["init", &name])?;
    let path = podman(&["inspect", "--format", "{{.OCIConfigPath}}", &name])?;
    let config: Value = serde_json::from_slice(&fs::read(path)?)?;
    podman(&["rm", "-f", &name])?;
    config.pointer("/linux/seccomp").cloned().context("podman wrote no filter")
}

impl Contender {
    /// `words` as docker's command line, for those who speak it; `exec` and `rm` also for runtimes.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        match &self.dialect {
            Dialect::Docker(command) => command(words),
            Dialect::Runtime(view, program, state, _) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--mount={}", view.display()));
                command.arg(program).arg("--root").arg(state).args(words);
                command
            }
        }
    }

    /// The words for running `program` in a new container that is then removed.
    pub(crate) fn run(&self, network: bool, program: &[&str]) -> Vec<String> {
        let bundle;
        let mut words: Vec<&str> = vec!["run"];
        match &self.dialect {
            Dialect::Docker(_) => {
                words.push("--rm");
                if !network {
                    words.extend(["--network", "none"]);
                }
                words.push("busybox");
                words.extend(program);
            }
            Dialect::Runtime(.., directory) => {
                bundle = directory.display().to_string();
                words.extend(["--bundle", &bundle, "bench-run"]);
            }
        }
        words.into_iter().map(ToOwned::to_owned).collect()
    }

    /// The command for `words`.
    pub(crate) fn ready(&self, words: &[String]) -> Command {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.command(&words)
    }

    /// Starts a container called `name` that sleeps.
    pub(crate) fn start_sleeper(&self, name: &str) -> Result<()> {
        match &self.dialect {
            Dialect::Docker(command) => {
                let words = ["run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "100000"];
                run(&mut command(&words))?.success()?;
            }
            Dialect::Runtime(.., bundle) => self.sleeper(bundle, name)?,
        }
        Ok(())
    }

    /// Removes the container called `name`.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let verb = if matches!(self.dialect, Dialect::Docker(_)) { "rm" } else { "delete" };
        run(&mut self.command(&[verb, "-f", name]))?.success()?;
        Ok(())
    }

    /// Waits until `words` print `wanted`.
    pub(crate) fn wait_for(&self, words: &[&str], wanted: &str, limit: Duration) -> Result<()> {
        try_until(limit, &mut || {
            let said = run(&mut self.command(words)).map_err(|error| error.to_string())?;
            if said.stdout.trim() == wanted { Ok(()) } else { Err(said.to_string()) }
        })
        .map_err(|reason| anyhow!("{}: {reason}", self.name))
    }

    /// A runtime's own container that sleeps: the bundle with another command.
    fn sleeper(&self, bundle: &Path, name: &str) -> Result<()> {
        let directory = bundle.join(name);
        fs::create_dir_all(&directory)?;
        let mut config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
        let process = config.pointer_mut("/process").context("a bundle without a process")?;
        merge(process, &json!({"args": ["sleep", "100000"]}));
        let root = config.pointer_mut("/root").context("a bundle without a root")?;
        merge(root, &json!({"path": bundle.join("rootfs")}));
        let linux = config.pointer_mut("/linux").context("a bundle without linux")?;
        let cgroup = linux.pointer("/cgroupsPath").and_then(Value::as_str).unwrap_or_default();
        let cgroup = format!("{cgroup}-{name}");
        merge(linux, &json!({"cgroupsPath": cgroup}));
        fs::write(directory.join("config.json"), serde_json::to_vec(&config)?)?;
        let mut command = self.command(&["run", "-d", "--bundle", &directory.display().to_string(), name]);
        // The container keeps these open for good.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status()?;
        anyhow::ensure!(status.success(), "{} run -d: {status}", self.name);
        Ok(())
    }
}
