//! Network and UTS namespaces held by files, and running code or programs inside them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace and a UTS namespace (a hostname), each held by a bind-mounted file.
#[derive(Debug, Clone)]
pub struct Namespace {
    /// The file that holds the network namespace.
    pub net: PathBuf,
    /// The file that holds the UTS namespace.
    pub uts: PathBuf,
}

impl Namespace {
    /// Makes both namespaces, with `hostname`, and holds them by the files `net` and `uts` in `directory`.
    ///
    /// # Errors
    /// When the kernel refuses, for example without root.
    pub fn create(directory: &Path, hostname: &str) -> Result<Self> {
        let namespace = Self { net: directory.join("net"), uts: directory.join("uts") };
        File::create(&namespace.net)?;
        File::create(&namespace.uts)?;
        let (held, hostname) = (namespace.clone(), hostname.to_owned());
        on_a_thread(move || {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)
                .context("cannot make namespaces: this needs root")?;
            nix::unistd::sethostname(&hostname)?;
            let own = PathBuf::from(format!("/proc/self/task/{}/ns", nix::unistd::gettid()));
            hold(&own.join("net"), &held.net)?;
            hold(&own.join("uts"), &held.uts)
        })?;
        Ok(namespace)
    }

    /// `nsenter` into both namespaces, ready for a program and its arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.net.display())).arg(format!("--uts={}", self.uts.display()));
        command
    }

    /// Runs the program `words[0]` inside; it has to succeed.
    ///
    /// # Errors
    /// When it does not, with everything it said.
    pub fn tool(&self, words: &[&str]) -> Result<String> {
        crate::program::run(self.command().args(words))?.success()
    }

    /// Runs `work` on a thread of its own inside the network namespace; sockets it makes belong there for good.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or whatever `work` returns.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let net = self.net.clone();
        on_a_thread(move || {
            let file = File::open(&net)?;
            setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", net.display()))?;
            work()
        })
    }
}

fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    thread::spawn(work).join().map_err(|_| anyhow!("a thread inside a namespace panicked"))?
}

fn hold(namespace: &Path, file: &Path) -> Result<()> {
    mount(Some(namespace), file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot hold a namespace at {}", file.display()))
}

/// The identity of the namespace a file refers to, as `/proc/PID/ns/*` and held files share it.
#[must_use]
pub fn identity(file: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(file).ok().map(|data| (data.dev(), data.ino()))
}
