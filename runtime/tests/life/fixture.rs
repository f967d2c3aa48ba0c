//! A node below a temporary directory, with one image, and the helpers to drive it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use skep_image::Digest;
use skep_runtime::config::{ContainerConfig, MountSpec, MountType, NetworkMode};
use skep_runtime::state::{ContainerState, Status};
use skep_runtime::{LogOptions, LogStream, RemoveOptions, Roots, Runtime};

/// A test, by its name.
pub(crate) type Case = (&'static str, fn(&Node));

pub(crate) const IMAGE: &str = "busybox:test";

pub(crate) struct Node {
    pub runtime: Runtime,
    pub directory: tempfile::TempDir,
}

pub(crate) fn roots(directory: &Path) -> Roots {
    let name = directory.file_name().unwrap().to_str().unwrap().trim_start_matches('.');
    Roots { root: directory.join("root"), run_root: directory.join("run"), cgroup_parent: format!("/skep-life-{name}") }
}

pub(crate) fn volume(name: &str, target: &str) -> MountSpec {
    let kind = MountType::Volume { name: name.to_owned(), no_copy: false, labels: Default::default() };
    MountSpec { kind, target: target.to_owned(), read_only: false }
}

pub(crate) fn bind(source: &Path, target: &str, create_source: bool) -> MountSpec {
    let kind =
        MountType::Bind { source: source.to_owned(), create_source, propagation: String::new(), non_recursive: false };
    MountSpec { kind, target: target.to_owned(), read_only: false }
}

/// A network namespace for this process: nothing here touches the machine's own network.
pub(crate) fn isolate() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
}

impl Node {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("skep-life-").tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        write_image(&directory.path().join("root/images"));
        let runtime = Runtime::open(roots(directory.path())).unwrap();
        Self { runtime, directory }
    }

    pub(crate) fn config(&self, cmd: &[&str]) -> ContainerConfig {
        ContainerConfig {
            image: IMAGE.to_owned(),
            cmd: cmd.iter().map(|text| (*text).to_owned()).collect(),
            network: NetworkMode::None,
            ..ContainerConfig::default()
        }
    }

    pub(crate) fn shell(&self, script: &str) -> ContainerConfig {
        self.config(&["sh", "-c", script])
    }

    pub(crate) fn create(&self, config: &ContainerConfig) -> String {
        self.runtime.create(config).unwrap().id
    }

    pub(crate) fn run(&self, config: &ContainerConfig) -> String {
        let id = self.create(config);
        self.runtime.start(&id).unwrap();
        id
    }

    pub(crate) fn state(&self, id: &str) -> ContainerState {
        self.runtime.record(id).unwrap().1
    }

    /// Waits until the state is as wanted; the state is read again with every look.
    pub(crate) fn until(&self, id: &str, wanted: impl Fn(&ContainerState) -> bool) -> ContainerState {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let state = self.state(id);
            if wanted(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "never got there: {state:?}");
            self.runtime.changed(id, Duration::from_millis(200)).unwrap();
        }
    }

    pub(crate) fn log(&self, id: &str, stream: LogStream) -> String {
        let reader = self.runtime.logs(id, LogOptions::default()).unwrap();
        let lines = reader.map(Result::unwrap).filter(|entry| entry.stream == stream);
        String::from_utf8(lines.flat_map(|entry| entry.line).collect()).unwrap()
    }

    /// Waits for a text on standard output.
    pub(crate) fn until_printed(&self, id: &str, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.log(id, LogStream::Stdout).contains(text) {
            assert!(Instant::now() < deadline, "{text:?} never came");
            self.runtime.changed(id, Duration::from_millis(200)).unwrap();
        }
    }

    /// This program as a helper: `__start` or `__execute`.
    pub(crate) fn helper(&self, verb: &str, id: &str, rest: &[&str]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg(verb).arg(self.directory.path()).arg(id).args(rest);
        command
    }

    pub(crate) fn exec(&self, id: &str, args: &[&str]) -> Output {
        let rest: Vec<&str> = ["-"].iter().chain(args).copied().collect();
        self.helper("__execute", id, &rest).stdin(Stdio::null()).output().unwrap()
    }

    /// Nothing of the kernel's may be left once all containers are removed.
    pub(crate) fn finish(&self) {
        for summary in self.runtime.list(true).unwrap() {
            self.runtime.remove(&summary.id, &RemoveOptions { force: true, volumes: true }).unwrap();
        }
        self.runtime.heal().unwrap();
        let left: Vec<PathBuf> = fs::read_dir(self.runtime.roots().run_root.join("containers"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        assert!(left.is_empty(), "left in the run root: {left:?}");
        let name = self.directory.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts: Vec<&str> = mounts.lines().filter(|line| line.contains(&name) && !line.contains("netns")).collect();
        assert!(mounts.is_empty(), "left mounted: {mounts:?}");
        // A shim says how its container ended, then goes.
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Some(process) = processes_of(&name).first() {
            assert!(Instant::now() < deadline, "left running: {process}");
            std::thread::sleep(Duration::from_millis(10));
        }
        for controller in fs::read_dir("/sys/fs/cgroup").unwrap() {
            let cgroup = controller.unwrap().path().join(format!("skep-life-{name}"));
            let inside = fs::read_dir(&cgroup).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
            assert_eq!(inside.count(), 0, "left in {}", cgroup.display());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for summary in self.runtime.list(true).unwrap_or_default() {
            self.runtime.remove(&summary.id, &RemoveOptions { force: true, volumes: true }).ok();
        }
        let name = self.directory.path().file_name().unwrap().to_str().unwrap().to_owned();
        for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            fs::remove_dir(controller.path().join(format!("skep-life-{name}"))).ok();
        }
    }
}

/// Command lines that name a directory, but for this process itself.
pub(crate) fn processes_of(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|text| text.parse::<u32>().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if pid != std::process::id() && line.contains(name) {
            found.push(format!("{pid} {line}"));
        }
    }
    found
}

pub(crate) fn is_there(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

pub(crate) fn is_running(state: &ContainerState) -> bool {
    state.status == Status::Running
}

/// An image store with busybox in it, as a pull leaves it.
fn write_image(store: &Path) {
    let layer = Digest::of(b"the layer of the test image");
    let tree = store.join("layers").join(layer.hex()).join("diff");
    for directory in ["bin", "etc", "tmp", "root", "data/sub"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    fs::set_permissions(tree.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", tree.join("bin").join(applet)).unwrap();
    }
    fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nbee:x:1000:1000::/home/bee:/bin/sh\n").unwrap();
    fs::write(tree.join("etc/group"), "root:x:0:\nbee:x:1000:\n").unwrap();
    fs::write(tree.join("data/file"), "from the image").unwrap();
    fs::set_permissions(tree.join("data/file"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(tree.join("data/file"), Some(1000), Some(1000)).unwrap();
    symlink("file", tree.join("data/sub/link")).unwrap();
    let link = &layer.hex()[..12];
    fs::create_dir_all(store.join("l")).unwrap();
    symlink(format!("../layers/{}/diff", layer.hex()), store.join("l").join(link)).unwrap();
    let record = serde_json::json!({"version": 1, "diff_id": layer, "size": 1000, "blob": layer, "link": link});
    fs::write(store.join("layers").join(layer.hex()).join("layer.json"), record.to_string()).unwrap();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"], "Env": ["PATH=/bin", "FROM=image"]},
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    });
    let config = config.to_string();
    let id = Digest::of(config.as_bytes());
    fs::create_dir_all(store.join("blobs/sha256")).unwrap();
    fs::write(store.join("blobs/sha256").join(id.hex()), config).unwrap();
    let images: BTreeMap<String, serde_json::Value> =
        [(id.to_string(), serde_json::json!({"layers": [layer], "blobs": [id]}))].into();
    let index = serde_json::json!({
        "version": 1, "references": {"docker.io/library/busybox:test": id.to_string()}, "images": images,
    });
    fs::write(store.join("index.json"), index.to_string()).unwrap();
}
