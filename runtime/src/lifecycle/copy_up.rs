//! Fills an empty volume with what the image has at its mount point.
//!
//! Called by `create`. The image's layers are mounted, read-only, in a mount namespace of a
//! thread that ends with the work: a kill leaves nothing mounted. Paths of the image are walked
//! inside the image; what is copied into the volume is [`super::copy_tree`]'s.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{SFlag, fstat};
use skep_image::Image;

use crate::error::{Error, Result};
use crate::files;
use crate::kernel::walk::{Links, Missing, Root, kind_of};
use crate::lifecycle::copy_tree;

/// Fills the empty directory `data` of a volume with what is at `target` of the image, ownership and
/// modes included: with all of it or, when killed, with nothing. An image without such a directory
/// leaves the volume empty. In a volume that is `mounted` somewhere, the directory has to stay the same:
/// there, one file comes after the other, beside whatever those who have mounted it put there meanwhile.
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
    fs::create_dir(&staged).and_then(|()| same_owner_and_mode(data, &staged)).map_err(failed())?;
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

/// For an image that has nothing there: the volume's directory stays as it was.
fn same_owner_and_mode(source: &Path, target: &Path) -> io::Result<()> {
    let status = fs::metadata(source)?;
    chown(target, Some(status.uid()), Some(status.gid()))?;
    fs::set_permissions(target, fs::Permissions::from_mode(status.mode() & 0o7777))
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
    nix::unistd::chdir(base)?;
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
    if kind_of(&fstat(&found)?) != SFlag::S_IFDIR {
        return Ok(());
    }
    copy_tree::copy(found.as_fd(), fs::File::open(data)?.as_fd())
}
