//! The shim: one small process per container, its init's parent, alive as long as the container.
//!
//! Started by [`crate::lifecycle::start`] as `skep __shim ROOT RUN_ROOT CGROUP_PARENT ID`, with a socket to
//! its starter as standard input. Sequence: safe re-execution → detach → order and descriptors
//! from the starter → state.json names the shim (only then the container's lock is let go) →
//! container made and started → report → loop until the end → exit recorded → `__cleanup` → gone.
//!
//! Invariants: single-threaded; never blocks on a client; the only writer of state.json and of the
//! log while it lives; holds nothing that is not needed until the end.

mod client;
mod health;
mod log;
mod mounts;
mod probe;
mod raw;
mod restart;
mod run;
mod streams;

pub(crate) use restart::wanted as restart_wanted;

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{DisplayChain, Error, Result};
use crate::files;
use crate::kernel::{self, sys};
use crate::lifecycle::launch::Launch;
use crate::records::roots::{ContainerPaths, Roots};
use crate::streams::control::{Order, StartReport};

/// What a shim has been given.
struct Given {
    roots: Roots,
    paths: ContainerPaths,
    id: String,
    /// To the starter.
    starter: UnixStream,
    order: Order,
    first_client: Option<UnixStream>,
    dns: Option<(OwnedFd, OwnedFd)>,
    /// The container's lock, until state.json says whose it is.
    lock: Option<OwnedFd>,
    /// The starter's mount namespace.
    mounts: OwnedFd,
}

/// Runs a shim; the result is the process' exit code.
pub(crate) fn main(roots: Roots, id: String) -> i32 {
    let Ok(starter) = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned() else { return 125 };
    let mut starter = UnixStream::from(starter);
    match prepare() {
        Ok(true) => {}
        Ok(false) => return 0,
        Err(error) => {
            report_failure(&mut starter, &error);
            return 125;
        }
    }
    let report = starter.try_clone();
    match receive(roots, id, starter).and_then(run::run) {
        Ok(()) => 0,
        Err(error) => {
            if let Ok(mut report) = report {
                report_failure(&mut report, &error);
            }
            125
        }
    }
}

/// Becomes a process of its own; false in the one that started it.
fn prepare() -> Result<bool> {
    kernel::prepare_process()?;
    if let sys::Fork::Parent(_) = sys::fork().map_err(Error::system("fork"))? {
        return Ok(false);
    }
    nix::unistd::setsid().map_err(|errno| Error::system("setsid")(errno.into()))?;
    nix::sys::prctl::set_name(c"skep-shim").ok();
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| Error::system("prctl(PR_SET_CHILD_SUBREAPER)")(errno.into()))?;
    nix::unistd::chdir("/").map_err(|errno| Error::system("chdir")(errno.into()))?;
    let null =
        std::fs::File::options().read(true).write(true).open("/dev/null").map_err(Error::file("open", "/dev/null"))?;
    for standard in 0..3 {
        sys::dup_onto(std::os::fd::AsFd::as_fd(&null), standard).map_err(Error::system("dup2"))?;
    }
    // What the starter's process had open without meaning to hand it on.
    sys::set_close_on_exec_from(3).map_err(Error::system("close_range"))?;
    Ok(true)
}

fn report_failure(starter: &mut UnixStream, error: &Error) {
    let message = DisplayChain(error).to_string();
    send_report(starter, &StartReport::Failed { message, exit_code: error.exit_code() });
}

fn send_report(starter: &mut UnixStream, report: &StartReport) {
    let mut text = serde_json::to_vec(report).unwrap_or_default();
    text.push(b'\n');
    // The starter may have been killed: the container goes on.
    starter.write_all(&text).ok();
}

fn receive(roots: Roots, id: String, starter: UnixStream) -> Result<Given> {
    let (text, fds) = crate::kernel::descriptors::receive(&starter).map_err(Error::system("receive the order"))?;
    let order: Order =
        serde_json::from_slice(&text).map_err(|source| Error::Damaged { path: "order".into(), source })?;
    let mut fds = fds.into_iter();
    let lock = fds.next();
    let missing = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mounts = fds.next().ok_or_else(missing).map_err(Error::system("receive the order"))?;
    let first_client = if order.attach { fds.next().map(UnixStream::from) } else { None };
    let dns = if order.dns { fds.next().zip(fds.next()) } else { None };
    let paths = roots.container(&id);
    Ok(Given { roots, paths, id, starter, order, first_client, dns, lock, mounts })
}

/// What init's end, and the end of the machine, come as.
fn block_signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE] {
        mask.add(signal);
    }
    mask.thread_block().map_err(|errno| Error::system("block signals")(errno.into()))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|errno| Error::system("signalfd")(errno.into()))
}

/// The control socket. Its path may be longer than a socket's address can be: bound by way of the
/// directory's descriptor.
fn listen(paths: &ContainerPaths) -> Result<UnixListener> {
    let socket = paths.socket();
    files::remove_file(&socket)?;
    let directory = std::fs::File::open(&paths.run).map_err(Error::file("open", &paths.run))?;
    let short = format!("/proc/self/fd/{}/shim.sock", directory.as_raw_fd());
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(short);
    nix::sys::stat::umask(old);
    let listener = listener.map_err(Error::file("listen on", &socket))?;
    listener.set_nonblocking(true).map_err(Error::file("listen on", &socket))?;
    Ok(listener)
}

fn load_launch(paths: &ContainerPaths) -> Result<Launch> {
    let path = paths.launch();
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    files::load(&path)?.ok_or_else(|| Error::file("read", &path)(missing()))
}
