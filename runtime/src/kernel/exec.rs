//! Running another program in a container that runs.
//!
//! libcontainer's own way leaves the system call filter out, so this is ours: a child joins the
//! container's cgroups and namespaces, makes a second one inside its process id namespace that
//! has the caller as parent, and ends; the second goes the same last mile as the container's
//! first process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, fstat, stat};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, setsid};

use super::cgroup::{self, Paths};
use super::config::{KernelConfig, Process};
use super::container::{Stdio, stream};
use super::error::{KernelError, ProcessError, Result};
use super::lastmile::{self, Plan, setup_error};
use super::status::{self, Message, Report, listen, tell};
use super::{pty, seal, seccomp, start_time, user};
use crate::kernel::sys::{self, Fork};

/// What to run, and in which container.
#[derive(Debug)]
pub struct ExecConfig<'a> {
    /// The container.
    pub container: &'a KernelConfig,
    /// Its first process.
    pub init_pid: i32,
    /// Start time of the first process, so that a recycled pid is not mistaken for it.
    pub init_start_time: u64,
    /// What to run.
    pub process: Process,
    /// Give it every capability there is and no filter (`exec --privileged`).
    pub privileged: bool,
}

/// The program, running. It is a child of the caller, who has to reap it.
#[derive(Debug)]
pub struct ExecChild {
    /// As the caller sees it.
    pub pid: i32,
    /// Master of the pseudo-terminal, if one was asked for.
    pub pty_master: Option<OwnedFd>,
    /// What was asked for but cannot be had on this host, for the user to read.
    pub warnings: Vec<String>,
}

/// Runs a program inside a container, confined as the container is. Returns once it was executed.
///
/// The caller has to be single-threaded and to have called [`super::prepare_process`].
///
/// # Errors
/// [`KernelError::NotRunning`], [`KernelError::Paused`]; [`KernelError::Process`] with Docker's words when the program
/// cannot be executed.
pub fn spawn(config: &ExecConfig<'_>, stdio: Stdio) -> Result<ExecChild> {
    if !seal::is_prepared() {
        return Err(KernelError::Config("the process has no mount namespace of its own".to_owned()));
    }
    let container = config.container;
    let mut warnings = Vec::new();
    let privileged = config.privileged || container.privileged;
    let filter = match privileged {
        true => None,
        false => seccomp::filter(&container.seccomp, &config.process.capabilities, &container.filter_dir)?,
    };
    let plan = Plan::new(&config.process, privileged, filter, &mut warnings)?;
    if Paths::find(&container.cgroup)?.is_frozen() {
        // Whoever joins would stand still, too, and we would wait for it.
        return Err(KernelError::Paused(container.id.clone()));
    }
    let target = Target::open(config)?;
    let streams = match stdio {
        Stdio::Fds { stdin, stdout, stderr } => Some([stream(stdin)?, stream(stdout)?, stream(stderr)?]),
        Stdio::Terminal => None,
    };
    let (channel, far_end) = status::pair().map_err(system("socketpair"))?;
    // Nothing in the container may look into, or trace, the process on its way in (CVE-2016-9962).
    nix::sys::prctl::set_dumpable(false).map_err(|error| system("prctl (dumpable)")(error.into()))?;
    let joiner = match sys::fork().map_err(system("fork"))? {
        Fork::Child => {
            if let Err(error) = join_and_run(&plan, target, streams, &far_end) {
                tell(far_end.as_fd(), &Message::Failed(error), None);
            }
            sys::exit_now(1)
        }
        Fork::Parent(pid) => Pid::from_raw(pid),
    };
    drop((far_end, streams, target));

    let mut report = Report::default();
    let heard = listen(&channel, &mut report, |_| false);
    waitpid(joiner, None).map_err(|error| system("waitpid")(error.into()))?;
    heard.map_err(system("recvmsg"))?;
    if let Some(failure) = report.failure {
        if let Some(pid) = report.pid {
            waitpid(Pid::from_raw(pid), None).map_err(|error| system("waitpid")(error.into()))?;
        }
        // The container may have ended under our feet.
        return Err(match start_time(config.init_pid) == Some(config.init_start_time) {
            true => KernelError::Process(failure),
            false => KernelError::NotRunning(container.id.clone()),
        });
    }
    let pid = report.pid.ok_or_else(|| KernelError::NotRunning(container.id.clone()))?;
    warnings.append(&mut report.warnings);
    Ok(ExecChild { pid, pty_master: report.terminal, warnings })
}

fn system(call: &'static str) -> impl FnOnce(io::Error) -> KernelError {
    move |source| KernelError::System { call, source }
}

/// In the order in which they are joined: the mount namespace last, since /proc goes with it.
const NAMESPACES: [(&str, CloneFlags); 7] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("net", CloneFlags::CLONE_NEWNET),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// A running container, opened: from here on it does not matter if its process id is recycled.
struct Target {
    namespaces: Vec<(&'static str, CloneFlags, OwnedFd)>,
    cgroups: Vec<OwnedFd>,
}

impl Target {
    fn open(config: &ExecConfig<'_>) -> Result<Self> {
        let gone = || KernelError::NotRunning(config.container.id.clone());
        let directory = format!("/proc/{}/ns", config.init_pid);
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let own = Path::new("/proc/self/ns");
        let open_all = || -> io::Result<Vec<(&'static str, CloneFlags, OwnedFd)>> {
            let directory = open(directory.as_str(), flags | OFlag::O_DIRECTORY, Mode::empty())?;
            let mut namespaces = Vec::with_capacity(NAMESPACES.len());
            for (name, kind) in NAMESPACES {
                let fd = openat(&directory, name, flags, Mode::empty())?;
                let (theirs, ours) = (fstat(&fd)?, stat(&own.join(name))?);
                if (theirs.st_ino, theirs.st_dev) != (ours.st_ino, ours.st_dev) {
                    namespaces.push((name, kind, fd));
                }
            }
            Ok(namespaces)
        };
        let namespaces = open_all().map_err(|_| gone())?;
        let cgroups = open_cgroups(config).map_err(|_| gone())?;
        // Checked after opening: what was opened is the container's if it still lives now.
        if start_time(config.init_pid) != Some(config.init_start_time) {
            return Err(gone());
        }
        Ok(Self { namespaces, cgroups })
    }
}

/// The container's own cgroups; on version 2 the one its first process is in, since a container
/// that runs its own services (systemd) has none in the uppermost.
fn open_cgroups(config: &ExecConfig<'_>) -> Result<Vec<OwnedFd>> {
    let paths = Paths::find(&config.container.cgroup)?;
    if paths.version() == 1 {
        return paths.join_handles();
    }
    let inner = fs::read_to_string(format!("/proc/{}/cgroup", config.init_pid))
        .ok()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("0::/").map(PathBuf::from)));
    match inner.and_then(|inner| paths.join_handle_at(&inner)) {
        Some(handle) => Ok(vec![handle]),
        None => paths.join_handles(),
    }
}

/// The first child: enters, forks once more, and ends.
fn join_and_run(
    plan: &Plan,
    target: Target,
    streams: Option<[OwnedFd; 3]>,
    channel: &OwnedFd,
) -> Result<(), ProcessError> {
    cgroup::join(&target.cgroups).map_err(|error| setup_error("cannot join the cgroups", error))?;
    if let Some(score) = plan.oom_score_adj {
        // Here /proc is the host's still.
        lastmile::set_oom_score(score)?;
    }
    // Moving into another mount namespace is refused to a process that shares this with others.
    unshare(CloneFlags::CLONE_FS).map_err(|error| setup_error("unshare", error))?;
    for (name, kind, fd) in &target.namespaces {
        setns(fd, *kind).map_err(|error| setup_error(&format!("cannot join the {name} namespace"), error))?;
    }
    match sys::fork_sibling().map_err(|error| setup_error("clone", error))? {
        Fork::Parent(pid) => {
            tell(channel.as_fd(), &Message::Pid(pid), None);
            Ok(())
        }
        Fork::Child => {
            drop(target);
            tell(channel.as_fd(), &Message::Failed(run(plan, streams, channel)), None);
            sys::exit_now(1)
        }
    }
}

/// The second child: inside, on its last mile. Returns only the reason why it did not work.
fn run(plan: &Plan, streams: Option<[OwnedFd; 3]>, channel: &OwnedFd) -> ProcessError {
    let prepare = || -> Result<_, ProcessError> {
        setsid().map_err(|error| setup_error("setsid", error))?;
        for (number, stream) in (0..).zip(streams.into_iter().flatten()) {
            sys::dup_onto(stream.as_fd(), number)
                .map_err(|error| setup_error("cannot set up the standard streams", error))?;
        }
        // Whatever the caller had open stays out, of the user's look-up as well.
        sys::close_all_but(&[channel.as_fd()])
            .map_err(|error| setup_error("cannot keep the caller's files out", error))?;
        let terminal = match plan.terminal {
            true => {
                let (master, slave) =
                    pty::open_pair(plan.terminal_size).map_err(|error| setup_error("cannot make a terminal", error))?;
                tell(channel.as_fd(), &Message::Terminal, Some(master.as_fd()));
                Some(slave)
            }
            false => None,
        };
        Ok((terminal, user::resolve(&plan.user)?))
    };
    match prepare() {
        Ok((terminal, identity)) => lastmile::run(plan, &identity, terminal, channel.as_fd()),
        Err(error) => error,
    }
}
