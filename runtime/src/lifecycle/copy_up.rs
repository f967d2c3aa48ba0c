//! Fills an empty volume with what the image has at its mount point.
//!
//! Called by `create`. The image's layers are mounted, read-only, in a mount namespace of a
//! thread that ends with the work: a kill leaves nothing mounted. Paths of the image are walked
//! inside the image, links are copied as links.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use skep_image::Image;

use crate::error::{Error, Result};
use crate::files;
use crate::kernel::walk::{Links, Missing, Root, descriptor_path};

/// Fills the empty directory `data` of a volume with what is at `target` of the image, ownership and
/// modes included: with all of it or, when killed, with nothing. An image without such a directory
/// leaves the volume empty. In a volume that is `mounted` somewhere, the directory has to stay the same:
/// there, one file comes after the other.
///
/// # Errors
/// The layers cannot be mounted, or a file cannot be copied.
pub(crate) fn fill(image: &Image, target: &str, data: &Path, mounted: bool) -> Result<()> {
    if mounted {
        return copy_up(image, target, data);
    }
    let failed = || Error::file("fill volume", data);
    let staged = data.with_file_name("_data.new");
    files::remove_tree(&staged)?;
    fs::create_dir(&staged).and_then(|()| copy_attributes(data, &staged)).map_err(failed())?;
    copy_up(image, target, &staged)?;
    match fs::rename(&staged, data) {
        // The user has mounted something on it, or put a link in its place.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTDIR)) => {
            files::remove_tree(&staged)?;
            copy_up(image, target, data)
        }
        renamed => renamed.map_err(failed()),
    }
}

fn copy_up(image: &Image, target: &str, data: &Path) -> Result<()> {
    let (base, lowers) = image.overlay_lowers();
    if lowers.is_empty() {
        return Ok(());
    }
    let failed = Error::file("fill volume", data);
    let work = || -> io::Result<()> {
        let mount_point = data.parent().unwrap_or(data).join(".image");
        fs::create_dir_all(&mount_point)?;
        let copied = mounted(&base, &lowers, &mount_point)
            .and_then(|root| copy_path(&root, target, data).map_err(|error| in_path(error, target)));
        fs::remove_dir(&mount_point).ok();
        copied
    };
    let outcome = std::thread::scope(|scope| scope.spawn(work).join());
    outcome.unwrap_or_else(|_| Err(io::Error::other("the copying thread ended early"))).map_err(failed)
}

fn in_path(error: io::Error, path: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}"))
}

fn mounted(base: &Path, lowers: &[String], mount_point: &Path) -> io::Result<Root> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    if let [only] = lowers {
        // Overlayfs wants two lower directories or an upper one.
        return Root::open(&fs::canonicalize(base.join(only))?);
    }
    rustix::process::chdir(base)?;
    let options = format!("lowerdir={}", lowers.join(":"));
    mount(Some("overlay"), mount_point, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()))?;
    Root::open(mount_point)
}

fn copy_path(root: &Root, target: &str, data: &Path) -> io::Result<()> {
    let found = match root.walk(target, Links::Follow, Missing::Fail) {
        Ok(found) => found,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let source = PathBuf::from(descriptor_path(&found.as_fd()));
    if !fs::metadata(&source)?.is_dir() {
        return Ok(());
    }
    copy_directory(&source, data)
}

/// The content and the attributes of one directory, and so on downwards.
fn copy_directory(source: &Path, target: &Path) -> io::Result<()> {
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            match fs::create_dir(&to) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            copy_directory(&from, &to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
            let status = fs::symlink_metadata(&from)?;
            lchown(&to, Some(status.uid()), Some(status.gid()))?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
            copy_attributes(&from, &to)?;
        }
    }
    copy_attributes(source, target)
}

fn copy_attributes(source: &Path, target: &Path) -> io::Result<()> {
    let status = fs::metadata(source)?;
    // Changing the owner clears set-user-id bits: the mode comes second.
    lchown(target, Some(status.uid()), Some(status.gid()))?;
    fs::set_permissions(target, fs::Permissions::from_mode(status.mode() & 0o7777))
}
