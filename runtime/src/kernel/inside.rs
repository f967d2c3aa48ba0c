//! The second stage of the mount tree: inside the container's namespaces, after the pivot.
//!
//! Called by the container's first process before it reports ready. Everything mounted here is a
//! file system of the kernel's own, or was bound by the first stage; nothing of the image is
//! looked at except as a target below a root that only this process can reach yet.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};

use super::cgroup::Layout;
use super::error::ProcessError;
use super::lastmile::setup_error;
use super::mounts::{Late, STAGE, present_flags};
use super::walk::{Links, Missing, Root, descriptor_path, kind_of};

/// What the second stage has to do, decided outside.
#[derive(Debug, Clone)]
pub(crate) struct Inside {
    pub(crate) late: Vec<Late>,
    pub(crate) cgroups: Layout,
    pub(crate) masked_paths: Vec<String>,
    pub(crate) read_only_paths: Vec<String>,
    pub(crate) sysctls: BTreeMap<String, String>,
    /// `/sys` and cgroups may be written to.
    pub(crate) writable_kernel: bool,
    /// The host's /proc was bound for libcontainer's sake.
    pub(crate) borrowed_proc: bool,
    /// A user's mount takes the place of /dev/mqueue.
    pub(crate) own_mqueue: bool,
}

fn quiet() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV
}

fn fail(what: &str) -> impl FnOnce(nix::Error) -> ProcessError {
    let what = what.to_owned();
    move |error| setup_error(&format!("cannot mount {what}"), error.desc())
}

fn file_system(kind: &str, path: &str, flags: MsFlags, data: &str) -> Result<(), ProcessError> {
    mount(Some(kind), path, Some(kind), flags, Some(data)).map_err(fail(&format!("{kind} on {path}")))
}

/// Mounts everything. `/dev` itself, if the user replaces it, comes with [`finish`].
pub(crate) fn mount_all(inside: &Inside) -> Result<(), ProcessError> {
    if inside.borrowed_proc {
        umount2("/proc", MntFlags::MNT_DETACH).map_err(fail("/proc (taking away the host's)"))?;
    }
    file_system("proc", "/proc", quiet(), "")?;
    let mut sys_flags = quiet();
    sys_flags.set(MsFlags::MS_RDONLY, !inside.writable_kernel);
    file_system("sysfs", "/sys", sys_flags, "")?;
    if !inside.own_mqueue {
        file_system("mqueue", "/dev/mqueue", quiet(), "")?;
    }
    let replaced = inside
        .late
        .iter()
        .any(|late| matches!(late.target.trim_end_matches('/'), "/sys" | "/sys/fs" | "/sys/fs/cgroup"));
    if !replaced {
        mount_cgroups(&inside.cgroups, inside.writable_kernel)?;
    }
    for late in inside.late.iter().filter(|late| !is_dev(late)) {
        move_late(late)?;
    }
    for (name, value) in &inside.sysctls {
        set_sysctl(name, value)?;
    }
    for path in &inside.read_only_paths {
        make_read_only(path)?;
    }
    mask(&inside.masked_paths)
}

/// The last mount: after it, nothing of ours is left in `/dev` but what the user wanted there.
pub(crate) fn finish(inside: &Inside) -> Result<(), ProcessError> {
    if inside.late.is_empty() {
        return Ok(());
    }
    let dev = inside.late.iter().find(|late| is_dev(late));
    for late in inside.late.iter().filter(|late| !is_dev(late)) {
        // A directory or a file; whichever it is not, fails.
        if std::fs::remove_dir(&late.stage).is_err() && std::fs::remove_file(&late.stage).is_err() {
            tracing::debug!(path = late.stage, "a mount stage stays behind");
        }
    }
    match dev {
        Some(late) => move_late(late),
        None => {
            if let Err(error) = std::fs::remove_dir(STAGE) {
                tracing::debug!(%error, "the mount stage stays behind");
            }
            Ok(())
        }
    }
}

fn is_dev(late: &Late) -> bool {
    late.target.trim_matches('/') == "dev"
}

fn move_late(late: &Late) -> Result<(), ProcessError> {
    let missing = match std::fs::metadata(&late.stage) {
        Ok(metadata) if metadata.is_dir() => Missing::MakeDirectory,
        _ => Missing::MakeFile,
    };
    let open = || -> io::Result<OwnedFd> { Root::open(Path::new("/"))?.walk(&late.target, Links::Follow, missing) };
    let target = open().map_err(|error| setup_error(&format!("cannot mount on {}", late.target), error))?;
    mount(Some(late.stage.as_str()), descriptor_path(&target).as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .map_err(fail(&late.target))
}

fn mount_cgroups(layout: &Layout, writable: bool) -> Result<(), ProcessError> {
    const BASE: &str = "/sys/fs/cgroup";
    if !Path::new(BASE).exists() {
        return Ok(());
    }
    let mut flags = quiet() | MsFlags::MS_RELATIME;
    flags.set(MsFlags::MS_RDONLY, !writable);
    match layout {
        Layout::Unified => file_system("cgroup2", BASE, flags, ""),
        Layout::Legacy(hierarchies) => {
            file_system("tmpfs", BASE, quiet(), "mode=755,size=64k")?;
            for hierarchy in hierarchies {
                let path = format!("{BASE}/{}", hierarchy.directory);
                std::fs::create_dir(&path).map_err(|error| setup_error(&path, error))?;
                file_system("cgroup", &path, flags, &hierarchy.options)?;
                let controllers = hierarchy.directory.split(',');
                for controller in controllers.filter(|name| *name != hierarchy.directory) {
                    symlink(&hierarchy.directory, format!("{BASE}/{controller}"))
                        .map_err(|error| setup_error("cannot link a cgroup controller", error))?;
                }
            }
            if writable {
                return Ok(());
            }
            let flags = quiet() | MsFlags::MS_RDONLY | MsFlags::MS_REMOUNT;
            mount(None::<&str>, BASE, None::<&str>, flags, Some("mode=755,size=64k")).map_err(fail(BASE))
        }
    }
}

/// Kernel parameters: `net.ipv4.ip_forward`, or with slashes where a component has a dot in it.
fn set_sysctl(name: &str, value: &str) -> Result<(), ProcessError> {
    let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    let problem =
        |error: &dyn std::fmt::Display| setup_error(&format!("cannot set kernel parameter {name} to {value:?}"), error);
    let root = Root::open(Path::new("/proc/sys")).map_err(|error| problem(&error))?;
    let fd = root.walk(&path, Links::Refuse, Missing::Fail).map_err(|error| problem(&error))?;
    std::fs::write(descriptor_path(&fd), value).map_err(|error| problem(&error))
}

/// A path of the kernel's own file systems is taken as it is; any other is walked.
fn existing(path: &str) -> Result<Option<(String, Option<OwnedFd>)>, ProcessError> {
    if path.starts_with("/proc/") || path.starts_with("/sys/") {
        return Ok(Some((path.to_owned(), None)));
    }
    let walk = || Root::open(Path::new("/"))?.walk(path, Links::Follow, Missing::Fail);
    match walk() {
        Ok(fd) => Ok(Some((descriptor_path(&fd), Some(fd)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(setup_error(&format!("cannot protect {path}"), error)),
    }
}

fn make_read_only(path: &str) -> Result<(), ProcessError> {
    let Some((target, _fd)) = existing(path)? else {
        return Ok(());
    };
    let result =
        mount(Some(target.as_str()), target.as_str(), None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>);
    match result {
        Ok(()) => {}
        Err(nix::Error::ENOENT) => return Ok(()),
        Err(error) => return Err(fail(path)(error)),
    }
    // Found again by its path, since a descriptor still shows what is below the new mount.
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | present_flags(path);
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>).map_err(fail(path))
}

/// Hides files behind /dev/null and directories behind one empty, read-only tmpfs.
fn mask(paths: &[String]) -> Result<(), ProcessError> {
    if paths.is_empty() {
        return Ok(());
    }
    let null = open_null().map_err(|error| setup_error("cannot use /dev/null to mask paths", error))?;
    let null_path = descriptor_path(&null);
    let mut empty: Option<String> = None;
    for path in paths {
        let Some((target, _fd)) = existing(path)? else {
            continue;
        };
        let bind = |source: &str| mount(Some(source), target.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>);
        match bind(&null_path) {
            Ok(()) | Err(nix::Error::ENOENT) => {}
            Err(nix::Error::ENOTDIR) => match &empty {
                Some(source) => bind(source).map_err(fail(path))?,
                None => {
                    let flags = MsFlags::MS_RDONLY | quiet();
                    file_system("tmpfs", &target, flags, "size=0k,nr_inodes=2")?;
                    empty = Some(path.clone());
                }
            },
            Err(error) => return Err(fail(path)(error)),
        }
    }
    Ok(())
}

/// The device itself, whatever may stand in its place (CVE-2025-31133).
fn open_null() -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = open("/dev/null", flags, Mode::empty())?;
    let status = fstat(&fd)?;
    let is_device = kind_of(&status) == SFlag::S_IFCHR;
    if !is_device || status.st_rdev != makedev(1, 3) {
        return Err(io::Error::other("it is not the null device"));
    }
    Ok(fd)
}
