//! The mount tree of a container, in two stages.
//!
//! [`prepare`] runs in the shim's own mount namespace, before any namespace of the container
//! exists: the overlay, `/dev`, everything that comes from the host. The container's mount
//! namespace starts as a copy of it. [`super::inside`] then runs inside, after the pivot: what
//! depends on the container's other namespaces (`/proc`, `/sys`, cgroups, message queues).
//!
//! What comes from the host is bound at a hidden place first, gets its flags there, and is moved
//! onto its target as a whole: so no path inside the container is ever looked up twice. Targets
//! below `/sys` (and `/dev` itself) wait at the hidden place until the second stage.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::config::{FileBind, KernelConfig, Mount, MountKind, Propagation, Rootfs, Shm};
use super::error::{KernelError, Result};
use super::walk::{Links, Missing, Root, descriptor_path, kind_of};
use crate::kernel::sys;

/// Hidden place for mounts on their way, below the container's `/dev`. Removed in the end.
pub(crate) const STAGE: &str = "/dev/.skep";

/// A mount that waits at `stage` until the container's own file systems are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Late {
    /// Path inside the container.
    pub(crate) stage: String,
    /// Path inside the container.
    pub(crate) target: String,
}

/// Mounts everything that does not depend on the container's namespaces.
pub(crate) fn prepare(config: &KernelConfig) -> Result<Vec<Late>> {
    mount_overlay(&config.rootfs)?;
    let merged = &config.rootfs.merged;
    let open = || Root::open(merged).map_err(|source| file_error("open", merged, source));
    let root = open()?;
    for name in ["/proc", "/sys", "/dev"] {
        require_directory(&root, name)?;
    }
    mount_dev(config)?;
    if !sys::has_close_range() {
        // libcontainer looks into /proc there before the container's own can exist.
        bind(Path::new("/proc"), &merged.join("proc").display().to_string(), MsFlags::MS_BIND)?;
    }

    let stage = Stage::make(merged)?;
    let mut late = Vec::new();
    let mut mounts: Vec<&Mount> = config.mounts.iter().collect();
    mounts.sort_by_key(|mount| depth(&mount.target));
    for (index, wanted) in mounts.into_iter().enumerate() {
        late.extend(stage.place(&root, wanted, index)?);
    }
    for file in &config.files {
        place_file(&root, file)?;
    }
    if late.is_empty() {
        stage.remove();
    }
    make_working_directory(&root, &config.process.cwd)?;
    Ok(late)
}

/// Takes the tree of [`prepare`] down in this mount namespace. Nothing mounted is no error.
pub(crate) fn take_down(rootfs: &Rootfs) -> Result<()> {
    // Once for each time it was mounted; the number is a bound against endless repetition.
    for _ in 0..64 {
        match umount2(&rootfs.merged, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(error) => return Err(file_error("unmount", &rootfs.merged, error.into())),
        }
    }
    Ok(())
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> KernelError {
    KernelError::File { action, path: path.to_owned(), source }
}

fn mount_error(what: &str, target: &str) -> impl FnOnce(nix::Error) -> KernelError {
    let (what, target) = (what.to_owned(), target.to_owned());
    move |error| KernelError::Mount { what, target, source: error.into() }
}

fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").count()
}

fn mount_overlay(rootfs: &Rootfs) -> Result<()> {
    for directory in [&rootfs.upper, &rootfs.work, &rootfs.merged] {
        let mode = if directory == &rootfs.upper { 0o755 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(directory)
            .map_err(|source| file_error("create", directory, source))?;
    }
    let lower: Vec<String> = rootfs.lower.iter().map(|name| escape(name, true)).collect();
    let mut options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        escape(&rootfs.upper.display().to_string(), false),
        escape(&rootfs.work.display().to_string(), false),
    );
    // With the index on, an upper directory is refused while an earlier mount of it lives on
    // somewhere.
    if Path::new("/sys/module/overlay/parameters/index").exists() {
        options.push_str(",index=off");
    }
    // Relative names make room for some hundred layers in the one page of options there is.
    std::env::set_current_dir(&rootfs.lower_base).map_err(|source| file_error("enter", &rootfs.lower_base, source))?;
    let mounted = mount_with(rootfs, &options);
    std::env::set_current_dir("/").map_err(|source| file_error("enter", Path::new("/"), source))?;
    mounted.map_err(|error| KernelError::Overlay { path: rootfs.merged.clone(), source: error.into() })
}

fn mount_with(rootfs: &Rootfs, options: &str) -> nix::Result<()> {
    let overlay =
        |options: &str| mount(Some("overlay"), &rootfs.merged, Some("overlay"), MsFlags::empty(), Some(options));
    // Left by an earlier volatile mount, and forbids the next one: after a crash of the machine
    // the files may not be what they were. A container that is thrown away does not care.
    let mark = rootfs.work.join("work/incompat/volatile");
    match std::fs::remove_dir_all(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::debug!(%error, "a volatile mark stays"),
        _ => {}
    }
    if rootfs.volatile {
        match overlay(&format!("{options},volatile")) {
            // Kernels before 5.10 do not know the option.
            Err(nix::Error::EINVAL) => {}
            other => return other,
        }
    }
    overlay(options)
}

/// Overlayfs splits its options at commas and the list of layers at colons.
fn escape(path: &str, layer: bool) -> String {
    let mut escaped = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter == '\\' || letter == ',' || (layer && letter == ':') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// `/proc`, `/sys` and `/dev` of the image have to be plain directories: behind a link, the
/// container's own would be mounted elsewhere, and masks with them (CVE-2019-19921).
fn require_directory(root: &Root, name: &str) -> Result<()> {
    let problem = |problem: String| KernelError::UnsafePath { path: name.to_owned(), problem };
    match root.walk(name, Links::Refuse, Missing::MakeDirectory) {
        Ok(fd) => match fstat(&fd) {
            Ok(status) if kind_of(&status) == SFlag::S_IFDIR => Ok(()),
            _ => Err(problem("is not a directory".to_owned())),
        },
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            Err(problem("is a symbolic link, which is not allowed".to_owned()))
        }
        Err(error) => Err(problem(format!("cannot be used: {error}"))),
    }
}

/// A fresh `/dev`: nothing in it comes from the image, so plain paths are safe below it.
fn mount_dev(config: &KernelConfig) -> Result<()> {
    let dev = config.rootfs.merged.join("dev");
    let target = |name: &str| dev.join(name).display().to_string();
    let file_system = |kind: &str, path: &str, flags: MsFlags, options: &str| {
        mount(Some(kind), path, Some(kind), flags, Some(options)).map_err(mount_error(kind, path))
    };
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let dev_path = dev.display().to_string();
    file_system("tmpfs", &dev_path, MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME, "mode=755,size=65536k")?;
    for name in ["pts", "shm", "mqueue"] {
        let path = dev.join(name);
        std::fs::create_dir(&path).map_err(|source| file_error("create", &path, source))?;
    }
    file_system("devpts", &target("pts"), quiet, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    match &config.shm {
        Shm::Private(size) => {
            file_system("tmpfs", &target("shm"), quiet | MsFlags::MS_NODEV, &format!("mode=1777,size={size}"))
        }
        Shm::Path(path) => bind(path, &target("shm"), MsFlags::MS_BIND),
    }
}

fn bind(source: &Path, target: &str, flags: MsFlags) -> Result<()> {
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .map_err(mount_error(&source.display().to_string(), target))
}

/// The hidden place, from outside.
struct Stage {
    path: PathBuf,
}

impl Stage {
    fn make(merged: &Path) -> Result<Self> {
        let path = merged.join(STAGE.trim_start_matches('/'));
        DirBuilder::new().mode(0o700).create(&path).map_err(|source| file_error("create", &path, source))?;
        Ok(Self { path })
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_dir(&self.path) {
            tracing::warn!(%error, "cannot remove the mount stage");
        }
    }

    fn place(&self, root: &Root, wanted: &Mount, index: usize) -> Result<Option<Late>> {
        let target = wanted.target.as_str();
        check_target(target)?;
        match &wanted.kind {
            MountKind::Tmpfs { options } => {
                let (mut flags, data) = tmpfs_options(options);
                flags.set(MsFlags::MS_RDONLY, wanted.read_only || flags.contains(MsFlags::MS_RDONLY));
                if waits(target) {
                    let stage = self.entry(index, SFlag::S_IFDIR)?;
                    mount(Some("tmpfs"), &stage, Some("tmpfs"), flags, Some(data.as_str()))
                        .map_err(mount_error("tmpfs", target))?;
                    return Ok(Some(late(index, target)));
                }
                let fd = walk_target(root, target, Missing::MakeDirectory)?;
                let path = descriptor_path(&fd);
                mount(Some("tmpfs"), path.as_str(), Some("tmpfs"), flags, Some(data.as_str()))
                    .map_err(mount_error("tmpfs", target))?;
                Ok(None)
            }
            MountKind::Bind { source, .. } => {
                let (stage, kind) = self.stage_bind(wanted, source, index)?;
                if waits(target) {
                    return Ok(Some(late(index, target)));
                }
                let missing = match kind {
                    SFlag::S_IFDIR => Missing::MakeDirectory,
                    _ => Missing::MakeFile,
                };
                let fd = walk_target(root, target, missing)?;
                let path = descriptor_path(&fd);
                mount(Some(&stage), path.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
                    .map_err(mount_error(&source.display().to_string(), target))?;
                self.remove_entry(&stage, kind);
                Ok(None)
            }
        }
    }

    /// Binds the source at the hidden place and gives it its flags.
    fn stage_bind(&self, wanted: &Mount, source: &Path, index: usize) -> Result<(PathBuf, SFlag)> {
        let MountKind::Bind { propagation, recursive, nosuid, noexec, .. } = &wanted.kind else {
            return Err(KernelError::Config(format!("{} is not a bind mount", wanted.target)));
        };
        let source_error =
            |source_io: io::Error| KernelError::MountSource { path: source.to_owned(), source: source_io };
        let fd = open(source, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|error| source_error(error.into()))?;
        let status = fstat(&fd).map_err(|error| source_error(error.into()))?;
        let kind = match kind_of(&status) {
            SFlag::S_IFDIR => SFlag::S_IFDIR,
            _ => SFlag::S_IFREG,
        };
        let stage = self.entry(index, kind)?;
        let stage_path = stage.display().to_string();
        let mut flags = MsFlags::MS_BIND;
        flags.set(MsFlags::MS_REC, *recursive);
        bind(Path::new(&descriptor_path(&fd)), &stage_path, flags)?;
        if wanted.read_only || *nosuid || *noexec {
            let mut add = MsFlags::empty();
            add.set(MsFlags::MS_RDONLY, wanted.read_only);
            add.set(MsFlags::MS_NOSUID, *nosuid);
            add.set(MsFlags::MS_NOEXEC, *noexec);
            remount(&stage_path, add, *recursive)?;
        }
        mount(None::<&str>, &stage, None::<&str>, propagation_flags(*propagation), None::<&str>)
            .map_err(mount_error("propagation", &wanted.target))?;
        Ok((stage, kind))
    }

    fn entry(&self, index: usize, kind: SFlag) -> Result<PathBuf> {
        let path = self.path.join(index.to_string());
        let made = match kind {
            SFlag::S_IFDIR => std::fs::create_dir(&path),
            _ => std::fs::File::create_new(&path).map(drop),
        };
        made.map_err(|source| file_error("create", &path, source))?;
        Ok(path)
    }

    fn remove_entry(&self, path: &Path, kind: SFlag) {
        let removed = match kind {
            SFlag::S_IFDIR => std::fs::remove_dir(path),
            _ => std::fs::remove_file(path),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, path = %path.display(), "cannot remove a mount stage");
        }
    }
}

fn late(index: usize, target: &str) -> Late {
    Late { stage: format!("{STAGE}/{index}"), target: target.to_owned() }
}

/// Targets below file systems that are only mounted inside, and `/dev`, into which libcontainer
/// still puts device nodes.
fn waits(target: &str) -> bool {
    let clean: Vec<&str> = target.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    matches!(clean.as_slice(), ["sys", ..] | ["dev"])
}

fn check_target(target: &str) -> Result<()> {
    let refuse = |problem: &str| Err(KernelError::UnsafePath { path: target.to_owned(), problem: problem.to_owned() });
    if !target.starts_with('/') {
        return refuse("is not an absolute path");
    }
    if target.split('/').any(|part| part == "..") {
        return refuse("contains \"..\"");
    }
    if depth(target) == 0 {
        return refuse("cannot be a mount target");
    }
    let first = target.split('/').find(|part| !part.is_empty() && *part != ".");
    if first == Some("proc") {
        return refuse("is below /proc, where nothing can be mounted");
    }
    Ok(())
}

fn walk_target(root: &Root, target: &str, missing: Missing) -> Result<std::os::fd::OwnedFd> {
    root.walk(target, Links::Follow, missing).map_err(|error| KernelError::UnsafePath {
        path: target.to_owned(),
        problem: format!("cannot be a mount target: {error}"),
    })
}

fn place_file(root: &Root, file: &FileBind) -> Result<()> {
    check_target(&file.target)?;
    let source_error = |source: io::Error| KernelError::MountSource { path: file.source.clone(), source };
    let source = open(&file.source, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|error| source_error(error.into()))?;
    let target = walk_target(root, &file.target, Missing::MakeFile)?;
    let path = descriptor_path(&target);
    bind(Path::new(&descriptor_path(&source)), &path, MsFlags::MS_BIND)?;
    if file.read_only {
        // Found again by walking: read-only is all that can go wrong, and it is our own file.
        let mounted = walk_target(root, &file.target, Missing::Fail)?;
        remount(&descriptor_path(&mounted), MsFlags::MS_RDONLY, false)?;
    }
    Ok(())
}

/// Adds flags to a bind mount, keeping those it has; with `recursive`, to all mounts below, too.
fn remount(path: &str, add: MsFlags, recursive: bool) -> Result<()> {
    let mut paths = vec![path.to_owned()];
    if recursive {
        paths.extend(mounts_below(path));
    }
    for path in paths {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | add | present_flags(&path);
        mount(None::<&str>, path.as_str(), None::<&str>, flags, None::<&str>)
            .map_err(mount_error("bind (changing its flags)", &path))?;
    }
    Ok(())
}

/// A remount would otherwise clear what the source's file system was mounted with.
pub(crate) fn present_flags(path: &str) -> MsFlags {
    let Ok(status) = statvfs(path) else {
        return MsFlags::empty();
    };
    [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ]
    .into_iter()
    .filter(|(present, _)| status.flags().contains(*present))
    .fold(MsFlags::empty(), |flags, (_, flag)| flags | flag)
}

fn mounts_below(path: &str) -> Vec<String> {
    let prefix = format!("{}/", path.trim_end_matches('/'));
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return Vec::new();
    };
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(super::cgroup::unescape)
        .filter(|mount_point| mount_point.starts_with(&prefix))
        .collect()
}

fn propagation_flags(propagation: Propagation) -> MsFlags {
    match propagation {
        Propagation::Private => MsFlags::MS_PRIVATE,
        Propagation::Rprivate => MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        Propagation::Slave => MsFlags::MS_SLAVE,
        Propagation::Rslave => MsFlags::MS_SLAVE | MsFlags::MS_REC,
        Propagation::Shared => MsFlags::MS_SHARED,
        Propagation::Rshared => MsFlags::MS_SHARED | MsFlags::MS_REC,
    }
}

/// Splits mount(8) options into flags and what the file system itself reads. As docker: no
/// programs, no set-user-id, no devices, unless asked for.
fn tmpfs_options(options: &str) -> (MsFlags, String) {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mut data = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (flag, set) = match option {
            "ro" => (MsFlags::MS_RDONLY, true),
            "rw" => (MsFlags::MS_RDONLY, false),
            "nosuid" => (MsFlags::MS_NOSUID, true),
            "suid" => (MsFlags::MS_NOSUID, false),
            "nodev" => (MsFlags::MS_NODEV, true),
            "dev" => (MsFlags::MS_NODEV, false),
            "noexec" => (MsFlags::MS_NOEXEC, true),
            "exec" => (MsFlags::MS_NOEXEC, false),
            "sync" => (MsFlags::MS_SYNCHRONOUS, true),
            "async" => (MsFlags::MS_SYNCHRONOUS, false),
            "noatime" => (MsFlags::MS_NOATIME, true),
            "atime" => (MsFlags::MS_NOATIME, false),
            "nodiratime" => (MsFlags::MS_NODIRATIME, true),
            "relatime" => (MsFlags::MS_RELATIME, true),
            "strictatime" => (MsFlags::MS_STRICTATIME, true),
            _ => {
                data.push(option);
                continue;
            }
        };
        flags.set(flag, set);
    }
    (flags, data.join(","))
}

/// Docker makes a working directory that is missing.
fn make_working_directory(root: &Root, cwd: &str) -> Result<()> {
    if cwd == "/" || matches!(cwd.split('/').find(|part| !part.is_empty()), Some("proc" | "sys")) {
        return Ok(());
    }
    let problem = |problem: String| KernelError::UnsafePath { path: cwd.to_owned(), problem };
    let fd = root
        .walk(cwd, Links::Follow, Missing::MakeDirectory)
        .map_err(|error| problem(format!("cannot be made the working directory: {error}")))?;
    match fstat(&fd) {
        Ok(status) if kind_of(&status) == SFlag::S_IFDIR => Ok(()),
        _ => Err(problem("cannot be the working directory: not a directory".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn layer_names_are_escaped() {
        assert_eq!(escape("a:b,c\\d", true), "a\\:b\\,c\\\\d");
        assert_eq!(escape("a:b", false), "a:b");
    }

    #[test]
    fn tmpfs_options_are_split_into_flags_and_data() {
        let (flags, data) = tmpfs_options("size=64m,exec,mode=1777,ro");
        assert_eq!(data, "size=64m,mode=1777");
        assert_eq!(flags, MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY);
        assert_eq!(tmpfs_options("").0, MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC);
    }

    #[test]
    fn targets_that_would_undo_the_container_are_refused() {
        for bad in ["/", "//.", "relative", "/a/../b", "/proc", "/proc/sys", "//./proc/1"] {
            assert!(check_target(bad).is_err(), "{bad}");
        }
        for good in ["/a", "/dev", "/sys/fs/cgroup", "/process", "/data/proc"] {
            check_target(good).unwrap();
        }
        assert!(waits("/sys/fs/cgroup") && waits("//dev/") && !waits("/dev/shm") && !waits("/system"));
    }
}
