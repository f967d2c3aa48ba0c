//! The last mile: what a process goes through between "inside the container" and its program.
//!
//! One piece of code for the first process and for every one executed later, so that they cannot
//! differ. The order matters, and is: limits, terminal, descriptors, working directory, bounding set, filter
//! (if privileges may still be gained: loading it takes CAP_SYS_ADMIN then), groups and user,
//! capabilities, no_new_privs and filter (otherwise), execve.
//!
//! [`Plan`] is made before the fork, from outside; [`run`] is called inside and never returns
//! except with the reason.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, fstat, makedev, umask};
use nix::unistd::{Uid, chdir, fchown};

use super::capabilities;
use super::config::{Process, Ulimit, User};
use super::error::{KernelError, ProcessError, ProcessErrorKind, Result};
use super::user::Identity;
use crate::kernel::sys::{self, FilterInstruction};

/// Everything about the process that can be decided outside the container.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    program: String,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    search_path: String,
    add_home: bool,
    working_directory: String,
    pub(crate) user: User,
    capabilities: u64,
    no_new_privileges: bool,
    filter: Option<Vec<FilterInstruction>>,
    limits: Vec<Limit>,
    umask: u32,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) terminal: bool,
    pub(crate) terminal_size: Option<(u16, u16)>,
}

/// A limit that this host can give. Without any end, a value is that of the kernel: all bits.
#[derive(Debug, Clone)]
struct Limit {
    name: String,
    resource: Resource,
    soft: u64,
    hard: u64,
}

impl Plan {
    /// Checks and converts. What this host cannot give is left out, with a warning.
    pub(crate) fn new(
        process: &Process,
        privileged: bool,
        filter: Option<Vec<FilterInstruction>>,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let program = process
            .args
            .first()
            .filter(|program| !program.is_empty())
            .ok_or_else(|| KernelError::Config("no command specified".to_owned()))?;
        if !process.cwd.starts_with('/') {
            return Err(KernelError::Config(format!(
                "the working directory {:?} has to be an absolute path",
                process.cwd
            )));
        }
        let value_of =
            |name: &str| process.env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        Ok(Self {
            program: program.clone(),
            arguments: c_strings(&process.args)?,
            environment: c_strings(&process.env)?,
            search_path: value_of("PATH")
                .unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
                .to_owned(),
            add_home: value_of("HOME").is_none_or(str::is_empty),
            working_directory: process.cwd.clone(),
            user: process.user.clone(),
            capabilities: capabilities::available(&process.capabilities, privileged, warnings)?,
            no_new_privileges: process.no_new_privileges,
            filter: filter.filter(|_| !privileged),
            limits: limits(&process.rlimits, warnings)?,
            umask: process.umask.unwrap_or(0o022) & 0o777,
            oom_score_adj: process.oom_score_adj,
            terminal: process.terminal,
            terminal_size: process.terminal_size,
        })
    }
}

fn c_strings(strings: &[String]) -> Result<Vec<CString>> {
    let convert = |text: &String| {
        CString::new(text.as_bytes()).map_err(|_| KernelError::Config(format!("{text:?} contains a NUL character")))
    };
    strings.iter().map(convert).collect()
}

/// Without CAP_SYS_RESOURCE a hard limit cannot be raised above our own.
fn limits(wanted: &[Ulimit], warnings: &mut Vec<String>) -> Result<Vec<Limit>> {
    let may_raise = capabilities::has(capabilities::SYS_RESOURCE);
    let mut limits: Vec<Limit> = Vec::with_capacity(wanted.len());
    for limit in wanted {
        let resource =
            resource(&limit.name).ok_or_else(|| KernelError::Config(format!("invalid ulimit type: {}", limit.name)))?;
        if limit.soft > limit.hard {
            return Err(KernelError::Config(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                limit.soft, limit.hard
            )));
        }
        let (_, own) =
            getrlimit(resource).map_err(|error| KernelError::System { call: "getrlimit", source: error.into() })?;
        let mut hard = limit.hard;
        if hard > own && !may_raise {
            warnings.push(format!(
                "the limit {} cannot be raised to {hard} without CAP_SYS_RESOURCE: {own} is used",
                limit.name
            ));
            hard = own;
        }
        limits.retain(|other| other.resource != resource);
        limits.push(Limit { name: limit.name.clone(), resource, soft: limit.soft.min(hard), hard });
    }
    Ok(limits)
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::RLIMIT_AS,
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

pub(crate) fn setup_error(what: &str, error: impl std::fmt::Display) -> ProcessError {
    ProcessError { kind: ProcessErrorKind::Setup, message: format!("{what}: {error}") }
}

/// Sets the out-of-memory score of this process, in a /proc that can be trusted.
pub(crate) fn set_oom_score(score: i32) -> Result<(), ProcessError> {
    std::fs::write("/proc/self/oom_score_adj", score.to_string())
        .map_err(|error| setup_error(&format!("cannot set the out-of-memory score to {score}"), error))
}

/// Makes this process the program. It has to be in the container, to lead a session, and to hold
/// every privilege still. Returns only the reason why it did not work, with every descriptor closed but `channel` and
/// the standard streams: the caller tells it there and ends, without dropping what owned the others.
pub(crate) fn run(
    plan: &Plan,
    identity: &Identity,
    terminal: Option<OwnedFd>,
    channel: BorrowedFd<'_>,
) -> ProcessError {
    match prepare(plan, identity, terminal, channel) {
        Ok(environment) => execute(plan, &environment),
        Err(error) => error,
    }
}

fn prepare(
    plan: &Plan,
    identity: &Identity,
    terminal: Option<OwnedFd>,
    channel: BorrowedFd<'_>,
) -> Result<Vec<CString>, ProcessError> {
    for Limit { name, resource, soft, hard } in &plan.limits {
        setrlimit(*resource, *soft, *hard).map_err(|error| {
            setup_error(&format!("error setting rlimit {}", capitalised(name)), io::Error::from(error))
        })?;
    }
    if let Some(terminal) = terminal {
        attach(&terminal).map_err(|error| setup_error("cannot set up the terminal", error))?;
    }
    // Before any path is looked up: a directory of the host that somebody left open would be below /proc/self/fd
    // until the program runs (CVE-2024-21626).
    sys::close_all_but(&[channel]).map_err(|error| setup_error("cannot close the caller's files", error))?;
    own_standard_streams(identity.uid);
    umask(Mode::from_bits_truncate(plan.umask));
    enter(&plan.working_directory)?;
    sys::reset_signals();

    capabilities::limit_bounding(plan.capabilities).map_err(|error| setup_error("cannot drop capabilities", error))?;
    if !plan.no_new_privileges {
        load(plan.filter.as_deref())?;
    }
    sys::set_user(identity.uid, identity.gid, &identity.groups)
        .map_err(|error| setup_error("cannot change the user", error))?;
    let kept = if identity.uid == 0 { plan.capabilities } else { 0 };
    sys::clear_ambient().map_err(|error| setup_error("cannot drop capabilities", error))?;
    sys::set_capabilities(kept, kept).map_err(|error| setup_error("cannot set capabilities", error))?;
    if plan.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(|error| setup_error("cannot set no_new_privs", error))?;
        load(plan.filter.as_deref())?;
    }

    let mut environment = plan.environment.clone();
    if plan.add_home {
        environment.retain(|entry| !entry.as_bytes().starts_with(b"HOME="));
        environment.extend(CString::new(format!("HOME={}", identity.home)));
    }
    Ok(environment)
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn load(filter: Option<&[FilterInstruction]>) -> Result<(), ProcessError> {
    match filter {
        Some(filter) => sys::load_filter(filter).map_err(|error| setup_error("cannot load the seccomp filter", error)),
        None => Ok(()),
    }
}

/// Makes the terminal the standard streams and the session's own.
fn attach(terminal: &OwnedFd) -> io::Result<()> {
    sys::terminal::make_controlling(terminal.as_fd())?;
    for stream in 0..3 {
        sys::dup_onto(terminal.as_fd(), stream)?;
    }
    Ok(())
}

/// Programs reopen /dev/stdout and its kin (nginx's log files are links to them): the streams
/// have to belong to the user. Best effort, as some kinds of files have no owner to change.
fn own_standard_streams(uid: u32) {
    for stream in 0..3 {
        let stream: BorrowedFd<'_> = sys::borrow(stream);
        let Ok(status) = fstat(stream) else {
            continue;
        };
        let null = makedev(1, 3);
        if status.st_uid != uid
            && status.st_rdev != null
            && let Err(error) = fchown(stream, Some(Uid::from_raw(uid)), None)
        {
            tracing::debug!(%error, "a standard stream keeps its owner");
        }
    }
}

/// Enters the working directory and makes sure that it is inside the container: a descriptor of
/// the host reached through /proc/self/fd would be outside (CVE-2024-21626).
fn enter(directory: &str) -> Result<(), ProcessError> {
    let refused = |error: &dyn std::fmt::Display| ProcessError {
        kind: ProcessErrorKind::WorkingDirectory,
        message: format!("chdir to cwd ({directory:?}) set in config.json failed: {error}"),
    };
    chdir(directory).map_err(|error| refused(&plain(error.into())))?;
    match std::env::current_dir() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => Err(refused(&"it is outside of the container")),
    }
}

/// The kernel's words without Rust's "(os error N)".
pub(crate) fn plain(error: io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text,
    }
}

/// Tries the program where the search path says. Returns the reason, in Docker's words.
fn execute(plan: &Plan, environment: &[CString]) -> ProcessError {
    let name = &plan.program;
    let candidates: Vec<String> = if name.contains('/') {
        vec![name.clone()]
    } else {
        let directories = plan.search_path.split(':').filter(|part| !part.is_empty());
        directories.map(|part| format!("{part}/{name}")).collect()
    };
    let mut denied = None;
    for candidate in &candidates {
        let Ok(path) = CString::new(candidate.as_bytes()) else {
            continue;
        };
        let error = sys::execve(&path, &plan.arguments, environment);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) if !Path::new(candidate).exists() => {}
            Some(libc::EACCES) => denied = denied.or(Some(candidate)),
            _ => return failed(candidate, &error),
        }
    }
    match denied {
        Some(candidate) if Path::new(candidate).is_dir() => {
            ProcessError { kind: ProcessErrorKind::NotExecutable, message: format!("exec: {name:?}: is a directory") }
        }
        Some(_) => ProcessError {
            kind: ProcessErrorKind::NotExecutable,
            message: format!("exec: {name:?}: permission denied"),
        },
        None if name.contains('/') => ProcessError {
            kind: ProcessErrorKind::NotFound,
            message: format!("exec: {name:?}: stat {name}: no such file or directory"),
        },
        None => ProcessError {
            kind: ProcessErrorKind::NotFound,
            message: format!("exec: {name:?}: executable file not found in $PATH"),
        },
    }
}

/// The file is there, but the kernel cannot run it.
fn failed(path: &str, error: &io::Error) -> ProcessError {
    let kind = match error.raw_os_error() {
        Some(libc::ENOENT) => ProcessErrorKind::NotFound,
        _ => ProcessErrorKind::NotExecutable,
    };
    let message = format!("exec {path}: {}", plain(io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(0))));
    ProcessError { kind, message }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn process() -> Process {
        Process {
            args: vec!["sh".to_owned()],
            env: vec!["PATH=/x".to_owned(), "PATH=/bin".to_owned()],
            cwd: "/".to_owned(),
            user: User::default(),
            capabilities: Vec::new(),
            no_new_privileges: false,
            terminal: false,
            terminal_size: None,
            rlimits: Vec::new(),
            oom_score_adj: None,
            umask: None,
        }
    }

    fn plan(process: &Process) -> Result<Plan> {
        Plan::new(process, false, None, &mut Vec::new())
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_made() {
        let bad = |change: fn(&mut Process)| {
            let mut process = process();
            change(&mut process);
            plan(&process).unwrap_err().to_string()
        };
        assert!(bad(|p| p.args.clear()).contains("no command"));
        assert!(bad(|p| p.cwd = "relative".to_owned()).contains("absolute"));
        assert!(bad(|p| p.env.push("A=\0".to_owned())).contains("NUL"));
        assert!(bad(|p| p.capabilities.push("CAP_NONE".to_owned())).contains("CAP_NONE"));
        let limit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
        let mut process = process();
        process.rlimits = vec![limit("nonsense", 1, 1)];
        assert!(plan(&process).unwrap_err().to_string().contains("nonsense"));
        process.rlimits = vec![limit("nofile", 2, 1)];
        assert!(plan(&process).unwrap_err().to_string().contains("soft limit"));
    }

    #[test]
    fn the_last_of_several_variables_counts() {
        let plan = plan(&process()).unwrap();
        assert_eq!(plan.search_path, "/bin");
        assert!(plan.add_home);
    }

    #[test]
    fn the_kernels_words_are_as_go_writes_them() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(plain(error), "no such file or directory");
    }
}
