//! The life cycle of a container: create, start, kill, delete.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::rc::Rc;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};

use super::cgroup::{self, Paths};
use super::config::{KernelConfig, Mount, MountKind, Namespace, Propagation};
use super::error::{KernelError, ProcessError, Result};
use super::inside::{self, Inside};
use super::lastmile::{self, Plan, setup_error};
use super::status::{self, Message, Report, listen, tell};
use super::user::{self, Identity};
use super::{mounts, pty, seal, seccomp, spec};
use crate::kernel::sys;

/// What a container's process gets as its standard streams.
#[derive(Debug)]
pub enum Stdio {
    /// These descriptors; a missing one is /dev/null.
    Fds {
        /// Standard input.
        stdin: Option<OwnedFd>,
        /// Standard output.
        stdout: Option<OwnedFd>,
        /// Standard error.
        stderr: Option<OwnedFd>,
    },
    /// A new pseudo-terminal of the container; its master is handed back.
    Terminal,
}

/// A container whose first process waits for [`start`]. That process is a child of the caller,
/// who has to reap it.
pub struct Created {
    /// The first process, as the caller sees it.
    pub init_pid: i32,
    /// Start time of the first process (field 22 of /proc/PID/stat, clock ticks since boot).
    pub init_start_time: u64,
    /// Master of the pseudo-terminal, if one was asked for.
    pub pty_master: Option<OwnedFd>,
    /// What was asked for but cannot be had on this host, for the user to read.
    pub warnings: Vec<String>,
    container: Container,
    channel: OwnedFd,
}

impl std::fmt::Debug for Created {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Created")
            .field("init_pid", &self.init_pid)
            .field("init_start_time", &self.init_start_time)
            .field("pty_master", &self.pty_master)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// Makes the container up to the point where only its program has to be executed.
///
/// The caller has to be single-threaded and to have called [`super::prepare_process`]. Whatever
/// a killed predecessor of the same name left behind is removed first. On failure everything
/// made is removed again. `bundle` is a directory of the container's own for libcontainer's
/// config.json.
///
/// # Errors
/// [`KernelError::Process`] for what the user can mend (user, working directory, program), with
/// Docker's words.
pub fn create(config: &KernelConfig, bundle: &Path, stdio: Stdio) -> Result<Created> {
    if !seal::is_prepared() {
        return Err(KernelError::Config("the process has no mount namespace of its own".to_owned()));
    }
    spec::check(config)?;
    // Directories made for mounts are for everyone in the container, whatever the caller's mask.
    umask(Mode::from_bits_truncate(0o022));
    let made = make(config, bundle, stdio);
    if made.is_err()
        && let Err(error) = delete(config)
    {
        tracing::warn!(%error, "cannot clean up after a failed container");
    }
    made
}

fn make(config: &KernelConfig, bundle: &Path, stdio: Stdio) -> Result<Created> {
    let mut warnings = one_way_mounts(config);
    let filter = match config.privileged {
        true => None,
        false => seccomp::filter(&config.seccomp, &config.process.capabilities, &config.filter_dir)?,
    };
    let plan = Plan::new(&config.process, config.privileged, filter, &mut warnings)?;
    cgroup::hide()?;
    let cgroups = Paths::find(&config.cgroup)?;
    cgroups.create(&config.resources, &config.devices, config.privileged, &mut warnings)?;
    let cgroup_handles = cgroups.join_handles()?;
    mounts::take_down(&config.rootfs)?;
    let late = mounts::prepare(config)?;
    let inside = Inside {
        own_mqueue: late.iter().any(|late| late.target.trim_matches('/') == "dev")
            || config.mounts.iter().any(|mount| mount.target.trim_end_matches('/') == "/dev/mqueue"),
        late,
        cgroups: cgroups.layout(),
        masked_paths: config.masked_paths.clone(),
        read_only_paths: config.read_only_paths.clone(),
        sysctls: config.sysctls.clone(),
        writable_kernel: config.privileged,
        borrowed_proc: !sys::has_close_range(),
    };

    let (channel, far_end) = status::pair().map_err(system("socketpair"))?;
    let executor = Init {
        channel: far_end.as_raw_fd(),
        cgroup_handles: cgroup_handles.iter().map(AsRawFd::as_raw_fd).collect(),
        cgroup_namespace: CgroupNamespace::open(&config.namespaces.cgroup)?,
        plan: Rc::new(plan),
        inside: Rc::new(inside),
        found: Rc::default(),
        terminal: Rc::default(),
    };
    spec::write(config, bundle)?;
    let built = build(config, bundle, stdio, executor);
    drop((far_end, cgroup_handles));

    let mut report = Report::default();
    let container = match built {
        Ok(container) => container,
        Err(error) => {
            // The first process' own words say more.
            listen(&channel, &mut report, |_| false).map_err(system("recvmsg"))?;
            return Err(report.failure.map_or(error, KernelError::Process));
        }
    };
    if config.process.terminal {
        listen(&channel, &mut report, |report| report.terminal.is_some()).map_err(system("recvmsg"))?;
    }
    let gone = || KernelError::NotRunning(config.id.clone());
    let init_pid = container.pid().ok_or_else(gone)?.as_raw();
    Ok(Created {
        init_pid,
        init_start_time: super::start_time(init_pid).ok_or_else(gone)?,
        pty_master: report.terminal,
        warnings,
        container,
        channel,
    })
}

/// The tree has left the host's peer groups for good when the configuration is read.
fn one_way_mounts(config: &KernelConfig) -> Vec<String> {
    let shared = |mount: &&Mount| {
        let MountKind::Bind { propagation, .. } = &mount.kind else { return false };
        matches!(propagation, Propagation::Shared | Propagation::Rshared)
    };
    let warning = |mount: &Mount| {
        format!("what is mounted below {} inside the container will not show on the host", mount.target)
    };
    config.mounts.iter().filter(shared).map(warning).collect()
}

fn system(call: &'static str) -> impl FnOnce(io::Error) -> KernelError {
    move |source| KernelError::System { call, source }
}

fn build(config: &KernelConfig, bundle: &Path, stdio: Stdio, executor: Init) -> Result<Container> {
    let create = |error| KernelError::Create(Box::new(error));
    let state = config.state_dir.join(&config.id);
    if state.exists() {
        remove_state(config)?;
    }
    let mut builder = ContainerBuilder::new(config.id.clone(), SyscallType::default())
        .with_root_path(&config.state_dir)
        .map_err(create)?
        .with_executor(executor)
        .validate_id()
        .map_err(create)?;
    let (stdin, stdout, stderr) = match stdio {
        Stdio::Fds { stdin, stdout, stderr } => (stdin, stdout, stderr),
        Stdio::Terminal => (None, None, None),
    };
    builder = builder.with_stdin(stream(stdin)?).with_stdout(stream(stdout)?).with_stderr(stream(stderr)?);
    builder.as_init(bundle).with_systemd(false).build().map_err(create)
}

/// A descriptor above the standard streams: libcontainer copies it onto one and closes it.
pub(super) fn stream(fd: Option<OwnedFd>) -> Result<OwnedFd> {
    let fd = match fd {
        Some(fd) => fd,
        None => open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|error| system("open (of /dev/null)")(error.into()))?,
    };
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // std makes copies above the standard streams and close-on-exec.
    fd.try_clone().map_err(system("fcntl (dup)"))
}

/// Lets the container's program run. Returns once it was executed.
///
/// # Errors
/// [`KernelError::Process`] if the program could not be executed; the first process has ended
/// then and has to be reaped.
pub fn start(created: &mut Created) -> Result<()> {
    created.container.start().map_err(|error| KernelError::Create(Box::new(error)))?;
    let mut report = Report::default();
    listen(&created.channel, &mut report, |_| false).map_err(system("recvmsg"))?;
    created.warnings.append(&mut report.warnings);
    match report.failure {
        Some(failure) => Err(KernelError::Process(failure)),
        None => Ok(()),
    }
}

/// Removes what the kernel holds for the container: processes left in its cgroups, the cgroups,
/// its mounts, libcontainer's state. The writable layer stays.
///
/// Idempotent, and needs nothing but the configuration: it works after the shim was killed.
///
/// # Errors
/// The first failure; the rest is still removed.
pub fn delete(config: &KernelConfig) -> Result<()> {
    let cgroups = Paths::find(&config.cgroup).and_then(|cgroups| cgroups.remove());
    let mounts = mounts::take_down(&config.rootfs);
    let state = remove_state(config);
    cgroups.and(mounts).and(state)
}

fn remove_state(config: &KernelConfig) -> Result<()> {
    let path = config.state_dir.join(&config.id);
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(KernelError::File { action: "remove", path, source })
        }
        _ => Ok(()),
    }
}

/// Sends `signal` to every process in the container's cgroup. No cgroup is no error.
///
/// # Errors
/// An unknown signal, or the cgroup cannot be read.
pub fn kill_all(config: &KernelConfig, signal: i32) -> Result<()> {
    let signal = Signal::try_from(signal).map_err(|_| KernelError::Config(format!("invalid signal: {signal}")))?;
    Paths::find(&config.cgroup)?.signal(signal)
}

/// Which cgroup namespace the first process enters once it is in its cgroups.
#[derive(Debug, Clone)]
enum CgroupNamespace {
    New,
    Host,
    Existing(Rc<OwnedFd>),
}

impl CgroupNamespace {
    fn open(wanted: &Namespace) -> Result<Self> {
        Ok(match wanted {
            Namespace::Private => Self::New,
            Namespace::Host => Self::Host,
            Namespace::Path(path) => {
                let fd = fs::File::open(path).map_err(|source| KernelError::File {
                    action: "open",
                    path: path.clone(),
                    source,
                })?;
                Self::Existing(Rc::new(fd.into()))
            }
        })
    }

    fn enter(&self) -> nix::Result<()> {
        match self {
            Self::New => unshare(CloneFlags::CLONE_NEWCGROUP),
            Self::Host => Ok(()),
            Self::Existing(fd) => setns(fd.as_ref(), CloneFlags::CLONE_NEWCGROUP),
        }
    }
}

/// What libcontainer calls in the container's first process: after the pivot, and to run the
/// program. The descriptors belong to the shim, of which this process is a copy.
#[derive(Clone)]
struct Init {
    channel: RawFd,
    cgroup_handles: Vec<RawFd>,
    cgroup_namespace: CgroupNamespace,
    plan: Rc<Plan>,
    inside: Rc<Inside>,
    found: Rc<OnceCell<Identity>>,
    terminal: Rc<OnceCell<OwnedFd>>,
}

impl Init {
    fn settle(&self) -> Result<(), ProcessError> {
        let handles: Vec<_> = self.cgroup_handles.iter().map(|fd| sys::borrow(*fd)).collect();
        cgroup::join(&handles).map_err(|error| setup_error("cannot join the cgroups", error))?;
        self.cgroup_namespace.enter().map_err(|error| setup_error("cannot enter a cgroup namespace", error))?;
        inside::mount_all(&self.inside)?;
        if let Some(score) = self.plan.oom_score_adj {
            lastmile::set_oom_score(score)?;
        }
        if self.plan.terminal {
            let open = || -> io::Result<OwnedFd> {
                let (master, slave) = pty::open_pair(self.plan.terminal_size)?;
                pty::bind_console(&slave)?;
                tell(sys::borrow(self.channel), &Message::Terminal, Some(master.as_fd()));
                Ok(slave)
            };
            let slave = open().map_err(|error| setup_error("cannot make a terminal", error))?;
            let _first = self.terminal.set(slave);
        }
        inside::finish(&self.inside)?;
        let _first = self.found.set(user::resolve(&self.plan.user)?);
        Ok(())
    }

    fn execute(&self) -> ProcessError {
        let terminal = match self.terminal.get().map(OwnedFd::try_clone).transpose() {
            Ok(terminal) => terminal,
            Err(error) => return setup_error("cannot use the terminal", error),
        };
        match self.found.get() {
            Some(identity) => lastmile::run(&self.plan, identity, terminal, sys::borrow(self.channel)),
            None => setup_error("cannot run the program", "the container was not set up"),
        }
    }

    fn report(&self, error: ProcessError) -> String {
        let text = error.message.clone();
        tell(sys::borrow(self.channel), &Message::Failed(error), None);
        text
    }
}

impl Executor for Init {
    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        self.settle().map_err(|error| ExecutorValidationError::ArgValidationError(self.report(error)))
    }

    fn setup_envs(&self, _environment: std::collections::HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The program's environment is handed to execve directly.
        Ok(())
    }

    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        self.report(self.execute());
        // Not by way of libcontainer: its descriptors are closed. Whoever started the container has been told.
        sys::exit_now(1)
    }
}
