//! The container's cgroups: version 1, the hybrid layout, and version 2, with or without systemd.
//!
//! Everything is done with the plain file systems, below a parent of our own (`/skep`): no
//! manager is asked. Controllers that are mounted together (`cpu,cpuacct`) are one hierarchy
//! here; the hierarchies without a controller (`name=systemd`, hybrid `unified`) are joined as
//! well, since whoever watches them would otherwise count the container as part of its caller.
//!
//! The shim hides the host's hierarchies from the mount namespace it hands on; it keeps
//! descriptors of their roots, and goes on with those.

mod devices;
mod discover;
mod limits;
mod stats;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, Pid, access};

use super::config::{CgroupLimits, CgroupPath, Device, Resources};
use super::error::{KernelError, Result};

pub(crate) use devices::device_node;
pub(crate) use discover::{Hierarchy, Layout, hide, hierarchies, unescape};
pub use stats::Stats;

/// How long to wait for the freezer, and for killed processes to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// The directories of one container in every hierarchy.
#[derive(Debug, Clone)]
pub struct Paths {
    version: u8,
    hierarchies: Vec<Hierarchy>,
    parent: Vec<String>,
    name: String,
}

pub(crate) fn cgroup_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KernelError {
    let path = path.to_owned();
    move |source| KernelError::Cgroup { action, path, source }
}

pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(cgroup_error("write", path))
}

impl Paths {
    /// Finds the directories, whether they exist or not.
    ///
    /// # Errors
    /// No cgroup hierarchy is mounted, or the path tries to leave its hierarchy.
    pub fn find(path: &CgroupPath) -> Result<Self> {
        let hierarchies = hierarchies()?;
        let parent: Vec<String> = path.parent.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('/');
        if parent.iter().any(|part| bad(part)) || bad(&path.name) {
            return Err(KernelError::Config(format!("invalid cgroup path {:?} / {:?}", path.parent, path.name)));
        }
        let legacy = hierarchies.iter().any(|h| !h.unified && !h.controllers.is_empty());
        Ok(Self { version: if legacy { 1 } else { 2 }, hierarchies, parent, name: path.name.clone() })
    }

    /// 1 (also for the hybrid layout) or 2.
    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    fn directory(&self, hierarchy: &Hierarchy) -> PathBuf {
        let mut path = hierarchy.base.clone();
        path.extend(&self.parent);
        path.push(&self.name);
        path
    }

    fn directories(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.hierarchies.iter().map(|hierarchy| self.directory(hierarchy))
    }

    /// The directory in which a controller is set, if the host has the controller.
    pub(crate) fn controller(&self, name: &str) -> Option<PathBuf> {
        self.hierarchies
            .iter()
            .find(|hierarchy| hierarchy.controllers.iter().any(|own| own == name))
            .map(|hierarchy| self.directory(hierarchy))
    }

    fn require(&self, name: &str, wanted: &'static str) -> Result<PathBuf> {
        self.controller(name).ok_or_else(|| KernelError::NoController { controller: name.to_owned(), wanted })
    }

    /// Whether cgroups can be made at all.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let writable = |hierarchy: &Hierarchy| {
            access(&hierarchy.base, AccessFlags::W_OK)
                .map_err(|error| cgroup_error("write to", &hierarchy.base)(error.into()))
        };
        self.hierarchies.iter().try_for_each(writable)
    }

    /// Makes the cgroups anew and sets the limits. What a killed predecessor left is removed.
    pub(crate) fn create(
        &self,
        resources: &Resources,
        device_list: &[Device],
        privileged: bool,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        for hierarchy in self.hierarchies.iter().filter(|hierarchy| !hierarchy.optional) {
            let fresh = self.make_directory(hierarchy)?;
            if !fresh {
                self.remove()?;
                return self.create(resources, device_list, privileged, warnings);
            }
        }
        limits::apply(self, &resources.limits, warnings)?;
        if !privileged {
            devices::restrict(self, device_list, &resources.device_rules)?;
        }
        Ok(())
    }

    /// Makes the directory and its parents in one hierarchy. False if it was there already.
    fn make_directory(&self, hierarchy: &Hierarchy) -> Result<bool> {
        let mut path = hierarchy.base.clone();
        let mut fresh = false;
        for part in self.parent.iter().chain([&self.name]) {
            if self.version == 2 && hierarchy.unified {
                limits::hand_on_controllers(&path, &hierarchy.controllers, path == hierarchy.base)?;
            }
            path.push(part);
            fresh = match fs::create_dir(&path) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => return Err(cgroup_error("create", &path)(error)),
            };
            if hierarchy.controllers.iter().any(|own| own == "cpuset") && !hierarchy.unified {
                limits::inherit_cpuset(&path)?;
            }
        }
        Ok(fresh)
    }

    /// Opened so that a process (with a single thread) joins by writing `0` to each.
    ///
    /// In version 1 that is `tasks`: a thread moving itself needs none of the locks that make
    /// moving a whole process slow.
    pub(crate) fn join_handles(&self) -> Result<Vec<OwnedFd>> {
        let mut handles = Vec::with_capacity(self.hierarchies.len());
        for hierarchy in &self.hierarchies {
            let file = if hierarchy.unified { "cgroup.procs" } else { "tasks" };
            let path = self.directory(hierarchy).join(file);
            match open(&path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()) {
                Ok(handle) => handles.push(handle),
                // Whoever made the container did not need it either.
                Err(Errno::ENOENT) if hierarchy.optional => {}
                Err(error) => return Err(cgroup_error("join", &path)(error.into())),
            }
        }
        Ok(handles)
    }

    /// Version 2: a handle to join the cgroup at this path from the root, if it is the container's
    /// or below it.
    pub(crate) fn join_handle_at(&self, path: &Path) -> Option<OwnedFd> {
        let unified = self.hierarchies.iter().find(|hierarchy| hierarchy.unified)?;
        let directory = unified.base.join(path);
        let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !plain || !directory.starts_with(self.directory(unified)) {
            return None;
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        open(&directory.join("cgroup.procs"), flags, Mode::empty()).ok()
    }

    /// What is to be mounted inside the container.
    pub(crate) fn layout(&self) -> Layout {
        if self.version == 2 {
            return Layout::Unified;
        }
        Layout::Legacy(self.hierarchies.iter().filter_map(Hierarchy::legacy).collect())
    }

    /// Every process of the container, as this process sees them.
    ///
    /// # Errors
    /// The cgroup cannot be read. That it does not exist is no error: there are no processes.
    pub fn processes(&self) -> Result<Vec<i32>> {
        // Any one hierarchy would do; all of them, as a killed predecessor may have got only
        // halfway through.
        let mut found = Vec::new();
        for directory in self.directories() {
            collect_processes(&directory, &mut found)?;
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Sends a signal to every process. See [`super::kill_all`].
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        for pid in self.processes()? {
            match kill(Pid::from_raw(pid), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => {
                    return Err(KernelError::System {
                        call: "kill (a process of the container)",
                        source: error.into(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Kills what is left and removes the cgroups. Nothing there is no error.
    pub(crate) fn remove(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut left: Vec<PathBuf> = self.directories().filter(|path| path.exists()).collect();
        let mut pause = Duration::from_micros(200);
        loop {
            let mut failure = None;
            left.retain(|directory| match remove_tree(directory) {
                Ok(()) => false,
                Err(error) => {
                    failure = Some(error);
                    true
                }
            });
            let Some(error) = failure else {
                return Ok(());
            };
            if Instant::now() > end {
                return Err(error);
            }
            // Held, so that nothing forks faster than it is killed; dead as soon as let go.
            if let Err(error) = self.set_frozen(true) {
                tracing::debug!(%error, "no freezer to hold processes with");
            }
            let killed = self.signal(Signal::SIGKILL);
            if let Err(error) = self.thaw() {
                tracing::debug!(%error, "no freezer to let go");
            }
            killed?;
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Stops all processes (`pause`). Returns once they stand.
    ///
    /// # Errors
    /// No freezer on this host, or it did not get there within 5 seconds (it is thawed again then).
    pub fn freeze(&self) -> Result<()> {
        let path = self.set_frozen(true)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let state = fs::read_to_string(&path).map_err(cgroup_error("read", &path))?;
            if state.trim() == "FROZEN" || state.lines().any(|line| line == "frozen 1") {
                return Ok(());
            }
            if Instant::now() > end {
                self.thaw()?;
                let late = io::Error::from(io::ErrorKind::TimedOut);
                return Err(cgroup_error("freeze", &path)(late));
            }
            if self.version == 1 {
                // A task that forked meanwhile may have been missed.
                self.set_frozen(true)?;
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Lets all processes go on (`unpause`).
    ///
    /// # Errors
    /// No freezer on this host.
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false).map(drop)
    }

    /// Whether the processes are stopped by [`Self::freeze`].
    pub fn is_frozen(&self) -> bool {
        let Ok((file, _)) = self.freezer() else {
            return false;
        };
        fs::read_to_string(file).is_ok_and(|state| matches!(state.trim(), "FROZEN" | "1"))
    }

    /// The file that is written, and the one that tells the result.
    fn freezer(&self) -> Result<(PathBuf, PathBuf)> {
        if self.version == 1 {
            let state = self.require("freezer", "pause")?.join("freezer.state");
            return Ok((state.clone(), state));
        }
        let unified = self.hierarchies.iter().find(|hierarchy| hierarchy.unified);
        let directory = unified.map(|h| self.directory(h)).ok_or(KernelError::NoCgroup)?;
        Ok((directory.join("cgroup.freeze"), directory.join("cgroup.events")))
    }

    fn set_frozen(&self, frozen: bool) -> Result<PathBuf> {
        let (file, result) = self.freezer()?;
        let value = match (self.version, frozen) {
            (1, true) => "FROZEN",
            (1, false) => "THAWED",
            (_, true) => "1",
            (_, false) => "0",
        };
        write(&file, value)?;
        Ok(result)
    }

    /// Sets the limits that are not `None`.
    ///
    /// # Errors
    /// A controller is missing, or the kernel refuses a value.
    pub fn update(&self, limits: &CgroupLimits) -> Result<()> {
        let mut warnings = Vec::new();
        limits::apply(self, limits, &mut warnings)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(())
    }
}

/// Joins, by handles from [`Paths::join_handles`]. The caller has a single thread.
pub(crate) fn join(handles: &[impl AsFd]) -> io::Result<()> {
    for handle in handles {
        nix::unistd::write(handle, b"0")?;
    }
    Ok(())
}

fn subdirectories(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn collect_processes(directory: &Path, found: &mut Vec<i32>) -> Result<()> {
    let path = directory.join("cgroup.procs");
    match fs::read_to_string(&path) {
        Ok(list) => found.extend(list.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0)),
        Err(error) if gone(&error) => return Ok(()),
        // A cgroup of threads: its processes are listed above it.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => return Err(cgroup_error("read", &path)(error)),
    }
    match subdirectories(directory) {
        Ok(below) => below.iter().try_for_each(|path| collect_processes(path, found)),
        Err(error) if gone(&error) => Ok(()),
        Err(error) => Err(cgroup_error("read", directory)(error)),
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// Removes a cgroup and those below it (made by the container itself), deepest first.
fn remove_tree(directory: &Path) -> Result<()> {
    match fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(error) if gone(&error) => return Ok(()),
        Err(_) => {}
    }
    match subdirectories(directory) {
        Ok(below) => below.iter().try_for_each(|path| remove_tree(path))?,
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(cgroup_error("read", directory)(error)),
    }
    match fs::remove_dir(directory) {
        Ok(()) => Ok(()),
        Err(error) if gone(&error) => Ok(()),
        Err(error) => Err(cgroup_error("remove", directory)(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fresh(name: &str) -> Paths {
        let path = CgroupPath { parent: "/skep-unit-test".to_owned(), name: format!("{name}-{}", std::process::id()) };
        Paths::find(&path).unwrap()
    }

    /// Removes the parents, too, unless another test still uses them.
    fn remove_parents(paths: &Paths) {
        for directory in paths.directories() {
            drop(fs::remove_dir(directory.parent().unwrap()));
        }
    }

    fn sleeper(paths: &Paths) -> std::process::Child {
        let child = std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap();
        // Beside version 1, the unified hierarchy is left alone by processes that are in its root.
        for directory in paths.directories().filter(|directory| directory.exists()) {
            write(&directory.join("cgroup.procs"), &child.id().to_string()).unwrap();
        }
        child
    }

    #[test]
    fn paths_cannot_leave_their_hierarchy() {
        for (parent, name) in [("/a/../..", "x"), ("/a", ".."), ("/a", "x/y"), ("/a", "")] {
            let path = CgroupPath { parent: parent.to_owned(), name: name.to_owned() };
            assert!(Paths::find(&path).is_err(), "{parent} {name}");
        }
    }

    #[test]
    fn limits_are_set_and_read_back() {
        let paths = fresh("limits");
        let limits = CgroupLimits {
            memory: Some(64 << 20),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            pids: Some(33),
            ..CgroupLimits::default()
        };
        let resources = Resources { limits, device_rules: Vec::new() };
        paths.create(&resources, &[], false, &mut Vec::new()).unwrap();
        let stats = paths.stats().unwrap();
        assert_eq!(stats.memory_limit, 64 << 20);
        assert_eq!(stats.pids_limit, 33);
        let more = CgroupLimits { memory: Some(128 << 20), pids: Some(-1), ..CgroupLimits::default() };
        paths.update(&more).unwrap();
        let stats = paths.stats().unwrap();
        assert_eq!(stats.memory_limit, 128 << 20);
        assert_eq!(stats.pids_limit, u64::MAX);
        assert_eq!(paths.oom_kills(), 0);
        paths.remove().unwrap();
        assert!(paths.directories().all(|directory| !directory.exists()));
        paths.remove().unwrap();
        remove_parents(&paths);
    }

    #[test]
    fn frozen_processes_are_removed_with_their_cgroup() {
        let paths = fresh("freeze");
        paths.create(&Resources::default(), &[], true, &mut Vec::new()).unwrap();
        let mut child = sleeper(&paths);
        assert_eq!(paths.processes().unwrap(), [child.id() as i32]);
        paths.freeze().unwrap();
        assert!(paths.is_frozen());
        paths.thaw().unwrap();
        assert!(!paths.is_frozen());
        paths.freeze().unwrap();
        // A leftover of a killed predecessor: made anew, without the process.
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        paths.create(&Resources::default(), &[], true, &mut Vec::new()).unwrap();
        assert!(!reaper.join().unwrap().success());
        assert!(paths.processes().unwrap().is_empty());
        paths.remove().unwrap();
        remove_parents(&paths);
    }
}
