//! Network namespaces as files: made, entered and removed.
//!
//! Used by apply (making, removing), by the netlink sockets, and by shims that need a socket in
//! their container's namespace. Invariant: a namespace is entered by a thread that ends with the
//! work, so no thread of a caller ever changes its namespace.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

use crate::error::{Error, Result};

/// `NSFS_MAGIC` of linux/magic.h.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Runs `work` inside the network namespace at `path`, on a thread of its own.
///
/// Sockets opened by `work` stay in that namespace, wherever they are used afterwards.
///
/// # Errors
/// [`Error::Namespace`] when it cannot be entered, [`Error::NamespaceThread`] when `work` panics.
pub fn in_namespace<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    let failed = |source| Error::Namespace { operation: "enter", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    if !is_namespace(path).map_err(failed)? {
        return Err(failed(io::Error::from_raw_os_error(nix::libc::EINVAL)));
    }
    on_thread(path, move || {
        nix::sched::setns(&file, CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))?;
        Ok(work())
    })
}

/// Runs work that waits for event loops of its own (the routing sockets'), also when the caller is
/// inside of one, where waiting for another is not allowed.
pub(crate) fn outside_of_event_loops<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if tokio::runtime::Handle::try_current().is_err() {
        return work();
    }
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// Makes a namespace at `path`, unless there is one already.
pub(crate) fn create(path: &Path) -> Result<()> {
    let failed = |source| Error::Namespace { operation: "create", path: path.to_owned(), source };
    if exists(path) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    // A file without a mount is what a kill between these two lines leaves; it is mounted over.
    File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    on_thread(path, move || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))?;
        let own = Path::new("/proc/thread-self/ns/net");
        nix::mount::mount(Some(own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|errno| failed(errno.into()))
    })
}

/// Removes the namespace's file. The kernel ends the namespace when no process is left in it.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let failed = |source| Error::Namespace { operation: "remove", path: path.to_owned(), source };
    while exists(path) {
        nix::mount::umount2(path, MntFlags::MNT_DETACH).map_err(|errno| failed(errno.into()))?;
    }
    match fs::remove_file(path) {
        Err(failure) if failure.kind() != io::ErrorKind::NotFound => Err(failed(failure)),
        _ => Ok(()),
    }
}

/// Whether there is a namespace at `path` (and not only a file left by a killed command).
pub(crate) fn exists(path: &Path) -> bool {
    is_namespace(path).unwrap_or(false)
}

fn is_namespace(path: &Path) -> io::Result<bool> {
    let kind = nix::sys::statfs::statfs(path)?.filesystem_type();
    Ok(kind.0 == NSFS_MAGIC)
}

fn on_thread<T: Send>(path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let stranded = || Error::NamespaceThread { path: path.to_owned() };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("skep-netns".to_owned()).spawn_scoped(scope, work);
        thread.map_err(|_| stranded())?.join().map_err(|_| stranded())?
    })
}
