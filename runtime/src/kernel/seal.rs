//! What a process has to do before it touches a container: [`prepare_process`] in the process itself, or [`sealed`] in
//! the one that starts it.

use std::ffi::CString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::stat;
use nix::sys::statvfs::{FsFlags, statvfs};

use super::error::{KernelError, Result};
use crate::kernel::sys;

/// Names the mount namespace that the second execution was to leave behind.
const MARK: &str = "_SKEP_MOUNT_NAMESPACE";

fn system(call: &'static str) -> impl Fn(std::io::Error) -> KernelError {
    move |source| KernelError::System { call, source }
}

fn mount_namespace() -> Result<String> {
    std::fs::read_link("/proc/self/ns/mnt")
        .map(|link| link.display().to_string())
        .map_err(system("readlink (of the mount namespace)"))
}

/// Whether this process is the second execution: in another mount namespace than the first, from a program that nobody
/// can write to through it.
#[expect(clippy::disallowed_methods, reason = "the mark is what the first execution leaves to the second")]
pub(crate) fn is_prepared() -> bool {
    let left = std::env::var(MARK).is_ok_and(|mark| mount_namespace().is_ok_and(|own| own != mark));
    left && statvfs("/proc/self/exe").is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}

/// A command that executes this program as a process of its own, prepared already where that can be done from here: its
/// file has to be the one that runs. The new process calls [`prepare_process`] all the same. It has no environment.
///
/// May be called with any number of threads.
///
/// # Errors
/// Not root, or /proc cannot be read.
pub(crate) fn sealed() -> Result<Command> {
    if !nix::unistd::geteuid().is_root() {
        return Err(KernelError::NotRoot);
    }
    let path = std::env::current_exe().map_err(system("readlink (of the own program)"))?;
    let program = CString::new(path.as_os_str().as_bytes()).ok().filter(|_| is_running_program(&path));
    let mut command = Command::new(if program.is_some() { path.as_path() } else { Path::new("/proc/self/exe") });
    command.env_clear();
    if program.is_some() {
        command.env(MARK, mount_namespace()?);
    }
    sys::detach::detach(&mut command, program);
    Ok(command)
}

/// Gives this process a mount namespace of its own and executes its own program again from a
/// read-only mount, so that nothing in a container can overwrite the program on the host
/// through /proc/self/exe (CVE-2019-5736).
///
/// Has to be the first thing that the shim and the process behind `exec` do, while
/// single-threaded: it returns in the second execution only, with the same arguments.
/// Descriptors that are to survive must not be close-on-exec.
///
/// # Errors
/// Not root, or a system call failed.
#[expect(clippy::disallowed_methods, reason = "the process executes itself again with all that it was given")]
pub fn prepare_process() -> Result<()> {
    if is_prepared() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(KernelError::NotRoot);
    }
    let left = mount_namespace()?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| system("unshare (mount namespace)")(error.into()))?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .map_err(|error| system("mount (making / a slave)")(error.into()))?;
    let program = seal_program()?;

    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|error| system("execve")(std::io::Error::from(error)));
    let arguments = std::env::args_os().map(|argument| text(argument.into_vec())).collect::<Result<Vec<_>>>()?;
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os().filter(|(name, _)| name != MARK) {
        let mut entry = name.into_vec();
        entry.push(b'=');
        entry.extend(value.into_vec());
        environment.push(text(entry)?);
    }
    environment.push(text(format!("{MARK}={left}").into_bytes())?);
    let program = text(program.as_os_str().as_bytes().to_vec())?;
    Err(system("execve (of the own program)")(sys::execve(&program, &arguments, &environment)))
}

/// Binds the program read-only over itself. Where its file was replaced or removed meanwhile (an
/// upgrade), the running one is copied to memory, for this process and its container only.
fn seal_program() -> Result<PathBuf> {
    let path = std::env::current_exe().map_err(system("readlink (of the own program)"))?;
    // The running program's own mount stayed behind in the host's namespace, so it is by its
    // path that it is found in this one.
    if !is_running_program(&path) {
        return copy_program();
    }
    let bind = |flags: MsFlags| mount(Some(&path), &path, None::<&str>, flags, None::<&str>);
    bind(MsFlags::MS_BIND).map_err(|error| system("mount (of the own program)")(error.into()))?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    bind(flags).map_err(|error| system("mount (own program read-only)")(error.into()))?;
    Ok(path)
}

/// Whether the file at a path is the one that this process executes.
fn is_running_program(path: &Path) -> bool {
    let same = || -> Option<bool> {
        let (running, found) = (stat("/proc/self/exe").ok()?, stat(path).ok()?);
        Some(running.st_ino == found.st_ino && running.st_dev == found.st_dev)
    };
    same().unwrap_or(false)
}

/// Copies the program into a read-only tmpfs that only this mount namespace has.
fn copy_program() -> Result<PathBuf> {
    let base = ["/mnt", "/media", "/tmp"].into_iter().find(|path| Path::new(path).is_dir()).unwrap_or("/tmp");
    let place = |flags: MsFlags| {
        mount(Some("tmpfs"), base, Some("tmpfs"), flags, Some("mode=700"))
            .map_err(|error| system("mount (a place for the own program)")(error.into()))
    };
    place(MsFlags::empty())?;
    let path = Path::new(base).join("skep");
    let copy = || -> std::io::Result<()> {
        let mut to = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o500).open(&path)?;
        std::io::copy(&mut std::fs::File::open("/proc/self/exe")?, &mut to)?;
        Ok(())
    };
    copy().map_err(system("write (a copy of the own program)"))?;
    place(MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)?;
    Ok(path)
}
