//! The shim: one small process per container, its init's parent, alive as long as the container.
//!
//! Started by [`crate::lifecycle::start`] as `skep __shim ROOT RUN_ROOT CGROUP_PARENT ID`, with a socket to
//! its starter as standard input. Its phases, in order, and where each of them is:
//!
//! | phase | what happens | file |
//! |---|---|---|
//! | detached | safe re-execution, a process and a session of its own | this one |
//! | ordered | order and descriptors from the starter | `order` |
//! | named | state.json names the shim; only then the container's lock is let go | this one |
//! | begun | container made and started, now and at every restart; report to the starter | `begin`, `life` |
//! | minded | one poll(2), one handler for each thing that can happen | `minder` |
//! | – output | to the log and to the clients | `output`, `log` |
//! | – clients | attach, wait, stop, kill, pause, resize | `clients`, `client`, `requests` |
//! | – signals | ends of children, the end of the machine | `signals` |
//! | – health | probes and what they conclude | `prober`, `health` |
//! | ended | the exit on record; another life, or none | `end`, `restart` |
//! | torn down | `__cleanup`, farewell to the clients, gone | `end` |
//!
//! Invariants: single-threaded; never blocks on a client; the only writer of state.json and of the
//! log while it lives; holds nothing that is not needed until the end.

mod begin;
mod client;
mod clients;
mod end;
mod health;
mod life;
mod log;
mod minder;
mod namespaces;
mod order;
mod output;
mod poll;
mod prober;
mod raw;
mod requests;
mod restart;
mod signals;

pub(crate) use restart::wanted as restart_wanted;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signalfd::SignalFd;
use skep_net::dns::Server;

use self::clients::Clients;
use self::life::{Phase, Rules};
use self::order::Given;
use self::output::Output;
use self::restart::Backoff;
use crate::error::{Error, Result};
use crate::files;
use crate::kernel::{self, Namespace, process, sys};
use crate::lifecycle::launch::Launch;
use crate::records::config;
use crate::records::roots::{ContainerPaths, Roots};
use crate::records::state::ContainerState;
use crate::streams::control::StartReport;

/// Which container a shim minds, and where that one's things are.
struct Place {
    roots: Roots,
    paths: ContainerPaths,
    id: String,
    /// The starter's mount namespace, in which `__cleanup` has to run.
    mounts: OwnedFd,
}

/// A shim at work.
struct Shim {
    place: Place,
    rules: Rules,
    /// What state.json says, or is about to.
    state: ContainerState,
    phase: Phase,
    backoff: Backoff,
    /// The machine goes down: no next life now.
    going_down: bool,
    signals: SignalFd,
    clients: Clients,
    output: Output,
    /// The container's name server.
    dns: Option<Server>,
}

/// Runs a shim; the result is the process' exit code.
pub(crate) fn main(roots: Roots, id: String) -> i32 {
    let Ok(starter) = std::io::stdin().as_fd().try_clone_to_owned() else { return 125 };
    let mut starter = UnixStream::from(starter);
    match detach(&starter) {
        Ok(true) => {}
        Ok(false) => return 0,
        Err(error) => {
            order::report(&mut starter, &order::failed(&error));
            return 125;
        }
    }
    let report = starter.try_clone();
    match order::receive(roots, id, starter).and_then(run) {
        Ok(()) => 0,
        Err(error) => {
            if let Ok(mut starter) = report {
                order::report(&mut starter, &order::failed(&error));
            }
            125
        }
    }
}

/// Becomes a process of its own; false in the one that started it.
fn detach(starter: &UnixStream) -> Result<bool> {
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
        sys::dup_onto(null.as_fd(), standard).map_err(Error::system("dup2"))?;
    }
    drop(null);
    // What the starter's process had open without meaning to hand it on: a pipe that its reader waits for the end of, a
    // lock.
    sys::close_all_but(&[starter.as_fd()]).map_err(Error::system("close_range"))?;
    Ok(true)
}

/// A shim's whole life, once it has its order.
fn run(given: Given) -> Result<()> {
    let Given { place, mut starter, order, first_client, dns, lock } = given;
    let signals = signals::block()?;
    let launch = Launch::load(&place.paths)?;
    namespaces::release(own_network(&launch));
    let state = enter_name(&place.paths, order.restarted)?;
    drop(lock);
    let clients = Clients::listen(&place.paths)?;
    let mut shim = Shim {
        rules: Rules::of(&launch),
        phase: Phase::Beginning,
        backoff: Backoff::default(),
        going_down: false,
        output: Output::new(launch.log.clone()),
        dns: launch.dns.as_ref().zip(dns).and_then(|(settings, sockets)| begin::name_server(settings, sockets)),
        place,
        state,
        signals,
        clients,
    };
    if let Some(index) = first_client.and_then(|stream| shim.clients.admit_first(stream)) {
        // What it came for is there already: no output is to be missed.
        shim.on_client(index);
    }
    match shim.begin(launch) {
        Ok(warnings) => order::report(&mut starter, &StartReport::Started { warnings }),
        Err(error) => {
            let (message, exit_code) = shim.not_begun(&error);
            shim.save();
            shim.tear_down();
            order::report(&mut starter, &StartReport::Failed { message, exit_code });
            return Ok(());
        }
    }
    drop(starter);
    shim.mind();
    shim.tear_down();
    shim.say_farewell();
    Ok(())
}

/// The container's own network namespace, if it is bound to a file.
fn own_network(launch: &Launch) -> Option<&Path> {
    match &launch.container.namespaces.network {
        Namespace::Path(path) => Some(path),
        Namespace::Private | Namespace::Host => None,
    }
}

/// Puts this shim's name into state.json: from here on the container's state is its business.
fn enter_name(paths: &ContainerPaths, restarted: bool) -> Result<ContainerState> {
    let before: ContainerState = files::load(&paths.state())?.unwrap_or_default();
    let state = ContainerState {
        version: config::VERSION,
        status: before.status,
        shim: Some(process::own_id()),
        boot_id: skep_common::procfs::boot_id(),
        restart_count: if restarted { before.restart_count } else { 0 },
        started_at: before.started_at,
        finished_at: before.finished_at,
        exit_code: before.exit_code,
        ..ContainerState::default()
    };
    files::store_for_now(&paths.state(), &state)?;
    Ok(state)
}

impl Shim {
    /// Writes state.json. A disk that is full must not end the container.
    fn save(&self) {
        self.told(files::store(&self.place.paths.state(), &self.state));
    }

    /// As [`Self::save`], but a power cut may bring back what state.json said before.
    fn save_soon(&self) {
        self.told(files::store_soon(&self.place.paths.state(), &self.state));
    }

    fn told(&self, written: Result<()>) {
        if let Err(error) = written {
            tracing::error!(container.id = %self.place.id, %error, "state not written");
        }
    }

    /// Whether the container is not to begin another life.
    fn is_ending(&self) -> bool {
        self.state.stopped_by_user || self.going_down
    }
}
