//! Hidden commands: what this program does when it has executed itself.
//!
//! | argument | started by | does |
//! |---|---|---|
//! | `__shim ROOT RUN_ROOT CGROUP_PARENT ID` | `start` | [`crate::shim`] |
//! | `__exec ROOT RUN_ROOT CGROUP_PARENT ID` | `exec` | [`crate::streams::exec::helper`] |
//! | `__cleanup ROOT RUN_ROOT CGROUP_PARENT ID keep\|remove` | a shim at its end | tears down |

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::DisplayChain;
use crate::kernel::sys;
use crate::records::roots::Roots;
use crate::runtime::Runtime;
use crate::shim;
use crate::streams::exec::helper;

/// Runs a hidden command, if the arguments of this process name one; the result is the exit code.
///
/// Has to be the first thing in `main`: a shim forks, so it may not have started a thread. What the caller has open
/// above the standard streams is not for any process that this one starts, from here on.
#[expect(
    clippy::disallowed_methods,
    reason = "hidden commands are arguments of this process, before any other is read"
)]
pub fn dispatch() -> Option<i32> {
    // Where that cannot be done, those who stay for long close them all the same.
    sys::set_close_on_exec_from(3).ok();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).take(6).collect();
    match arguments.first()?.to_str()? {
        "__shim" => Some(match parse(&arguments) {
            Some((roots, id)) => shim::main(roots, id),
            None => 125,
        }),
        "__exec" => Some(match parse(&arguments) {
            Some((roots, id)) => helper::main(&roots, &id),
            None => 125,
        }),
        "__cleanup" => Some(match parse(&arguments) {
            Some((roots, id)) => clean_up(roots, &id, arguments.get(5).is_some_and(|word| word == "remove")),
            None => 125,
        }),
        _ => None,
    }
}

fn parse(arguments: &[OsString]) -> Option<(Roots, String)> {
    let [_, root, run_root, cgroup_parent, id, ..] = arguments else { return None };
    let id = id.to_str().filter(|id| skep_common::names::is_id(id))?.to_owned();
    let cgroup_parent = cgroup_parent.to_str()?.to_owned();
    Some((Roots { root: PathBuf::from(root), run_root: PathBuf::from(run_root), cgroup_parent }, id))
}

/// In the mount namespace that is standard input: what is mounted for the container is mounted there.
fn clean_up(roots: Roots, id: &str, remove: bool) -> i32 {
    if let Err(errno) = nix::sched::setns(std::io::stdin(), nix::sched::CloneFlags::CLONE_NEWNS) {
        tracing::error!(container.id = %id, %errno, "cannot enter the mount namespace");
        return 1;
    }
    match Runtime::open_existing(roots).and_then(|runtime| runtime.tear_down(id, remove)) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(container.id = %id, error = %DisplayChain(&error), "not everything was torn down");
            1
        }
    }
}
