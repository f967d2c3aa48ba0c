//! A place for containers, and what the tests need to look at them.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use skep_runtime::kernel::{
    self, CgroupPath, KernelConfig, Namespaces, Process, Resources, Rootfs, Seccomp, Shm, User,
};

use crate::roles::{ExecRequest, Outcome, Request, Started};

/// Layers, states and containers in a temporary directory of their own.
pub(crate) struct Lab {
    pub directory: tempfile::TempDir,
    next: Cell<u32>,
}

const APPLETS: [&str; 34] = [
    "sh", "cat", "echo", "true", "false", "sleep", "id", "ls", "mount", "umount", "grep", "hostname", "tty", "stty",
    "kill", "dd", "touch", "mkdir", "rm", "mknod", "unshare", "wc", "head", "pwd", "env", "test", "readlink", "stat",
    "seq", "ip", "cut", "sort", "ps", "setsid",
];

impl Lab {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("rtk-kernel-").tempdir().unwrap();
        let lab = Self { directory, next: Cell::new(0) };
        let root = lab.path("layers/base");
        for name in ["bin", "etc", "tmp", "root", "run", "var", "home/web", "opt"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        symlink("/run", root.join("var/run")).unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n")
            .unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nweb:x:1000:\nlog:x:44:web\n").unwrap();
        fs::write(root.join("opt/broken"), "#!/no/such/interpreter\n").unwrap();
        let mode = |path: &str, mode: u32| {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("opt/broken", 0o755);
        mode("tmp", 0o1777);
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A container as docker makes it without any option.
    pub(crate) fn config(&self, arguments: &[&str]) -> KernelConfig {
        let number = self.next.get();
        self.next.set(number + 1);
        let id = format!("rtk-{}-{number}", std::process::id());
        let own = self.path("containers").join(&id);
        fs::create_dir_all(own.join("bundle")).unwrap();
        KernelConfig {
            state_dir: self.path("run/state"),
            filter_dir: self.path("run/filters"),
            rootfs: Rootfs {
                lower_base: self.path("layers"),
                lower: vec!["base".to_owned()],
                upper: own.join("upper"),
                work: own.join("work"),
                merged: own.join("merged"),
                read_only: false,
                volatile: false,
            },
            process: process(arguments),
            hostname: Some("box".to_owned()),
            domainname: None,
            namespaces: Namespaces::default(),
            mounts: Vec::new(),
            files: Vec::new(),
            shm: Shm::default(),
            masked_paths: kernel::default_masked_paths(),
            read_only_paths: kernel::default_read_only_paths(),
            seccomp: Seccomp::Default,
            devices: Vec::new(),
            privileged: false,
            resources: Resources::default(),
            cgroup: CgroupPath { parent: "/rtk-kernel-test".to_owned(), name: id.clone() },
            sysctls: Default::default(),
            id,
        }
    }

    fn own(&self, config: &KernelConfig) -> PathBuf {
        self.path("containers").join(&config.id)
    }

    /// Runs a container to its end.
    pub(crate) fn run(&self, config: &KernelConfig) -> Outcome {
        self.start(config).finish()
    }

    /// Runs the shell script in a container as docker makes it.
    pub(crate) fn script(&self, script: &str) -> Outcome {
        self.run(&self.config(&["sh", "-c", script]))
    }

    /// Starts a container; it need not come up.
    pub(crate) fn start(&self, config: &KernelConfig) -> Running {
        self.start_by(config, &[], "")
    }

    /// Starts a container by way of another role, with something to type if it has a terminal.
    pub(crate) fn start_by(&self, config: &KernelConfig, role: &[&str], input: &str) -> Running {
        self.start_with(config, role, Request { input: input.to_owned(), ..self.request(config) })
    }

    /// What is asked of a shim, as a rule.
    pub(crate) fn request(&self, config: &KernelConfig) -> Request {
        let bundle = self.own(config).join("bundle");
        Request { container: config.clone(), bundle, input: String::new(), starts: 1, probe: None }
    }

    pub(crate) fn start_with(&self, config: &KernelConfig, role: &[&str], request: Request) -> Running {
        let own = self.own(config);
        let out = own.join(format!("out-{}", self.bump()));
        let shim = spawn(role, "__container", &request, &out);
        Running {
            config: config.clone(),
            shim: Some(shim),
            role: role.iter().map(|word| (*word).to_owned()).collect(),
            out,
            next: Cell::new(0),
        }
    }

    fn bump(&self) -> u32 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    /// Mounts, cgroups and processes of ours on the host.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let base = self.directory.path().display().to_string();
        let mut found: Vec<String> = fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .filter(|line| line.contains(&base))
            .map(str::to_owned)
            .collect();
        let prefix = format!("rtk-{}-", std::process::id());
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
            let parent = hierarchy.unwrap().path().join("rtk-kernel-test");
            for entry in fs::read_dir(&parent).into_iter().flatten() {
                let entry = entry.unwrap();
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    found.push(entry.path().display().to_string());
                }
            }
        }
        for entry in fs::read_dir(self.path("run/state")).into_iter().flatten() {
            found.push(entry.unwrap().path().display().to_string());
        }
        found
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
            // Fails while another run of the tests uses it.
            drop(fs::remove_dir(hierarchy.unwrap().path().join("rtk-kernel-test")));
        }
    }
}

pub(crate) fn process(arguments: &[&str]) -> Process {
    Process {
        args: arguments.iter().map(|word| (*word).to_owned()).collect(),
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        cwd: "/".to_owned(),
        user: User::default(),
        capabilities: kernel::default_capabilities(),
        no_new_privileges: false,
        terminal: false,
        terminal_size: None,
        rlimits: Vec::new(),
        oom_score_adj: None,
        umask: None,
    }
}

/// Starts this program in a role, with a request in a file and answers in the directory `out`.
fn spawn(way: &[impl AsRef<str>], role: &str, request: &impl serde::Serialize, out: &Path) -> Child {
    fs::create_dir_all(out).unwrap();
    fs::write(out.join("request.json"), serde_json::to_vec(request).unwrap()).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(way.iter().map(AsRef::as_ref))
        .arg(role)
        .arg(out)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// Looks until there is something to see; half a minute is a failure.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A container with its shim.
pub(crate) struct Running {
    pub config: KernelConfig,
    shim: Option<Child>,
    role: Vec<String>,
    out: PathBuf,
    next: Cell<u32>,
}

impl Running {
    /// Waits until its program runs.
    pub(crate) fn up(self) -> Self {
        self.started();
        self
    }

    pub(crate) fn started(&self) -> Started {
        wait_for("the start", || {
            let ended = kernel::start_time(self.shim_pid()).is_none();
            if ended && !self.out.join("started.json").exists() {
                panic!("did not start: {:?}", read_outcome(&self.out));
            }
            let text = fs::read(self.out.join("started.json")).ok()?;
            serde_json::from_slice(&text).ok()
        })
    }

    pub(crate) fn shim_pid(&self) -> i32 {
        self.shim.as_ref().unwrap().id() as i32
    }

    /// Executes a program inside.
    pub(crate) fn exec(&self, process: Process) -> Outcome {
        self.exec_with(process, false, "")
    }

    pub(crate) fn exec_script(&self, script: &str) -> Outcome {
        self.exec(process(&["sh", "-c", script]))
    }

    pub(crate) fn exec_with(&self, process: Process, privileged: bool, input: &str) -> Outcome {
        let started = self.started();
        let request =
            ExecRequest { container: self.config.clone(), started, process, privileged, input: input.to_owned() };
        self.exec_request(&request)
    }

    pub(crate) fn exec_request(&self, request: &ExecRequest) -> Outcome {
        self.next.set(self.next.get() + 1);
        let out = self.out.join(format!("exec-{}", self.next.get()));
        let mut child = spawn(&self.role, "__exec", request, &out);
        child.wait().unwrap();
        read_outcome(&out)
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Outcome {
        self.shim.take().unwrap().wait().unwrap();
        read_outcome(&self.out)
    }

    /// Kills everything in it and waits for its end.
    pub(crate) fn stop(self) -> Outcome {
        self.started();
        kernel::kill_all(&self.config, 9).unwrap();
        self.finish()
    }

    /// `kill -9` of the shim, which leaves everything behind.
    pub(crate) fn kill_shim(&mut self) {
        let mut shim = self.shim.take().unwrap();
        shim.kill().unwrap();
        shim.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut shim) = self.shim.take() {
            drop(shim.kill());
            drop(shim.wait());
            drop(kernel::delete(&self.config));
        }
    }
}

fn read_outcome(out: &Path) -> Outcome {
    let text = fs::read(out.join("outcome.json")).expect("the helper ended without a word");
    serde_json::from_slice(&text).unwrap()
}

/// Executes a program in a container, apart from [`Running`].
pub(crate) fn execute(request: &ExecRequest, out: &Path) -> Outcome {
    spawn(&[""; 0], "__exec", request, out).wait().unwrap();
    read_outcome(out)
}
