//! Removing everything a lab made, from its directory's name alone: so that it also works for a lab whose process
//! was killed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::namespace::identity;

/// Where labs live. Not /tmp, which may be in memory.
pub const BASE: &str = "/var/tmp/skep-lab";

static LIVE: Mutex<Vec<(u32, PathBuf)>> = Mutex::new(Vec::new());
static WATCH: Once = Once::new();
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The number of a lab, held until dropped: no other process uses it meanwhile.
pub struct Claim {
    /// The number, from 1 to 200.
    pub number: u32,
    /// The directory that holds everything of the lab.
    pub directory: PathBuf,
    _lock: Flock<File>,
}

impl Claim {
    /// Takes a free number, after removing what a killed process left under it.
    ///
    /// # Errors
    /// When the directory cannot be made or all numbers are taken.
    pub fn take() -> anyhow::Result<Self> {
        // One place for the whole machine, whatever TMPDIR says: the numbers also name cgroups.
        let base = PathBuf::from(BASE);
        fs::create_dir_all(&base)?;
        for number in 1..=200 {
            let file = File::create(base.join(format!("{number}.lock")))?;
            let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
                continue;
            };
            let directory = base.join(number.to_string());
            sweep(number, &directory);
            fs::create_dir_all(&directory)?;
            watch_signals();
            live().push((number, directory.clone()));
            return Ok(Self { number, directory, _lock: lock });
        }
        anyhow::bail!("200 labs are running already");
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Then the lab is swept already, and the exit code is the signal's.
        stop_if_interrupted();
        sweep(self.number, &self.directory);
        live().retain(|(number, _)| *number != self.number);
        // Fails while another lab is there.
        if let Some(base) = self.directory.parent() {
            fs::remove_file(base.join(format!("{}.lock", self.number))).ok();
            fs::remove_dir(base).ok();
        }
    }
}

fn live() -> std::sync::MutexGuard<'static, Vec<(u32, PathBuf)>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocks for good once the process was interrupted: nothing may be made while everything is being removed.
pub fn stop_if_interrupted() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        thread::park();
    }
}

fn watch_signals() {
    WATCH.call_once(|| {
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
            return;
        };
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                INTERRUPTED.store(true, Ordering::SeqCst);
                // Twice: a thread may have been in the middle of making something.
                for _ in 0..2 {
                    for (number, directory) in live().iter() {
                        sweep(*number, directory);
                    }
                    thread::sleep(Duration::from_millis(100));
                }
                std::process::exit(128 + signal);
            }
        });
    });
}

/// The cgroup that holds all cgroups of lab `number`, below the root of every hierarchy.
#[must_use]
pub fn cgroup_name(number: u32) -> String {
    format!("skep-lab{number}")
}

/// Ends all processes of the lab, then removes its mounts, cgroups and files.
pub fn sweep(number: u32, directory: &Path) {
    let held: HashSet<(u64, u64)> = held_namespaces(directory);
    for _ in 0..50 {
        let processes = processes_of(number, directory, &held);
        if processes.is_empty() {
            break;
        }
        for pid in processes {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        thread::sleep(Duration::from_millis(20));
    }
    for mount in mounts_below(directory).iter().rev() {
        umount2(mount, MntFlags::MNT_DETACH).ok();
    }
    for hierarchy in hierarchies() {
        remove_cgroup(&hierarchy.join(cgroup_name(number)));
    }
    fs::remove_dir_all(directory).ok();
}

/// The namespaces that files of the lab hold.
#[must_use]
pub fn held_namespaces(directory: &Path) -> HashSet<(u64, u64)> {
    mounts_below(directory)
        .iter()
        .filter(|path| matches!(path.file_name().and_then(|name| name.to_str()), Some("net" | "uts")))
        .filter_map(|path| identity(path))
        .collect()
}

/// Processes that run in a namespace or a cgroup of the lab, or name its directory in arguments or environment.
#[must_use]
pub fn processes_of(number: u32, directory: &Path, held: &HashSet<(u64, u64)>) -> Vec<i32> {
    let name = cgroup_name(number);
    let inside = format!("/{name}/");
    let at = format!("/{name}");
    let named = format!("{}/", directory.display());
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    pids()
        .into_iter()
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let process = PathBuf::from(format!("/proc/{pid}"));
            let text = |file: &str| {
                fs::read(process.join(file))
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .unwrap_or_default()
            };
            let namespace = |file: &str| identity(&process.join("ns").join(file)).is_some_and(|id| held.contains(&id));
            text("cgroup").lines().any(|line| line.contains(&inside) || line.ends_with(&at))
                || namespace("net")
                || namespace("uts")
                || text("cmdline").contains(&named)
                || text("environ").contains(&format!("SKEP_RUN_ROOT={named}"))
        })
        .collect()
}

/// All process ids there are.
#[must_use]
pub fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Mount points at or below `directory`, outermost first.
#[must_use]
pub fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
        .filter(|path| path.starts_with(directory))
        .collect()
}

/// The roots of all cgroup hierarchies that are mounted.
#[must_use]
pub fn hierarchies() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
            kind.starts_with("cgroup").then(|| PathBuf::from(path))
        })
        .collect()
}

/// Cgroups below `cgroup`, deepest first, itself included.
#[must_use]
pub fn cgroups_below(cgroup: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(entries) = fs::read_dir(cgroup) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.extend(cgroups_below(&entry.path()));
            }
        }
        found.push(cgroup.to_owned());
    }
    found
}

fn remove_cgroup(cgroup: &Path) {
    for path in cgroups_below(cgroup) {
        // A cgroup stays busy for a moment after its last process has ended.
        for _ in 0..50 {
            if fs::remove_dir(&path).is_ok() || !path.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
